"""Imports only point up the list of rooms, and the clients and the simulators stand apart.

Why: whoever reads the engine need not know the faces, a client can be tested without a database, and a simulator that
shared a name with the client would agree with its mistakes. Architecture, section 3, Never 1, 2 and 6.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.house.tree import SourceFile, Violation

ROOMS = (
    "errors", "config", "log", "db", "sql", "servicetitan", "gohighlevel", "engine", "intake", "alerts", "tasks",
    "simulators", "web", "cli",
)  # fmt: skip
CLIENTS = {"servicetitan", "gohighlevel"}
MAY_IMPORT_OF_US = {"servicetitan": {"errors", "config", "log"}, "gohighlevel": {"errors", "config", "log"}}
FACES = {"web", "cli"}


def check_imports(file: SourceFile) -> Iterator[Violation]:
    """Every import of a module of ours, against the room that the file stands in."""
    room = file.room
    if not file.is_program or room is None or room == "__init__":
        return
    if room not in ROOMS:
        yield Violation(file.path, 1, f"{room} is no room of the house ({', '.join(ROOMS)})")
        return
    for line, module in imported_modules(file):
        top, _, rest = module.partition(".")
        if top == "psycopg" and room in FACES:
            yield Violation(file.path, line, f"{room} asks the database through db, never through psycopg")
        if top != "jobsync":
            continue
        target = rest.split(".")[0]
        if room == "simulators":
            if target != "simulators":
                yield Violation(file.path, line, "a simulator imports nothing of jobsync")
        elif target not in ROOMS:
            continue  # jobsync itself: its version
        elif room in CLIENTS and target != room and target not in MAY_IMPORT_OF_US[room]:
            yield Violation(file.path, line, f"{room} imports {target}: a client takes bytes in and gives values out")
        elif ROOMS.index(target) > ROOMS.index(room):
            yield Violation(file.path, line, f"{room} imports {target}, which stands below it")


def imported_modules(file: SourceFile) -> Iterator[tuple[int, str]]:
    """(line, full name) of every module or name that the file imports, relative imports resolved."""
    package = file.path.removeprefix("src/").removesuffix(".py").split("/")[:-1]
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Import):
            for name in node.names:
                yield node.lineno, name.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for name in node.names:
                yield node.lineno, f"{module}.{name.name}"
