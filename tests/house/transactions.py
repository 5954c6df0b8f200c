"""Nothing leaves the machine while a transaction is open: no HTTP, no task put into the queue.

Why: a slow answer would hold row locks and a connection for as long as it takes, and a rollback cannot take back what
was sent; the queue's own second defer with the same lock raises inside the caller's transaction. Never 4.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.house.imports import imported_modules
from tests.house.tree import SourceFile, Violation

_OUTSIDE = re.compile(r"client|http|transport|webhook|upstream", re.IGNORECASE)
_DEFERS = {"defer", "defer_async", "batch_defer", "batch_defer_async"}
_SENDING = ("jobsync.servicetitan", "jobsync.gohighlevel", "aiohttp")


def check_nothing_sent_inside(file: SourceFile) -> Iterator[Violation]:
    """Awaited calls to a client, and defers, in the body of `async with ...transaction(...)`."""
    if not file.is_program or file.room == "simulators":
        return
    senders = {module.rsplit(".", 1)[-1] for _, module in imported_modules(file) if module.startswith(_SENDING)}
    for block in ast.walk(file.tree):
        if not (isinstance(block, ast.AsyncWith) and any(_opens(item.context_expr) for item in block.items)):
            continue
        for statement in block.body:
            for call, awaited in _calls(statement):
                name = ast.unparse(call.func)
                last = name.rsplit(".", 1)[-1]
                if last in _DEFERS:
                    yield Violation(file.path, call.lineno, f"{name}() inside an open transaction: defer after it")
                elif awaited and (_OUTSIDE.search(name) or name.split(".")[0].split("(")[0] in senders):
                    yield Violation(file.path, call.lineno, f"{name}() inside an open transaction")


def _opens(expression: ast.expr) -> bool:
    return (
        isinstance(expression, ast.Call)
        and isinstance(expression.func, ast.Attribute)
        and expression.func.attr == "transaction"
    )


def _calls(node: ast.AST) -> Iterator[tuple[ast.Call, bool]]:
    """Calls that run where they stand (not those in a function defined there), and whether each is waited for."""
    pending: list[tuple[ast.AST, bool]] = [(node, False)]
    while pending:
        current, awaited = pending.pop()
        if isinstance(current, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(current, ast.Call):
            yield current, awaited
        for child in ast.iter_child_nodes(current):
            entered = isinstance(current, ast.withitem)
            pending.append((child, isinstance(current, ast.Await | ast.AsyncFor) or entered))
