"""A dispatcher in a process of its own: sends what is due at the ``moment`` it is given, in the ``environment`` it is given."""

import os
import traceback

try:
    os.environ.clear()
    os.environ.update(environment)  # noqa: F821 - given
    from tasks.notices import send

    answer.send(send(moment).facts)  # noqa: F821
except BaseException:
    answer.send(traceback.format_exc())  # noqa: F821
    raise
