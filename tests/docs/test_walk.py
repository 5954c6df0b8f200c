"""The walker of pages: what it runs, what it does not, and that a page that lies is found out."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.walk import CHECKOUT, Reader, read_blocks, walk_page
from tests.upstreams import call_jobsync

pytestmark = pytest.mark.anyio

PAGE = """# A page
```sh
jobsync version       # says which
jobsync --tenant \\
  default version   # A COMMENT
echo "$HOME" | grep -c /   # a shell reads this line
```
## What fails
```sh exit=2
jobsync nonsense
```
```sh unrun=takes-a-person
rm -rf EVERYTHING
```
```text
not a command
```
## In the database
```sql
\\pset format unaligned
SELECT st_business_unit_id FROM business_units WHERE name = 'UNIT';
```
```sh
$ jobsync version
jobsync 0.0
```
"""


def reader(dsn: str, folder: Path, **names: str) -> Reader:
    environment = {"DATABASE_URL": dsn, "JOBSYNC_DATA_DIR": str(folder)}

    async def jobsync(*words: str, **changes: str):
        return await call_jobsync(folder, {**environment, **changes}, *words)

    return Reader(jobsync, dsn, environment, folder, names)


def write(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


async def test_every_command_of_a_page_is_run_in_its_order(dsn: str, tmp_path: Path) -> None:
    reached: list[str] = []

    async def reach() -> None:
        reached.append("What fails")

    page = write(tmp_path, PAGE)
    done = await walk_page(page, reader(dsn, tmp_path, UNIT="Install"), before={"What fails": reach})
    assert [step.command.split("#")[0].strip() for step in done if step.block.language == "sh"] == [
        "jobsync version",
        "jobsync --tenant default version",
        'echo "$HOME" | grep -c /',
        "jobsync nonsense",
        "jobsync version",
    ]
    assert reached == ["What fails"]
    (asked,) = [step for step in done if step.block.language == "sql"]
    assert "54670601" in asked.ran.out


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("```sh\njobsync nonsense\n```", "ended with 2"),
        ("```sh\njobsync why JOB\n```", "no value for JOB"),
        ("```sh exit=9\njobsync version\n```", "ended with 0"),
        ("```sql\nselect nothing_such from jobs\n```", "nothing_such"),
        ("```sh\nno-such-program\n```", "ended with 127"),
        ("```sh\njobsync version", "has no end"),
        ("words only", "holds no command"),
    ],
)
async def test_a_page_that_does_not_hold_is_found_out(dsn: str, tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        await walk_page(write(tmp_path, text), reader(dsn, tmp_path))


def test_every_page_with_commands_is_walked_by_a_test() -> None:
    tests = "\n".join(test.read_text() for test in (CHECKOUT / "tests").rglob("test_*.py"))
    pages = [page.relative_to(CHECKOUT).as_posix() for page in sorted((CHECKOUT / "docs").rglob("*.md"))]
    with_commands = [page for page in pages if any(block.is_run for block in read_blocks(page))]
    assert [page for page in with_commands if page not in tests] == []
