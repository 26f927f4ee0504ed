"""What a forked process does with the script it was made for (see ``Forked`` in conftest.py): runs it, says why it failed."""

import os
import runpy
import traceback

try:
    if environment is not None:  # noqa: F821 - given, as are the other names that stand nowhere
        os.environ.clear()
        os.environ.update(environment)  # noqa: F821
    runpy.run_path(script, {**given, "answer": answers.send}, "__main__")  # noqa: F821
except Exception:
    answers.send(traceback.format_exc())  # noqa: F821
    raise
