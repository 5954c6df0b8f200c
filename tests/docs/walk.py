"""Walks through a page of the documentation as its reader does: every ```sh and ```sql block is run, in its order.

    stage = ...                                            # tests/upstreams.py
    done = await walk_page("docs/x.md", on_stage(stage, JOB="1001"), before={"A heading": break_the_hook})

In a page:

    ```sh                     each command must end with 0
    ```sh exit=9              each command of the block must end with 9
    ```sh unrun=needs-root    shown, not run; the word says why
    ```sql                    the block is one script for psql, which stops at the first error

Lines that begin with `#` and what follows ` #` are comments; a line that ends in a backslash goes on; in a block where
some line begins with `$ ` only these are commands, the others show what they print. Words in capitals (JOB, HOOK_URL) are
the reader's own values: `names` gives them. A plain `jobsync ...` runs inside this process; everything else, pipes
included, is a line for bash with this environment's `jobsync` and PostgreSQL's programs on the PATH.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jobsync.db.embedded_runtime import find_runtime
from jobsync.engine.opening import with_public_path
from tests.upstreams import Ran, Stage

CHECKOUT = Path(__file__).parents[2]
RUN = ("sh", "bash", "sql")
_FENCE = re.compile(r"^(?P<ticks>`{3,})(?P<info>[^`]*)$")
_NAME = re.compile(r"(?<![A-Za-z0-9_])[A-Z][A-Z0-9_]+(?![A-Za-z0-9_=])")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_SHELL = re.compile(r"[|&;<>$`*~()]")


@dataclass(frozen=True)
class Block:
    """A fenced block: where it stands, the heading it stands under, its language, the words after it, its text."""

    page: str
    line: int
    heading: str
    language: str
    words: dict[str, str]
    text: str

    @property
    def exit_code(self) -> int:
        """What each of its commands must end with."""
        return int(self.words.get("exit", "0"))

    @property
    def is_run(self) -> bool:
        """False for other languages and for blocks that say why they are not run."""
        return self.language in RUN and "unrun" not in self.words

    def commands(self) -> list[str]:
        """Its command lines; a SQL block is one."""
        if self.language == "sql":
            return [self.text]
        lines = re.sub(r"\\\n\s*", "", self.text).splitlines()
        if any(line.startswith("$ ") for line in lines):
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


@dataclass(frozen=True)
class Done:
    """One command that was run: its block, the line as it was run, what came of it."""

    block: Block
    command: str
    ran: Ran


@dataclass(frozen=True)
class Reader:
    """Who reads: how `jobsync` is called, the database, the environment and folder of other commands, own values."""

    jobsync: Callable[..., Awaitable[Ran]]
    dsn: str
    environment: Mapping[str, str]
    directory: Path
    names: Mapping[str, str] = field(default_factory=dict)


def on_stage(stage: Stage, **names: Any) -> Reader:
    """A reader on a stage; `names`: values for the words in capitals."""
    given = {name: str(value) for name, value in names.items()}
    return Reader(stage.jobsync, stage.dsn, stage.environment(), stage.data_dir, given)


def read_blocks(page: str | Path) -> list[Block]:
    """All fenced blocks of a page, in their order. `page`: its path from the checkout's root, or an absolute one."""
    blocks: list[Block] = []
    lines: list[str] = []
    fence: str | None = None
    heading, info, start = "", "", 0
    for number, line in enumerate((CHECKOUT / page).read_text().splitlines(), 1):
        found = _FENCE.match(line.strip())
        if fence is not None:
            if found and found["ticks"] == fence and not found["info"].strip():
                language, _, rest = info.strip().partition(" ")
                words = {key: value for key, _, value in (word.partition("=") for word in rest.split())}
                blocks.append(Block(str(page), start, heading, language, words, "\n".join(lines)))
                fence = None
            else:
                lines.append(line)
        elif found:
            fence, info, start, lines = found["ticks"], found["info"], number, []
        elif line.startswith("#"):
            heading = line.lstrip("#").strip()
    assert fence is None, f"{page}:{start}: the block has no end"
    return blocks


async def walk_page(
    page: str | Path, reader: Reader, *, before: Mapping[str, Callable[[], Awaitable[Any]]] | None = None
) -> list[Done]:
    """Runs all blocks of a page. `before`: what happens in the world when a heading is reached, by its text.

    Fails where a command ends with another code than its block says; at a word in capitals without a value; when a
    heading of `before` does not exist; when the page holds nothing to run.
    """
    waiting = dict(before or {})
    done: list[Done] = []
    for block in read_blocks(page):
        if block.heading in waiting:
            await waiting.pop(block.heading)()
        if block.is_run:
            done += [await run_command(block, command, reader) for command in block.commands()]
    assert not waiting, f"{page} has no block under: {', '.join(waiting)}"
    assert done, f"{page} holds no command"
    return done


async def run_command(block: Block, command: str, reader: Reader) -> Done:
    """Runs one command of a block and holds it to the block's exit code."""
    place = f"{block.page}:{block.line}"
    line = put_in(command, reader.names, place) if block.language != "sql" else command
    if block.language == "sql":
        for name, value in reader.names.items():
            line = re.sub(rf"\b{name}\b", lambda _, value=value: value, line)
        ran = await _run_sql(line, reader)
    elif (words := _plain_jobsync(line)) is not None:
        changes, arguments = words
        ran = await reader.jobsync(*arguments, **changes)
    else:
        ran = await _run_bash(line, reader)
    assert ran.code == block.exit_code, f"{place}: {line}\nended with {ran.code}\n{ran.out}{ran.err}"
    assert "Traceback" not in ran.err, f"{place}: {line}\n{ran.err}"
    return Done(block, line, ran)


def put_in(command: str, names: Mapping[str, str], place: str) -> str:
    """The command with the reader's values. A word in capitals that has none is an error, a variable is not."""

    comment = command.find(" #")
    end = len(command) if comment < 0 else comment

    def value(found: re.Match[str]) -> str:
        before = command[: found.start()]
        if found.start() > end:
            return found[0]
        if before.endswith(("$", "${")) or found[0] not in names and _is_inside_quotes(before):
            return found[0]
        assert found[0] in names, f"{place}: no value for {found[0]} in: {command}"
        return names[found[0]]

    return _NAME.sub(value, command)


def _is_inside_quotes(before: str) -> bool:
    return before.count("'") % 2 == 1 or before.count('"') % 2 == 1


def _plain_jobsync(line: str) -> tuple[dict[str, str], list[str]] | None:
    """Assignments and arguments of a line that only calls jobsync; None for what a shell has to read."""
    bare = re.sub(r"'[^']*'|\"[^\"$`]*\"", "", line.split(" #")[0])
    if _SHELL.search(bare):
        return None
    words = shlex.split(line, comments=True)
    changes: dict[str, str] = {}
    while words and _ASSIGNMENT.match(words[0]):
        name, _, given = words.pop(0).partition("=")
        changes[name] = given
    return (changes, words[1:]) if words and words[0] == "jobsync" else None


async def _programs() -> Path:
    return (await find_runtime(None)).bin_dir


async def _run_sql(script: str, reader: Reader) -> Ran:
    psql = await _programs() / "psql"
    options = ("-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", with_public_path(reader.dsn))
    return await _run(reader, str(psql), *options, given=script)


async def _run_bash(line: str, reader: Reader) -> Ran:
    return await _run(reader, "bash", "-o", "pipefail", "-c", line)


async def _run(reader: Reader, *words: str, given: str = "") -> Ran:
    path = os.pathsep.join((str(Path(sys.executable).parent), str(await _programs()), os.environ.get("PATH", "")))
    process = await asyncio.create_subprocess_exec(
        *words,
        cwd=reader.directory,
        env={**reader.environment, "PATH": path, "HOME": str(reader.directory), "PYTHONUTF8": "1"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(given.encode()), 60)
    except TimeoutError:
        process.kill()
        out, err = await process.communicate()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())
