"""Commands as processes that cost no start-up: forked from a process that has imported everything, and killable like any.

process = start_forked(directory, environment, "backfill", "--resume")
process.kill()                      # a real SIGKILL for a real process
"""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from jobsync.cli.parser import COMMANDS

COMMAND_MODULES = sorted({f"jobsync.cli.{module}" for module, _ in COMMANDS.values()})
PRELOADED = [*COMMAND_MODULES, "jobsync.tasks.worker", "procrastinate", "psycopg_pool"]


def start_forked(directory: Path, environment: dict[str, Any], *words: str) -> BaseProcess:
    """Starts `jobsync WORDS` with nothing in its environment but what is given; its output goes to `directory`/out."""
    context = get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    given = {name: str(value) for name, value in environment.items() if value is not None}
    process = context.Process(target=_run, args=(str(directory), given, words), daemon=True)
    process.start()
    return process


def _run(directory: str, environment: dict[str, str], words: tuple[str, ...]) -> None:
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    os.environ.clear()
    os.environ.update(kept | environment)
    os.chdir(directory)
    sys.argv = ["jobsync", *words]
    out = os.open("out", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(out, 1)
    os.dup2(out, 2)
    from jobsync.cli import main

    main()
