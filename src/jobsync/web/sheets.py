"""Sheets: rows as CSV for a spreadsheet (UTF-8, one header line), whose cells never become formulas (security bar X15)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from fastapi import Response
from pydantic import BaseModel

_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
_NUMBER = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)
_LEFT_OUT = {"st_raw_data"}
# For the description of an endpoint that takes ?format=csv.
OR_SHEET: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


def answer_sheet(model: type[BaseModel], rows: Iterable[Mapping[str, Any]], name: str) -> Response:
    """A CSV answer with the columns of `model`; the `row` column of each row holds its JSON text."""
    columns = [column for column in model.model_fields if column not in _LEFT_OUT]
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        values = json.loads(row["row"])
        writer.writerow([safe_cell(values.get(column)) for column in columns])
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(out.getvalue().encode(), media_type="text/csv; charset=utf-8", headers=headers)


def safe_cell(value: Any) -> str:
    """A cell's text; one that a spreadsheet would take for a formula begins with an apostrophe."""
    if value is None:
        return ""
    text = value if isinstance(value, str) else json.dumps(value)
    # A plain number, a phone among them, is no formula.
    return "'" + text if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text
