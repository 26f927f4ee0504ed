"""A command of ``loyalty`` in a process of its own, which can be killed: runs the ``words`` it is given."""

from flows.__main__ import main

main(words, prog_name="loyalty")  # noqa: F821 - given
