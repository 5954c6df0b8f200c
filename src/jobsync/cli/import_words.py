"""An import in words: the dry run, what was written, the list, the reconciliation. Only shapes what the engine answers."""

from __future__ import annotations

import shlex
from typing import Any

from jobsync.cli.progress import describe_seconds
from jobsync.intake.airtable import OUTCOMES, count_outcomes

HEADS = ("new", "fill blanks", "same", "older", "merged dup", "error")
# What a row's complaint is called when many are counted.
WATCHED = {
    "bad_phone": ("phone not valid", "phones not valid"),
    "bad_email": ("email not valid", "emails not valid"),
    "dst_gap": ("time that the clocks skipped or had twice", "times that the clocks skipped or had twice"),
    "dup_conflict": ("record whose rows contradict each other", "records whose rows contradict each other"),
    "unknown_unit": ("business unit not known", "business units not known"),
    "encoding": ("cell with lost characters", "cells with lost characters"),
}


def shape_import(answer: dict[str, Any]) -> dict[str, Any]:
    """The object that --json prints."""
    found = answer["import"]
    made = answer.get("reconciliation")
    return {
        "import": found["id"],
        "state": found["state"],
        "applied": answer["applied"],
        "balanced": answer["balanced"],
        "files": {
            file["entity"]: {
                "name": file["name"],
                "sha256": file["sha256"],
                "rows": file["total"],
                **count_outcomes(file),
                "encoding": file["reading"]["encoding"],
                "delimiter": file["reading"]["delimiter"],
                "kept_columns": list(file["reading"]["extra"].values()),
                "dates": file["reading"]["proofs"],
                "notes": file["reading"]["notes"],
                "issues": answer["issues"].get(file["entity"], {}),
            }
            for file in found["files"]
        },
        "shared": answer["shared"],
        "errors_files": {entity: str(path) for entity, path in answer["errors"].items()},
        "verdict": made["report"]["verdict"] if made else None,
        "reconciliation_files": [str(path) for path in made["files"]] if made else [],
        "duration_s": answer["duration_s"],
    }


def describe_import(answer: dict[str, Any]) -> list[str]:
    """The dry run, or what was written, ending in one Next line."""
    found, files = answer["import"], answer["import"]["files"]
    title = " · ".join(f"{file['name']} {file['total']:,} rows" for file in files)
    word = {"staged": "Dry run", "applied": "Imported", "undone": "Undone"}.get(
        found["state"], found["state"].capitalize()
    )
    lines = [f"{word}  {title}    {describe_seconds(answer['duration_s'])}"]
    lines.append(" " * 10 + "".join(f"{head:>13}" for head in HEADS))
    for file in files:
        counts = count_outcomes(file)
        lines.append(f"{file['entity']:<10}" + "".join(f"{counts[name]:>13,}" for name in OUTCOMES))
    lines += _describe_columns(files)
    watched = _list_watched(answer)
    if watched:
        lines.append(f"Watch     {' · '.join(watched)}")
    lines += _describe_errors(answer)
    if not answer["balanced"]:
        lines.append("Balance   the rows do not add up: this is a bug; nothing more should be imported")
    if not answer["applied"]:
        command = " ".join(f"--{entity} {shlex.quote(path)}" for entity, path in answer["paths"].items())
        lines.append("Nothing was written.")
        errors = (
            f"     errors: {', '.join(path.name for path in answer['errors'].values())}" if answer["errors"] else ""
        )
        lines.append(f"Next: jobsync import airtable {command} --apply" + errors)
        return lines
    made = answer["reconciliation"]
    lines.append(f"Verdict   {made['report']['verdict']}")
    lines.append(f"Report    {', '.join(path.name for path in made['files'])}")
    lines.append("Nothing of it is sent: imported jobs are skipped (imported).")
    lines.append(_next_step(answer))
    return lines


def _describe_columns(files: list[dict[str, Any]]) -> list[str]:
    parts = []
    for file in files:
        reading = file["reading"]
        found, asked = reading["guide_columns"]
        if asked:
            parts.append(f"{found} of {asked} guide columns found")
        notes = [note for note in reading["notes"] if "read as" in note]
        kept = [f'"{name}"' for name in reading["extra"].values()]
        if kept:
            parts.append(f"{', '.join(kept[:8])}{f' and {len(kept) - 8} more' if len(kept) > 8 else ''} kept as raw")
        computed = reading["computed"]
        if computed:
            parts.append(f"{len(computed)} of them computed by Airtable")
        parts += notes[:6]
    return [f"Columns   {' · '.join(parts)}"] if parts else []


def _list_watched(answer: dict[str, Any]) -> list[str]:
    parts = []
    for codes in answer["issues"].values():
        for code, counted in codes.items():
            if not counted["is_error"] and code in WATCHED:
                parts.append(f"{counted['rows']:,} {WATCHED[code][counted['rows'] != 1]}")
    if answer["shared"]["count"]:
        parts.append(f"{answer['shared']['count']:,} phones or emails shared by several customers")
    for file in answer["import"]["files"]:
        parts += [f"{column.lower()} dates read as {how}" for column, how in file["reading"]["proofs"].items()]
        parts += [note for note in file["reading"]["notes"] if "read as" not in note]
    return parts


def _describe_errors(answer: dict[str, Any]) -> list[str]:
    lines = []
    for entity, codes in answer["issues"].items():
        errors = ", ".join(
            f"{counted['rows']:,} {code}" for code, counted in sorted(codes.items()) if counted["is_error"]
        )
        if errors:
            lines.append(f"Errors    {entity}: {errors}")
    return lines


def _next_step(answer: dict[str, Any]) -> str:
    if answer["failed"] and answer["errors"]:
        failed = (file["entity"] for file in answer["import"]["files"] if count_outcomes(file)["error"])
        entity = next(iter(failed))
        name = answer["errors"][entity].name
        return f"Next: correct {name} in a spreadsheet, then: jobsync import airtable --{entity} {name} --apply"
    return f"Next: jobsync reconcile --import {answer['import']['id']}     undo: jobsync import undo {answer['import']['id']}"


def describe_list(found: list[dict[str, Any]]) -> list[str]:
    """The imports as a table."""
    if not found:
        return ["No import yet.", "Next: jobsync import airtable --customers customers.csv --jobs jobs.csv"]
    lines = []
    for one in found:
        files = ", ".join(f"{file['name']} {file['total']:,} rows" for file in one["files"] or ())
        counts = [count_outcomes(file) for file in one["files"] or ()]
        told = ", ".join(f"{total:,} {name}" for name in OUTCOMES if (total := sum(count[name] for count in counts)))
        lines.append(
            f"{one['id']}  {one['created_at']:%Y-%m-%d %H:%M}Z  {one['state']:<8}  {files}: {told or 'nothing counted yet'}"
        )
    resumable = next((one for one in found if one["state"] in ("staging", "applying", "undoing")), None)
    last = found[0]
    if resumable is not None:
        lines.append(f"Next: jobsync import airtable --resume {resumable['id']}")
    elif last["state"] == "applied":
        lines.append(f"Next: jobsync reconcile --import {last['id']}")
    else:
        lines.append("Next: jobsync import airtable --customers customers.csv --jobs jobs.csv --apply")
    return lines


def describe_reconciliation(answer: dict[str, Any]) -> list[str]:
    """The reconciliation in words, ending in one Next line."""
    report = answer["report"]
    lines = [f"Import {report['import']}"]
    for entity, file in report["files"].items():
        told = " + ".join(f"{file['outcomes'][name]:,} {name}" for name in OUTCOMES)
        lines.append(f"  {entity:<10} {file['rows']:,} rows = {told}   {'✓' if file['balanced'] else '✗'}")
        lines.append(
            f"  {'':<10} {file['records']:,} records in the file, {file['here']:,} of them in the database, {file['confirmed']:,} confirmed by a pull"
        )
        if file.get("money"):
            lines.append(f"  {'':<10} money: file {file['money']['csv']:,}, database {file['money']['database']:,}")
        lines += _describe_units(file)
        lines.append(f"  {'':<10} SHA-256 {file['sha256']}")
    lines += [f"  Note       {remark}" for remark in report["remarks"]]
    lines.append(f"Verdict   {report['verdict']}")
    lines.append(f"Report    {', '.join(path.name for path in answer['files'])}")
    if report["safe"]:
        lines.append("Next: keep these files, then delete the old workflow")
    else:
        lines.append("Next: mend what the verdict names, then run this again")
    return lines


def _describe_units(file: dict[str, Any]) -> list[str]:
    lines = []
    for unit in (file.get("units") or ())[:10]:
        name = unit["name"] or (f"unit {unit['id']}" if unit["id"] else "no unit")
        lines.append(
            f"  {'':<10} {name:<28} file {unit['csv']:>9,}   database {unit['database']:>9,}   ServiceTitan {unit['servicetitan']:>9,}"
        )
    return lines
