"""The reconciliation as files for the records: HTML to read and print, JSON with everything, CSV with the counts."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec
from jinja2 import Environment, Template

from jobsync.errors import InvalidInput
from jobsync.intake.airtable import OUTCOMES
from jobsync.intake.sheets import SheetWriter


def save_reconciliation(report: dict[str, Any], folder: Path) -> list[Path]:
    """Writes `import-ID.reconciliation.html`, `.json` and `.csv` into a folder; answers their paths. What stood there is replaced.

    Raises InvalidInput where they cannot be written.
    """
    base = folder / f"import-{report['import']}.reconciliation"
    paths = [base.with_name(f"{base.name}.{kind}") for kind in ("html", "json", "csv")]
    try:
        paths[0].write_text(render_page(report), "utf-8")
        paths[1].write_bytes(msgspec.json.format(msgspec.json.encode(report, enc_hook=str), indent=2) + b"\n")
        with SheetWriter(paths[2]) as sheet:
            for row in list_counts(report):
                sheet.write([str(cell) if cell is not None else "" for cell in row])
    except OSError as error:
        raise InvalidInput(
            f"{base}.* cannot be written ({error.strerror}).",
            hint="Run the command in a folder of yours.",
            code="file_unwritable",
        ) from None
    return paths


def render_page(report: dict[str, Any]) -> str:
    """The report as a page that needs nothing else: no script, no address."""
    return _page().render(report=report, outcomes=OUTCOMES)


def list_counts(report: dict[str, Any]) -> list[list[Any]]:
    """The counts as rows: what, which, file, database, ServiceTitan."""
    rows: list[list[Any]] = [
        ["what", "which", "file", "database", "servicetitan"],
        ["verdict", report["verdict"], "", "", ""],
    ]
    for entity, file in report["files"].items():
        asked = (report["servicetitan"].get("files") or {}).get(entity)
        rows.append([f"{entity}: SHA-256", file["sha256"], "", "", ""])
        rows.append([f"{entity}: rows", file["name"], file["rows"], sum(file["outcomes"].values()), ""])
        rows += [[f"{entity}: outcome", name, file["outcomes"][name], "", ""] for name in OUTCOMES]
        rows.append(
            [
                f"{entity}: records",
                "",
                file["records"],
                file["here"],
                asked["confirmed"] if asked else file["confirmed"],
            ]
        )
        if file.get("money"):
            rows.append([f"{entity}: money", "", file["money"]["csv"], file["money"]["database"], ""])
        for unit in file.get("units") or ():
            rows.append(
                [
                    f"{entity}: unit",
                    unit["name"] or unit["id"] or "none",
                    unit["csv"],
                    unit["database"],
                    unit["servicetitan"],
                ]
            )
        for month in file.get("months") or ():
            rows.append(
                [f"{entity}: month", month["month"] or "none", month["csv"], month["database"], month["servicetitan"]]
            )
    return rows


@cache
def _page() -> Template:
    text = files("jobsync.intake").joinpath("reconciliation.html").read_text("utf-8")
    return Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(text)
