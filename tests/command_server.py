"""Runs commands in processes of their own, without each importing everything anew: it imports once and forks for each.

Reads a JSON object per line (words, environment, cwd, out, err), answers the exit code per line. With the word
``libraries`` it imports only what is not ours before it forks, so that a command has to import all it needs itself.
"""

import atexit
import gc
import importlib
import json
import os
import pkgutil
import sys
import traceback
from typing import NoReturn

LIBRARIES = (
    "alembic.context",
    "click",
    "jinja2",
    "psycopg2",
    "pydantic_settings",
    "rich.console",
    "rich.progress",
    "sqlalchemy",
)


def run(words: list[str], environment: dict[str, str], cwd: str, out: str, err: str) -> NoReturn:
    """Become the command: its environment, its directory, its streams, its exit code."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    code = 1
    try:
        main = importlib.import_module("flows.__main__").main
        main(words, prog_name="loyalty")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking every module down takes longer than most commands


def import_ours() -> None:
    """Import every command and step."""
    for name in ("tasks", "flows.commands"):
        package = importlib.import_module(name)
        for module in pkgutil.iter_modules(package.__path__, f"{name}."):
            importlib.import_module(module.name)


if sys.argv[1:] == ["libraries"]:
    for library in LIBRARIES:
        importlib.import_module(library)
else:
    import_ours()
gc.freeze()
sys.stdout.write("ready\n")
sys.stdout.flush()
while line := sys.stdin.readline():
    child = os.fork()
    if not child:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        run(**json.loads(line))
    _, status = os.waitpid(child, 0)
    sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
    sys.stdout.flush()
