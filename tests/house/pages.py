"""Pages never turn data into markup.

Why: a customer's name is written by strangers; whoever can put a script into it would otherwise own the dashboard.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

from tests.house.tree import SourceFile, Violation

_TEMPLATES = {".html", ".jinja", ".j2", ".js", ".svg"}
_UNSAFE = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function\(|\|\s*safe\b|autoescape\s+false"
)


def check_no_raw_markup(file: SourceFile) -> Iterator[Violation]:
    """Ways around escaping, in templates, scripts and Python. Libraries kept in a `vendor` folder are not ours."""
    if file.suffix in _TEMPLATES and "/vendor/" not in file.path and file.path.startswith("src/"):
        for found in _UNSAFE.finditer(file.text):
            yield Violation(file.path, file.text.count("\n", 0, found.start()) + 1, f"{found[0]} lets markup through")
    if file.is_program:
        for node in ast.walk(file.tree):
            if not isinstance(node, ast.Call):
                continue
            if ast.unparse(node.func).rsplit(".", 1)[-1] == "Markup" and not all(
                isinstance(argument, ast.Constant) for argument in node.args
            ):
                yield Violation(file.path, node.lineno, "Markup() of something that is not a constant")
            for keyword in node.keywords:
                if keyword.arg == "autoescape" and isinstance(keyword.value, ast.Constant) and not keyword.value.value:
                    yield Violation(file.path, node.lineno, "autoescape switched off")
