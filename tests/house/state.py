"""No state in modules, no clock but the database's, and nothing that blocks the loop.

Why: a client or setting that hangs in a module is shared by tests, tenants and processes that do not know of each
other; a stored time of this machine's clock cannot be moved by a test and differs between workers. Never 5.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.house.imports import imported_modules
from tests.house.tree import SourceFile, Violation

_HOLDERS = re.compile(r"(Client|ClientSession|Pool|Session|Database|Connector|Connection|Settings|FastAPI|Starlette)$")
_READERS = {"read_settings", "getenv"}
_CLOCKS = {"datetime.now", "datetime.utcnow", "datetime.today", "date.today", "time.time", "time.time_ns"}
_REASON = re.compile(r"# real clock: \w+")
# Clients only measure (how long to wait, when a token ends); nothing of theirs is stored as a time.
MEASURING = {"servicetitan", "gohighlevel", "simulators", "log"}
_BLOCKING_MODULES = {"requests", "urllib.request", "http.client", "psycopg2"}
_BLOCKING_CALLS = {"time.sleep", "psycopg.connect", "psycopg.Connection.connect"}
_SQL_CLOCK = re.compile(
    r"(?<![\w.])(now\s*\(|clock_timestamp\s*\(|statement_timestamp\s*\(|transaction_timestamp\s*\(|timeofday\s*\("
    r"|current_timestamp\b|current_date\b|localtimestamp\b)",
    re.IGNORECASE,
)
_MEASURED = re.compile(r"\b(access_tokens|budgets|breakers)\b")
_DEFINES_CLOCK = re.compile(r"create\s+(or\s+replace\s+)?function\s+jobsync\.now\(", re.IGNORECASE)


def check_no_module_state(file: SourceFile) -> Iterator[Violation]:
    """A client, pool, database, app or settings object made at import time, or a `global` statement."""
    if not file.is_program:
        return
    for value in _module_level_values(file.tree.body):
        for node in ast.walk(value):
            if isinstance(node, ast.Call):
                name = ast.unparse(node.func)
                last = name.rsplit(".", 1)[-1]
                if last in _READERS or _HOLDERS.search(last.removesuffix("()")):
                    yield Violation(file.path, node.lineno, f"{name}() at module level")
            elif isinstance(node, ast.Attribute) and ast.unparse(node) == "os.environ":
                yield Violation(file.path, node.lineno, "os.environ read at module level")
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Global):
            yield Violation(file.path, node.lineno, f"global {', '.join(node.names)}")


def check_clock(file: SourceFile) -> Iterator[Violation]:
    """The machine's clock, read where times are stored. Monotonic clocks, which only measure, are free.

    A line that says `# real clock: <why>` is let through: what it reads is not stored.
    """
    lines = file.text.splitlines() if file.is_program else []
    if not file.is_program or file.room in MEASURING:
        return
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Attribute):
            name = ".".join(ast.unparse(node).split(".")[-2:])
            if name in _CLOCKS and not _REASON.search(lines[node.lineno - 1]):
                yield Violation(file.path, node.lineno, f"{name}: stored times come from jobsync.now()")


def check_sql_clock(file: SourceFile) -> Iterator[Violation]:
    """PostgreSQL's own clock in our SQL, outside of the function jobsync.now() itself.

    clock_timestamp() may measure what runs by real time in the world outside: access tokens, rate budgets and
    circuit breakers.
    """
    if file.suffix != ".sql" or not file.path.startswith("src/jobsync/sql/") or "/sql/queue/" in file.path:
        return
    if "/sql/embedded/" in file.path:
        return
    for number, statement in _statements(file.text):
        if _DEFINES_CLOCK.search(statement):
            continue
        measures = _MEASURED.search(statement) is not None
        for found in _SQL_CLOCK.finditer(statement):
            if measures and found[0].lower().startswith("clock_timestamp"):
                continue
            line = number + statement.count("\n", 0, found.start())
            yield Violation(file.path, line, f"{found[0].strip('( ')}: stored times come from jobsync.now()")


def check_async_only(file: SourceFile) -> Iterator[Violation]:
    """Libraries and calls that would hold up the event loop."""
    if not file.is_program:
        return
    for line, module in imported_modules(file):
        if any(module == name or module.startswith(name + ".") for name in _BLOCKING_MODULES):
            yield Violation(file.path, line, f"{module} blocks the event loop")
    for node in ast.walk(file.tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func) in _BLOCKING_CALLS:
            yield Violation(file.path, node.lineno, f"{ast.unparse(node.func)}() blocks the event loop")


def _module_level_values(body: list[ast.stmt]) -> Iterator[ast.expr]:
    for statement in body:
        if isinstance(statement, ast.Assign | ast.AnnAssign | ast.AugAssign | ast.Expr):
            if statement.value is not None:
                yield statement.value
        elif isinstance(statement, ast.If | ast.Try | ast.With | ast.ClassDef):
            yield from _module_level_values(statement.body)


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """(first line, text without comments) of each statement; a dollar-quoted body belongs to its statement."""
    plain = re.sub(r"--[^\n]*", lambda found: " " * len(found[0]), text)
    quoted = False
    start = line = 1
    current = ""
    for part in re.split(r"(\$\w*\$|;|\n)", plain):
        current += part
        if part == "\n":
            line += 1
        elif re.fullmatch(r"\$\w*\$", part):
            quoted = not quoted
        elif part == ";" and not quoted:
            yield start, current
            start, current = line, ""
    yield start, current
