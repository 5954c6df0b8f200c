"""Casts never fail: a value of the wrong kind is null, whatever it is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from psycopg.types.json import Jsonb

from tests.sql.story import Story

ODD = [
    None, True, False, 0, -1, 1, 1.5, 1e300, -1e300, 12345678901234567890, 2**63, 2**63 - 1, -(2**63), "", " ", "x", "12", " 12 ", "\u00a012",
    "\u3000", "١٢", "1e5", "--1", "+5", "9" * 18, "9" * 19, "9" * 40, "1.", ".5", ".", "NaN", "Infinity", "now", "today", "epoch", "infinity", "-infinity",
    "2026-02-29", "2024-02-29", "1900-02-29", "2000-02-29", "2026-02-30T00:00:00Z", "2026-04-31T00:00:00Z", "2026-13-01", "0000-01-01",
    "0001-01-01T00:00:00", "2026-01-01T24:00:00Z", "2026-01-01T23:60:00Z", "2026-01-01T23:59:60Z", "2026-01-01T10:00:00.1234567Z",
    "9999-12-31T23:59:59.9999999Z", "2026-01-01T10:00:00.12345678901Z", "2026-01-01T10:00:00+05:30", "2026-01-01T10:00:00+15:00",
    "2026-01-01T10:00:00+0530", "2026-01-01T10:00", "2026-01-01 10:00:00", "2026-01-01T10:00:00 America/Phoenix", "2026-01-01T10:00:00Z\n", "12,13", "12;13", "12;=13", ";", "=",
    "2026-01-01T10:00:00Z 2026-01-01T10:00:00Z", "2026-01-01T10:00:00Z;=2026-01-01T10:00:00Z", "[1]", "[];=[1]", ["1;"], '{12', '"12"', "NULL", "null", "{}", [], [1, 2], [1, "2", None, {}], [[1], [2]], [1.5], [2**63], ["x"],
    {}, {"a": 1}, {"a": {"b": [1]}}, "x" * 5000, "0x10", "1_000", "01", "-0", -0.0,
]  # fmt: skip


@pytest.mark.parametrize(
    "function", ["try_bigint", "try_numeric", "try_boolean", "try_timestamptz", "try_bigint_array", "as_text"]
)
def test_no_value_makes_a_cast_fail(story: Story, function: str) -> None:
    rows = story.rows(
        f"select e.value, jobsync.{function}(e.value) as cast from jsonb_array_elements(%s) e", Jsonb(ODD)
    )
    assert len(rows) == len(ODD)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-03-01T10:00:00Z", "2026-03-01 10:00:00+00"),
        ("2026-03-01T10:00:00.1234567Z", "2026-03-01 10:00:00.123457+00"),
        ("2026-03-01T10:00:00", "2026-03-01 10:00:00+00"),
        ("2026-03-01", "2026-03-01 00:00:00+00"),
        ("2026-03-01T10:00:00-07:00", "2026-03-01 17:00:00+00"),
        ("2026-03-01T10:00:00+0530", "2026-03-01 04:30:00+00"),
        ("2024-02-29T00:00:00Z", "2024-02-29 00:00:00+00"),
        ("2025-02-29T00:00:00Z", None),
        ("2026-06-31T00:00:00Z", None),
        ("0001-01-01T00:00:00Z", None),
        ("yesterday", None),
    ],
)
def test_a_time_is_read_as_utc_whatever_the_session_says(story: Story, text: str, instant: str | None) -> None:
    story.connection.execute("set local timezone = 'America/Phoenix'")
    found = story.value("select (jobsync.try_timestamptz_text(%s) at time zone 'UTC')::text", text)
    assert found == (None if instant is None else instant.removesuffix("+00"))


@pytest.mark.parametrize("stream", ["jobs", "customers", "locations"])
def test_whatever_the_quick_look_lets_pass_casts_as_it_stands(story: Story, stream: str) -> None:
    """The quick look is what keeps an odd value from failing a whole page: it must never be wrong in that direction."""
    kinds: dict[str, str] = story.value("select jobsync.field_kinds(%s)", stream)
    check = "is_plain_job" if stream == "jobs" else "is_plain_owner"
    types = {
        "id": "bigint",
        "time": "timestamptz",
        "number": "numeric",
        "flag": "boolean",
        "ids": "bigint[]",
        "object": "jsonb",
    }
    columns = ", ".join(f'"{name}" {types[kind]}' for name, kind in kinds.items())
    records = [{"id": 1, name: value} for name in kinds for value in ODD] + [
        {"id": 1, "customerId": "12,13"},
        {"id": 1},
    ]
    rows = story.rows(
        f"select p.doc, x.* from (select e.value as doc from jsonb_array_elements(%s) e where jobsync.{check}(e.value)) p, "
        f"jsonb_to_record(p.doc) as x({columns})",
        Jsonb(records),
    )
    assert len(rows) > len(kinds)
    for row in rows:
        for name, kind in kinds.items():
            if kind == "id" and row["doc"].get(name) is not None:
                assert row[name] == int(row["doc"][name]), row["doc"]


@pytest.mark.parametrize("stream", ["jobs", "customers", "locations"])
def test_a_record_made_plain_casts_or_is_refused_with_the_fields_named(story: Story, stream: str) -> None:
    kinds: dict[str, str] = story.value("select jobsync.field_kinds(%s)", stream)
    records = [{"id": 1, name: value} for name in kinds for value in ODD]
    rows = story.rows(
        "select e.value as doc, jobsync.plain_record(k.kinds, e.value) as plain, jobsync.record_misfits(k.kinds, e.value) as misfits "
        "from jsonb_array_elements(%s) e, (select jobsync.field_kinds(%s) as kinds) k",
        Jsonb(records), stream,
    )  # fmt: skip
    for row in rows:
        (name,) = row["doc"].keys() - {"id"}
        assert (row["plain"] is None) == (row["misfits"] == [name])
        assert row["misfits"] in (None, [name])


def test_an_empty_text_means_not_given_also_inside_the_address(story: Story) -> None:
    given: dict[str, Any] = {
        "email": "",
        "phone": "  ",
        "name": "Ada",
        "address": {"city": "", "zip": "85001"},
        "tags": [""],
        "n": 0,
        "none": None,
    }
    assert story.value("select jobsync.without_blanks(%s)", Jsonb(given)) == {
        "name": "Ada", "address": {"zip": "85001"}, "tags": [""], "n": 0, "none": None,
    }  # fmt: skip


def test_a_body_nested_on_purpose_does_not_exhaust_the_stack(story: Story) -> None:
    deep = json.loads('{"a":' * 900 + "1" + "}" * 900)
    assert story.value("select jobsync.without_blanks(%s::jsonb) is not null", json.dumps({"id": 1, "x": deep}))
