"""The page about every setting, made from Settings and from the words of .env.example."""

from __future__ import annotations

import re

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from jobsync.config import Settings

INTRO = """# Every setting
Made from the program's `Settings` and `.env.example`.

A setting is read from, in this order: the command's option, the environment, `.env`, `jobsync.yaml`, the database. The
first that has it wins. A value that cannot be used is one sentence with the variable's name, and exit code 6; its value is never
shown. `jobsync init` writes what is no secret into `jobsync.yaml` and seals the rest.
"""


def describe_settings(example: str) -> str:
    """The page, as Markdown. `example`: the text of .env.example."""
    lines = [INTRO]
    fields = {str(field.alias): field for field in Settings.model_fields.values()}
    for heading, entries in read_example(example):
        lines += [f"## {heading}", "", "| variable | default | what it is |", "|---|---|---|"]
        lines += [
            f"| `{name}` | {_default(fields[name])} | {words}{_secret(fields[name])} |" for name, words in entries
        ]
        lines.append("")
    return "\n".join(lines)


def read_example(example: str) -> list[tuple[str, list[tuple[str, str]]]]:
    """Headings of .env.example, and under each the variables with the words above them."""
    found: list[tuple[str, list[tuple[str, str]]]] = []
    words: list[str] = []
    said = ""
    for line in example.splitlines():
        heading = re.match(r"# --- (.+?)\s*-{2,}\s*$", line)
        variable = re.match(r"#?([A-Z][A-Z0-9_]+)=", line)
        if heading:
            found.append((heading[1].split(":")[0], []))
            words, said = [], ""
        elif variable and found:
            if words:
                said, words = " ".join(words), []
            found[-1][1].append((variable[1], said))
        elif line.startswith("# "):
            words.append(line[2:].strip().replace("|", "&#124;"))
        elif not line.strip():
            words, said = [], ""
    return found


def _default(field: FieldInfo) -> str:
    value = field.default
    return "" if value is None or value == () else f"`{value}`"


def _secret(field: FieldInfo) -> str:
    is_secret = field.annotation is SecretStr or SecretStr in getattr(field.annotation, "__args__", ())
    return " **Secret.**" if is_secret else ""
