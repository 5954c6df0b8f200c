"""The parser: every command is there, and typing one loads no other's modules."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import typer

from jobsync import __version__
from jobsync.cli.parser import COMMANDS, build_app


def names_of(*words: str) -> list[str]:
    root: Any = typer.main.get_command(build_app(words))
    return list(root.commands)


def test_without_a_command_all_are_there() -> None:
    assert names_of() == names_of("--help") == names_of("statsu")
    assert set(names_of()) == {"version", *COMMANDS}


@pytest.mark.parametrize("name", COMMANDS)
def test_each_command_is_found_by_itself(name: str) -> None:
    assert names_of("--tenant", "north", name, "--json") == ["version", name]


def test_a_command_loads_neither_the_web_nor_another_one() -> None:
    said = subprocess.run(
        [sys.executable, "-c", "import sys; from jobsync.cli.parser import build_app; build_app(['jobs', 'list']); print(*sys.modules)"],
        capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    assert "jobsync.cli.jobs" in said
    assert not {"fastapi", "uvicorn", "jobsync.cli.demo", "jobsync.simulators"} & set(said)


@pytest.mark.parametrize("words", [["--version"], ["version"]])
def test_the_version_is_said_the_way_people_ask_for_it(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    build_app(words)(words, standalone_mode=False)
    assert capsys.readouterr().out == f"jobsync {__version__}\n"
