"""What is told to GoHighLevel about a job: exact keys, formats, and nothing that it would refuse."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobsync.errors import InvalidInput
from jobsync.gohighlevel.country_codes import country_code
from jobsync.gohighlevel.payloads import (
    contact_body,
    money,
    note_body,
    opportunity_body,
    opportunity_name,
    pick_custom_fields,
    tags_body,
    valid_email,
    valid_phone,
    webhook_body,
)
from tests.gohighlevel.rows import make_row

# As the users' workflows are mapped: the guide's fifteen, then what JobSync adds.
GUIDE_KEYS = {
    "job_id", "customer_id", "Job_description", "location_id", "Name", "street", "city", "state", "postal_code",
    "country", "phone", "email", "opportunity_name", "first_name", "last_name",
}  # fmt: skip
NEW_KEYS = {
    "county", "st_job_id", "st_customer_id", "business_unit", "job_status", "job_type", "total", "event", "version",
    "delivery_id", "occurred_at",
}  # fmt: skip
# The properties that the API takes; any other is answered 422.
CONTACT_CHANGE = {
    "firstName", "lastName", "name", "email", "phone", "address1", "city", "state", "postalCode", "website", "timezone",
    "dnd", "dndSettings", "inboundDndSettings", "customFields", "dateOfBirth", "country", "assignedTo",
}  # fmt: skip
CARD_CHANGE = {"pipelineId", "name", "pipelineStageId", "status", "monetaryValue", "assignedTo", "customFields"}
AT = datetime(2026, 3, 2, 15, 4, 5, tzinfo=UTC)


def hook(row: dict, **options) -> dict:
    return webhook_body(row, delivery_id="d-1", event="created", version=1, occurred_at=AT, **options)


def empty_row() -> dict:
    return dict.fromkeys(make_row()) | {"st_job_id": 7, "tenant_id": "default"}


def test_the_hook_body_has_exactly_the_keys_that_workflows_are_mapped_to():
    assert set(hook(make_row())) == GUIDE_KEYS | NEW_KEYS


def test_a_job_of_which_almost_nothing_is_known_still_has_every_key_and_is_flat():
    body = hook(empty_row())
    assert set(body) == GUIDE_KEYS | NEW_KEYS
    assert all(not isinstance(value, dict | list) for value in body.values())
    assert not any(" " in key for key in body)
    assert body["phone"] == "" and body["total"] is None and body["customer_id"] is None
    assert body["job_id"] == "7" and body["opportunity_name"] == "Job Type: Unknown"


def test_the_hook_body_says_what_the_job_is():
    body = hook(make_row())
    assert body["job_id"] == "J-1234" and body["st_job_id"] == 900000001234
    assert body["Job_description"] == "Pool & pump\nGate code at the office"
    assert body["Name"] == "Ada Example" and body["opportunity_name"] == "Job Type: Install"
    assert body["country"] == "USA" and body["county"] == "Travis"
    assert body["total"] == 1250.5 and body["occurred_at"] == "2026-03-02T15:04:05Z"
    assert msgspec.json.decode(msgspec.json.encode(body)) == body


def test_a_company_stands_in_for_a_missing_name():
    row = make_row(customer_name=None, first_name=None, last_name=None, company_name="Example Pools Ltd")
    assert hook(row)["Name"] == "Example Pools Ltd"


def test_the_time_is_told_in_utc_whatever_zone_it_came_in():
    at = datetime(2026, 3, 2, 9, 0, tzinfo=timezone(timedelta(hours=-6)))
    body = webhook_body(make_row(), delivery_id="d", event="created", version=1, occurred_at=at)
    assert body["occurred_at"] == "2026-03-02T15:00:00Z"


def test_the_description_can_be_shortened_for_a_hook_that_finds_it_too_large():
    assert hook(make_row(), summary_limit=6)["Job_description"] == "Pool &"


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("Job Type: {job_type_name}", "Job Type: Install"),
        ("{st_job_number} {customer_name}", "J-1234 Ada Example"),
        ("{no_such_column}x", "x"),
        ("{summary}", "Pool & pump Gate code at the office"),
        ("{0} {", "{0} {"),
        ("{first_name.__class__}", "{first_name.__class__}"),
        ("{first_name!r:>99999999999}", "{first_name!r:>99999999999}"),
        ("x" * 500, "x" * 200),
    ],
)
def test_a_name_template_fills_columns_and_leaves_everything_else_as_it_stands(template, name):
    assert opportunity_name(make_row(), template) == name


def test_a_new_contact_carries_its_location_company_and_source():
    body = contact_body(make_row(company_name="Example Pools"), location_id="loc1", source="ServiceTitan")
    assert body == {
        "firstName": "Ada",
        "lastName": "Example",
        "email": "ada@example.com",
        "phone": "+15125550123",
        "address1": "1 Invented Way",
        "city": "Springfield",
        "state": "TX",
        "postalCode": "78701",
        "country": "US",
        "locationId": "loc1",
        "companyName": "Example Pools",
        "source": "ServiceTitan",
    }


def test_a_changed_contact_carries_only_what_put_takes_and_never_tags():
    row = make_row(company_name="Example Pools", do_not_text=True)
    body = contact_body(row, custom_fields={"f1": "800"}, source="ServiceTitan")
    assert set(body) <= CONTACT_CHANGE
    assert body["customFields"] == [{"id": "f1", "field_value": "800"}]


def test_empty_and_invalid_facts_are_left_out_because_they_would_be_refused():
    body = contact_body(make_row(email="", phone="5125550123", country="Atlantis", state="  "), location_id="loc1")
    assert not {"email", "phone", "country", "state"} & set(body)
    assert contact_body(empty_row()) == {}


def test_a_company_without_a_person_is_named_by_its_name():
    row = make_row(first_name=None, last_name=None, customer_name="Example Pools", company_name="Example Pools")
    assert contact_body(row)["name"] == "Example Pools"


def test_a_number_that_must_not_be_texted_is_marked_and_never_unmarked():
    assert contact_body(make_row(do_not_text=True))["dndSettings"] == {"SMS": {"status": "active"}}
    assert "dndSettings" not in contact_body(make_row(do_not_text=False))
    assert "dndSettings" not in contact_body(make_row(do_not_text=True, phone=None))


def test_a_new_card_carries_location_contact_and_everything_required():
    body = opportunity_body(
        make_row(), pipeline_id="p1", stage_id="s1", location_id="loc1", contact_id="c1", custom_fields={"f9": "1"}
    )
    assert body == {
        "pipelineId": "p1",
        "pipelineStageId": "s1",
        "name": "ST #J-1234 Pool & pump Gate code at the office",
        "status": "open",
        "monetaryValue": 1250.5,
        "locationId": "loc1",
        "contactId": "c1",
        "customFields": [{"id": "f9", "field_value": "1"}],
    }


def test_a_changed_card_carries_only_what_put_takes():
    body = opportunity_body(make_row(), pipeline_id="p1", stage_id=None, status="won", assigned_to="u1", source="x")
    assert set(body) <= CARD_CHANGE and "pipelineStageId" not in body and body["status"] == "won"


def test_an_unknown_total_is_left_out_so_that_the_card_keeps_its_value():
    assert "monetaryValue" not in opportunity_body(make_row(total=None), pipeline_id="p", stage_id="s")
    given = opportunity_body(make_row(total=None), pipeline_id="p", stage_id="s", value=Decimal("0"))
    assert given["monetaryValue"] == 0


def test_a_card_with_a_status_that_is_only_a_search_word_is_refused():
    with pytest.raises(InvalidInput):
        opportunity_body(make_row(), pipeline_id="p", stage_id="s", status="all")
    with pytest.raises(InvalidInput):
        opportunity_body(make_row(), pipeline_id="p", stage_id="s", location_id="loc1")


def test_a_long_summary_is_cut_in_the_cards_name():
    name = opportunity_body(make_row(summary="word " * 3000), pipeline_id="p", stage_id="s")["name"]
    assert 190 < len(name) <= 200


def test_custom_fields_take_the_formats_of_their_kinds():
    fields = {
        "a": 5, "b": Decimal("2.50"), "c": date(2026, 3, 1), "d": datetime(2026, 3, 1, 23, tzinfo=UTC), "e": ["x", 2],
        "f": True, "g": None, "h": "", "i": [],
    }  # fmt: skip
    entries = contact_body(make_row(), custom_fields=fields)["customFields"]
    written = {entry["id"]: entry["field_value"] for entry in entries}
    assert written == {"a": 5, "b": 2.5, "c": "2026-03-01", "d": "2026-03-01", "e": ["x", "2"], "f": "Yes"}


def test_ids_go_into_custom_fields_as_text():
    picked = pick_custom_fields(make_row(), {"st_job_id": "f1", "total": "f2", "campaign_id": "f3"})
    assert picked == {"f1": "900000001234", "f2": Decimal("1250.50"), "f3": None}


def test_a_note_begins_with_its_marker_and_is_cut():
    body = note_body("<b>hello</b>", marker="[st-job:1]")["body"]
    assert body == "[st-job:1]\nhello"
    assert len(note_body("x" * 9000, marker="[st-job:1]")["body"]) == 5000


def test_tags_go_once_each_and_trimmed():
    assert tags_body([" a ", "b", "a", ""]) == {"tags": ["a", "b"]}


@pytest.mark.parametrize(
    ("text", "code"),
    [("USA", "US"), ("u.s.", "US"), ("us", "US"), ("Canada", "CA"), ("zz", None), ("", None), (None, None)],
)
def test_countries_become_two_letters_or_nothing(text, code):
    assert country_code(text) == code


@pytest.mark.parametrize("text", ["a@b", "a b@example.com", "@example.com", "a@example..test", "x@-a.test", "", None])
def test_what_is_no_address_is_not_sent_as_one(text):
    assert valid_email(text) is None


@pytest.mark.parametrize("text", ["5125550123", "+0125550123", "+1 512 555 0123", "+1512", None])
def test_what_is_not_e164_is_not_sent_as_a_phone(text):
    assert valid_phone(text) is None


def test_money_is_a_plain_number_or_nothing():
    assert [money(Decimal(text)) for text in ("10.00", "0", "9.99", "NaN", "Infinity")] == [10, 0, 9.99, None, None]
    assert money(None) is None


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=50))
def test_whatever_is_typed_into_a_job_becomes_a_body(summary, name, template):
    row = make_row(summary=summary, customer_name=name.encode("utf-8", "ignore").decode())
    msgspec.json.encode(hook(row, opportunity_name_template=template.encode("utf-8", "ignore").decode()))
    msgspec.json.encode(opportunity_body(row, pipeline_id="p", stage_id="s"))
