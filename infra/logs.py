"""Logging for processes of ours that Prefect does not run: one line per event on the error output.

Inside a run Prefect's own configuration applies, and ``PREFECT_LOGGING_EXTRA_LOGGERS`` brings our loggers into it.
"""

import logging
import sys
import time


def configure(level: int = logging.INFO) -> None:
    """Send our log to the error output, in UTC; safe to call twice."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
