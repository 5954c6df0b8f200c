"""The errors file: every row that something is said about, as it stood, with `_row`, `_code`, `_field`, `_message`, `_suggestion`.

Corrected in a spreadsheet, it can be fed straight back as the file of its entity: the five columns are known and left out, and
`_row` says which rows of the first import are settled by it. Several complaints of a row stand side by side, split by " | ".
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jobsync.engine.context import Engine
from jobsync.errors import InvalidInput
from jobsync.intake.columns import OWN_COLUMNS
from jobsync.intake.sheets import SheetWriter

BETWEEN = " | "


def name_errors_file(found: dict[str, Any], entity: str) -> str:
    """`import-ID.errors.csv`, with the entity in it where the import has two files."""
    part = f"{entity}." if len(found["files"]) > 1 else ""
    return f"import-{found['id']}.{part}errors.csv"


async def write_errors_files(engine: Engine, tenant: str, found: dict[str, Any], folder: Path) -> dict[str, Path]:
    """Writes the errors file of each file that needs one, with flat memory; answers their paths by entity.

    One that stands there is replaced; one that is not needed any more is removed. Raises InvalidInput where it cannot be
    written.
    """
    written = {}
    for file in found["files"]:
        path = folder / name_errors_file(found, file["entity"])
        try:
            if await _write(engine, tenant, found["id"], file, path):
                written[file["entity"]] = path
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise InvalidInput(
                f"{path} cannot be written ({error.strerror}).",
                hint="Run the command in a folder of yours.",
                code="file_unwritable",
            ) from None
    return written


async def _write(engine: Engine, tenant: str, number: str, file: dict[str, Any], path: Path) -> int:
    header = [name or f"Column {at + 1}" for at, name in enumerate(file["reading"]["header"])]
    width = len(header)
    own = [at for at, name in enumerate(header) if name in OWN_COLUMNS]
    asked = {"tenant": tenant, "import": number, "entity": file["entity"]}
    count = 0
    async with engine.database.transaction(tenant) as session:
        issues = await session.value("count_import_issues", asked)
        # Only where it is needed: a row that has more cells than columns, or fewer.
        tells_more = "ragged_row" in issues.get(file["entity"], {})
        with SheetWriter(path) as sheet:
            sheet.write([*_without(header, own), *OWN_COLUMNS[:5], *OWN_COLUMNS[5 : 5 + tells_more]])
            async with session.stream("stream_import_issues", asked) as rows:
                async for row in rows:
                    cells = row["cells"]
                    more = (
                        BETWEEN.join(cells[width:]) if len(cells) > width else "(cut off)" if len(cells) < width else ""
                    )
                    cells = [*cells[:width], *[""] * (width - len(cells))]
                    told = [str(row["row_no"]), *_tell(row["issues"])]
                    sheet.write([*_without(cells, own), *told, *([more] if tells_more else [])])
                    count += 1
    return count


def _without(cells: list[str], left_out: list[int]) -> Iterator[str]:
    return (cell for at, cell in enumerate(cells) if at not in left_out)


def _tell(issues: list[dict[str, Any]]) -> list[str]:
    # Errors first: they are what keeps the row out.
    told = sorted(issues, key=lambda issue: not issue["is_error"])
    return [
        BETWEEN.join(dict.fromkeys(issue["code"] for issue in told)),
        BETWEEN.join(dict.fromkeys(issue["field"] for issue in told if issue["field"])),
        BETWEEN.join(dict.fromkeys(issue["message"] for issue in told)),
        BETWEEN.join(dict.fromkeys(issue["suggestion"] for issue in told)),
    ]
