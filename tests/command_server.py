"""Runs commands in processes of their own, without each importing everything anew: it imports once and forks for each.

Reads a JSON object per line (words, environment, cwd, out, err), answers the exit code per line. What a fork
cannot show, that a command's own imports suffice, is the matter of the tests that start ``python -m flows``.
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

import flows.commands
import tasks
from flows.__main__ import main


def run(words: list[str], environment: dict[str, str], cwd: str, out: str, err: str) -> NoReturn:
    """Become the command: its environment, its directory, its streams, its exit code."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    code = 1
    try:
        main(words, prog_name="loyalty")
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 0
    except BaseException:
        traceback.print_exc()
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # taking every module down takes longer than most commands


for package in (tasks, flows.commands):
    for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        importlib.import_module(module.name)
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
