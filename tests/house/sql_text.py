"""SQL stands in .sql files, is never glued together, and is committed in one place only.

Why: SQL that stands alone can be read, tested and run with psql; a glued statement is an injection or a plan that
cannot be cached; one place that commits is one place to look at when something was stored that should not be. Never 4.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.house.tree import SourceFile, Violation

# All lower or all upper case, at the beginning: "Select a unit" is a sentence.
_STATEMENTS = (
    r"select\s(?s:.)*?(\sfrom\s|\(|\b\d)",
    r"insert\s+into\s",
    r"update\s+\S+\s+set\s",
    r"delete\s+from\s",
    r"truncate\s",
    r"create\s+(or\s+replace\s+)?(table|view|function|index|role|schema|database|unique|trigger|policy|extension)\s",
    r"(alter|drop)\s+(table|role|database|schema|function|view)\s",
    r"grant\s+\w+\s+(on|to)\s",
    r"set\s+(local|role|session)\s",
    r"with\s+\w+\s+as\s*\(",
    r"copy\s+\S+\s*(\(|from|to)\s*",
    r"(begin|commit|rollback);?$",
    r"lock\s+table\s",
    r"(un)?listen\s+\w+$",
    r"notify\s+\w+$",
    r"call\s+\S+\(",
)
_SQL = re.compile(r"\s*(?:--[^\n]*\n\s*)*(?:" + "|".join(_STATEMENTS) + ")")
_SQL_UPPER = re.compile(_SQL.pattern, re.IGNORECASE)
_FIRST_WORD = re.compile(r"\s*(?:--[^\n]*\n\s*)*([A-Za-z]+)")
_UNFOLDED = re.compile(r"\(\s*(?:\w+\.)?\w+\([^;]*?\)\s*\)\s*\.\*")
EXECUTING = {"execute", "executemany", "copy", "stream", "fetch_all", "fetch_one"}


def check_no_sql_text(file: SourceFile) -> Iterator[Violation]:
    """A string of shipped Python that begins like a statement. Docstrings do not count."""
    if not file.is_program:
        return
    docstrings = set(_docstrings(file.tree))
    for node in ast.walk(file.tree):
        if not (isinstance(node, ast.Constant) and isinstance(node.value, str | bytes)) or id(node) in docstrings:
            continue
        text = node.value if isinstance(node.value, str) else node.value.decode("utf-8", errors="replace")
        if _is_statement(text):
            yield Violation(file.path, node.lineno, f"SQL text in Python: {' '.join(text.split())[:50]!r}")


def check_no_glued_statements(file: SourceFile) -> Iterator[Violation]:
    """`execute` and its kin with an f-string, `%`, `+` or `.format`. Tests that make databases by name may."""
    if not file.is_program:
        return
    for node in ast.walk(file.tree):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args):
            continue
        if node.func.attr in EXECUTING and _is_glued(node.args[0]):
            yield Violation(file.path, node.lineno, f"a statement glued together for .{node.func.attr}()")


def check_commits(file: SourceFile) -> Iterator[Violation]:
    """Connections, pools and commits outside of db: everybody else works inside `db.transaction`."""
    if not file.is_program or file.room in {"db", "simulators"}:
        return
    for node in ast.walk(file.tree):
        if not isinstance(node, ast.Call):
            continue
        name = ast.unparse(node.func)
        last = name.rsplit(".", 1)[-1]
        if isinstance(node.func, ast.Attribute) and last in {"commit", "rollback", "set_autocommit"}:
            yield Violation(file.path, node.lineno, f"{name}() outside of db.transaction")
        if name.endswith("Connection.connect") or last in {"AsyncConnectionPool", "ConnectionPool"}:
            yield Violation(file.path, node.lineno, f"{name}() outside of db")
        if any(keyword.arg == "autocommit" for keyword in node.keywords):
            yield Violation(file.path, node.lineno, "autocommit outside of db")


def check_no_call_unfolded(file: SourceFile) -> Iterator[Violation]:
    """`select (f(...)).*`: PostgreSQL calls the function once for each column. `select c.* from f(...) c` calls it once."""
    if not file.path.endswith(".sql"):
        return
    for found in _UNFOLDED.finditer(file.text):
        line = file.text.count("\n", 0, found.start()) + 1
        yield Violation(file.path, line, "a function's row unfolded where it is called: it runs once for each column")


def _is_statement(text: str) -> bool:
    word = _FIRST_WORD.match(text)
    if word is None:
        return False
    pattern = _SQL_UPPER if word[1].isupper() else _SQL
    return pattern.match(text) is not None


def _is_glued(argument: ast.expr) -> bool:
    if isinstance(argument, ast.JoinedStr):
        return any(isinstance(part, ast.FormattedValue) for part in argument.values)
    if isinstance(argument, ast.BinOp):
        return isinstance(argument.op, ast.Mod | ast.Add)
    if isinstance(argument, ast.Call):
        if isinstance(argument.func, ast.Attribute) and argument.func.attr == "format":
            return True
        return any(_is_glued(inner) for inner in argument.args)
    return False


def _docstrings(tree: ast.Module) -> Iterator[int]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.body:
            first = node.body[0]
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                yield id(first.value)
