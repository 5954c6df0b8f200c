"""CSV files of the pages, for a spreadsheet: one header line, UTF-8, no cell that becomes a formula (X15)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from fastapi import Response

from jobsync.web.dashboard.rendering import show_iso
from jobsync.web.sheets import safe_cell


def answer_csv(name: str, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> Response:
    """A file called `name`.csv with these columns of the rows; times in UTC."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(columns)
    for row in rows:
        writer.writerow([safe_cell(_as_text(row.get(column))) for column in columns])
    headers = {"Content-Disposition": f'attachment; filename="{name}.csv"'}
    return Response(out.getvalue().encode(), media_type="text/csv; charset=utf-8", headers=headers)


def _as_text(value: Any) -> str | None:
    if isinstance(value, datetime):
        return show_iso(value)
    return None if value is None else str(value)
