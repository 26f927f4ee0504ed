"""A dispatcher in a process of its own: sends what is due at the ``moment`` it is given."""

from tasks.notices import send

answer(send(moment).facts)  # noqa: F821 - given
