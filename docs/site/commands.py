"""The page about every command, made from the parser itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import typer

from jobsync.cli import parser

INTRO = """# Every command
Made from the program's own parser (`jobsync --help`, `jobsync COMMAND --help`).

Data goes to stdout, talk to stderr. `--json` gives one object. Whatever sends or destroys asks first, and without a
terminal wants `--yes`.
"""


def describe_commands() -> str:
    """The page, as Markdown."""
    root: Any = typer.main.get_command(parser.build_app())
    lines = [INTRO, "## Exit codes", "", "| code | meaning |", "|---|---|"]
    lines += [f"| {code} | {meaning} |" for code, meaning in read_exit_codes()]
    lines += ["", "## Before the command", "", *_options(root)]
    for words, command in list_commands(root):
        lines += ["", f"## jobsync {' '.join(words)}", "", (command.help or "").strip(), "", _usage(words, command), ""]
        lines += _options(command)
    return "\n".join(lines) + "\n"


def list_commands(group: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something, in the parser's order: the words that call it, and itself."""
    for name, command in group.commands.items():
        if command.hidden:
            continue
        if hasattr(command, "commands"):
            yield from list_commands(command, (*words, name))
        else:
            yield (*words, name), command


def read_exit_codes() -> list[tuple[str, str]]:
    """Codes and their meaning, from the parser's own description."""
    text = " ".join((parser.__doc__ or "").split("Exit codes:")[1].split())
    return [(code, meaning) for code, _, meaning in (part.strip(" .").partition(" ") for part in text.split(","))]


def _usage(words: tuple[str, ...], command: Any) -> str:
    given = [_argument(one) for one in command.params if one.param_type_name == "argument"]
    return "```text\n" + " ".join(["jobsync", *words, *given, "[OPTIONS]"]) + "\n```"


def _argument(parameter: Any) -> str:
    name = (parameter.metavar or parameter.name or "").upper()
    name = f"{name}..." if parameter.nargs == -1 else name
    return name if parameter.required else f"[{name}]"


def _options(command: Any) -> list[str]:
    rows = []
    for one in command.params:
        if getattr(one, "hidden", False) or one.name == "help":
            continue
        names = _argument(one) if one.param_type_name == "argument" else ", ".join((*one.opts, *one.secondary_opts))
        value = "" if one.param_type_name == "argument" or getattr(one, "is_flag", False) else f" {_kind(one)}"
        default = (
            one.default if isinstance(one.default, str | int | float) and not isinstance(one.default, bool) else None
        )
        said = (getattr(one, "help", None) or "").strip()
        said += f" Default: {default}." if default not in (None, "") and "efault" not in said else ""
        rows.append(f"| `{names}{value}` | {said.replace('|', '&#124;')} |")
    return ["| option | |", "|---|---|", *rows] if rows else []


def _kind(parameter: Any) -> str:
    kind = str(parameter.metavar or parameter.display_type or "text").strip("<>[]")
    return kind.replace("str", "TEXT").replace("int", "N").replace("float", "N").upper().replace("|", "\\|")
