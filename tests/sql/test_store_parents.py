"""Customers and locations: both forms, names, addresses, merges; and parents that jobs wait for."""

from __future__ import annotations

import pytest

from tests.sql.story import Story, contact, customer, job, location

GUIDE = {
    "customerId": 601, "locationId": 701, "firstName": "Ada", "lastName": "Lovelace", "email": "ada@example.com", "phone": "(602) 555-0101",
    "address": {"street": "1 Pool Lane", "city": "Springfield", "state": "AZ", "zip": "85001", "county": "Maricopa"},
}  # fmt: skip


def who(story: Story, number: int = 601) -> dict[str, object]:
    return story.row("select * from public.customers where st_customer_id = %s", number)


@pytest.mark.parametrize("stream", ["customers", "locations"])
def test_the_same_page_again_writes_nothing(story: Story, stream: str) -> None:
    make = customer if stream == "customers" else location
    page = [make(number) for number in range(800, 820)]
    assert story.page(*page, stream=stream)["stored"] == 20
    before = story.traces("public.customers", "jobsync.locations")
    assert story.page(*page, stream=stream)["unchanged"] == 20
    assert story.traces("public.customers", "jobsync.locations") == before


@pytest.mark.parametrize(
    ("name", "kind", "expected"),
    [
        ("Ada Lovelace", "Residential", ("Ada", "Lovelace", None)),
        ("Lovelace, Ada", "Residential", ("Ada", "Lovelace", None)),
        ("Ada King Lovelace", "Residential", ("Ada King", "Lovelace", None)),
        ("Ada", "Residential", ("Ada", None, None)),
        ("  Ada   Lovelace ", "Residential", ("Ada", "Lovelace", None)),
        ("\tAda\u00a0King\tLovelace\n", "Residential", ("Ada King", "Lovelace", None)),
        ("Åsa Ölund-Ærø", "Residential", ("Åsa", "Ölund-Ærø", None)),
        ("Lovelace,", "Residential", (None, "Lovelace", None)),
        (" ", "Residential", (None, None, None)),
        ("Pools, Spas & More LLC", "Commercial", (None, None, "Pools, Spas & More LLC")),
        (None, "Residential", (None, None, None)),
    ],
)
def test_one_name_is_read_as_first_and_last_or_as_a_company(
    story: Story, name: str, kind: str, expected: tuple[str, ...]
) -> None:
    story.page(customer(601, name=name, type=kind), stream="customers")
    found = who(story)
    assert (found["first_name"], found["last_name"], found["company_name"]) == expected


def test_the_guides_form_and_servicetitans_form_fill_the_same_columns(story: Story) -> None:
    story.upsert((job(1), GUIDE))
    found = who(story)
    assert (found["first_name"], found["last_name"], found["email"], found["phone"]) == (
        "Ada",
        "Lovelace",
        "ada@example.com",
        "(602) 555-0101",
    )
    assert (found["street"], found["city"], found["state"], found["postal_code"], found["county"], found["country"]) == (
        "1 Pool Lane", "Springfield", "AZ", "85001", "Maricopa", None,
    )  # fmt: skip
    assert (found["st_location_id"], found["source"]) == (701, "api")
    story.page(customer(601, name="Grace Hopper"), stream="customers")
    found = who(story)
    assert (found["first_name"], found["last_name"], found["email"], found["source"]) == (
        "Grace",
        "Hopper",
        "ada@example.com",
        "servicetitan",
    )
    assert "firstName" not in found["st_raw_data"]  # type: ignore[operator]


def test_an_empty_text_on_db_never_blanks_what_is_there(story: Story) -> None:
    story.upsert((job(1), GUIDE))
    story.upsert(
        (
            job(1),
            {"customerId": 601, "firstName": "", "email": "", "phone": " ", "address": {"street": "", "city": "Mesa"}},
        )
    )
    found = who(story)
    assert (found["first_name"], found["email"], found["phone"], found["street"], found["city"]) == (
        "Ada", "ada@example.com", "(602) 555-0101", "1 Pool Lane", "Mesa",
    )  # fmt: skip


# What could pass for two values where those of a hundred records are looked at together.
TWO_IN_ONE = {
    "jobs": {"customerId": "12;=13", "createdOn": "2026-01-01T00:00:00Z;=2026-01-01T00:00:00Z", "tagTypeIds": "[1];=[2]"},
    "customers": {"mergedToId": "12;=13", "modifiedOn": "2026-01-01T00:00:00Z;=2026-01-01T00:00:00Z"},
    "locations": {"customerId": "12;=13", "modifiedOn": "2026-01-01T00:00:00Z;=2026-01-01T00:00:00Z"},
    "customer_contacts": {"modifiedOn": "2026-01-01T00:00:00Z;=2026-01-01T00:00:00Z"},
}  # fmt: skip


@pytest.mark.parametrize("stream", TWO_IN_ONE)
def test_an_odd_value_among_hundreds_of_records_is_refused_and_no_neighbour_with_it(story: Story, stream: str) -> None:
    def make(number: int, **odd: object) -> dict[str, object]:
        makers = {"jobs": job, "customers": customer, "locations": location}
        if stream == "customer_contacts":
            return contact(number, 600, "(602) 555-0101", **odd)  # type: ignore[arg-type]
        return makers[stream](number, **odd)

    page = [make(number) for number in range(1000, 1250)]
    for place, (field, value) in enumerate(TWO_IN_ONE[stream].items()):
        page.append(make(2000 + place, **{field: value}))
    page += [make(number) for number in range(3000, 3150)]
    report = story.page(*page, stream=stream)
    assert (report["stored"], report["quarantined"]) == (400, len(TWO_IN_ONE[stream]))
    refused = story.rows("select record_id from jobsync.quarantine order by record_id")
    assert [row["record_id"] for row in refused] == [str(2000 + place) for place in range(len(TWO_IN_ONE[stream]))]


@pytest.mark.parametrize("kind", ["customer", "location"])
def test_whoever_comes_after_his_contacts_has_them_at_once_and_is_noted_for_a_job_that_waited(
    story: Story, kind: str
) -> None:
    story.hook(kind="api")
    story.page(job(1))
    story.owner(
        "update public.jobs set ghl_sync_status = 'skipped', ghl_sync_reason = 'no_contact' where st_job_id = 1"
    )
    number, make, table = (
        (601, customer, "public.customers") if kind == "customer" else (701, location, "jobsync.locations")
    )
    page = [
        contact(1, number, "(602) 555-0101", of=kind, phoneSettings={"doNotText": True}),
        contact(2, number, "Ada@example.com", "Email", of=kind),
    ]
    story.page(*page, stream=f"{kind}_contacts", phones=["+16025550101", None])
    assert story.rows("select from jobsync.contact_changes") == []

    story.page(make(number), stream=f"{kind}s")
    found = story.row(f"select phone, email, do_not_text from {table} where st_{kind}_id = %s", number)
    assert found == {"phone": "+16025550101", "email": "ada@example.com", "do_not_text": True}
    assert story.value("select st_customer_id from jobsync.contact_changes") == 601

    before = story.traces(table)
    assert story.page(make(number), stream=f"{kind}s")["unchanged"] == 1
    assert story.traces(table) == before
    story.page(make(number, name="Grace Hopper", modifiedOn="2026-03-02T10:00:00Z"), stream=f"{kind}s")
    assert story.row(f"select phone, email, do_not_text from {table} where st_{kind}_id = %s", number) == found


def test_an_address_is_merged_key_by_key_and_a_null_one_is_null(story: Story) -> None:
    story.page(customer(601), stream="customers")
    story.page(
        {"id": 601, "modifiedOn": "2026-03-02T10:00:00Z", "address": {"city": "Mesa", "state": None}},
        stream="customers",
    )
    found = who(story)
    assert (found["street"], found["city"], found["state"], found["postal_code"]) == (
        "1 Pool Lane",
        "Mesa",
        None,
        "85001",
    )
    story.page({"id": 601, "modifiedOn": "2026-03-03T10:00:00Z", "address": None}, stream="customers")
    found = who(story)
    assert (found["street"], found["city"], found["postal_code"], found["first_name"]) == (None, None, None, "Ada")


def test_a_unit_follows_the_street(story: Story) -> None:
    story.page(location(701, address={"street": "2 Palm Way", "unit": "B", "city": "Mesa"}), stream="locations")
    assert story.value("select street from jobsync.locations") == "2 Palm Way, B"


@pytest.mark.parametrize("stream", ["customers", "locations"])
def test_an_older_version_never_wins_and_what_does_not_fit_is_quarantined(story: Story, stream: str) -> None:
    make = customer if stream == "customers" else location
    story.page(make(801, modifiedOn="2026-03-05T10:00:00Z", mergedToId=5), stream=stream)
    report = story.page(
        make(801, modifiedOn="2026-03-04T10:00:00Z", mergedToId=6),
        make(802, mergedToId="x"),
        make(803, address="1 Pool Lane"),
        make(804),
        stream=stream,
    )
    assert (report["stored"], report["quarantined"], report["unchanged"]) == (1, 2, 1)
    table = "public.customers" if stream == "customers" else "jobsync.locations"
    assert story.value(f"select merged_to_id from {table} where modified_on = '2026-03-05T10:00:00Z'") == 5
    story.page(make(802), make(803), stream=stream)
    assert story.value("select count(*) from jobsync.quarantine where resolved_at is null") == 0


def test_the_survivor_of_a_chain_of_merges_is_told(story: Story) -> None:
    story.page(
        customer(601, mergedToId=602, active=False),
        customer(602, mergedToId=603, active=False),
        customer(603, name="Sue Survivor"),
        stream="customers",
    )
    story.page(job(1))
    found = story.row("select customer_name, st_customer_id from jobsync.projections")
    assert found == {"customer_name": "Sue Survivor", "st_customer_id": 601}


def test_a_ring_of_merges_ends(story: Story) -> None:
    story.page(customer(601, mergedToId=602), customer(602, mergedToId=601), stream="customers")
    story.page(job(1))
    assert story.value("select count(*) from jobsync.projections") == 1


def test_deliveries_wait_for_customer_location_and_both_contact_lists(story: Story) -> None:
    story.hook()
    story.live()
    story.page(job(1))
    row = story.outbox(1)
    assert row is not None
    assert row["waiting_for"] == "parents"
    assert story.claim() == []
    wanted = {(row["stream"], row["id"]) for row in story.rows("select stream, id from jobsync.wanted")}
    assert wanted == {("customers", 601), ("locations", 701), ("customer_contacts", 601), ("location_contacts", 701)}
    story.page(customer(601), stream="customers")
    story.page(location(701), stream="locations")
    story.page(contact(1, 601, "+16025550101"), stream="customer_contacts", phones=["+16025550101"], owners=[601])
    assert story.value("select jobsync.resolve_wanted('default')") == 0
    assert story.claim() == []
    story.page(stream="location_contacts", owners=[701])
    assert story.value("select jobsync.resolve_wanted('default')") == 1
    assert story.claim() == [1]
    assert (story.claimed[0]["phone"], story.claimed[0]["waited_for"]) == ("+16025550101", None)


def test_after_fifteen_minutes_a_delivery_goes_out_flagged(story: Story) -> None:
    story.hook()
    story.live()
    story.page(job(1))
    story.pass_time("14 minutes")
    assert story.claim() == []
    story.pass_time("2 minutes")
    assert story.claim() == [1]
    assert story.claimed[0]["waited_for"] == "parents"


def test_a_feed_read_from_its_first_record_on_answers_for_everyone(story: Story) -> None:
    story.page(customer(601), stream="customers")
    story.page(location(701), stream="locations")
    for stream in ("customer_contacts", "location_contacts"):
        story.value("select (jobsync.read_cursor('default', %s, 'export', null)).revision", stream)
        story.value("select jobsync.move_cursor('default', %s, 0, 'export', 'token', null, true)", stream)
    story.hook()
    story.live()
    story.page(job(1))
    assert story.claim() == [1]


def test_a_job_that_moves_to_a_customer_not_read_yet_waits_again(story: Story) -> None:
    story.hook()
    story.live()
    story.parents(1)
    story.page(job(1))
    story.page(job(1, customerId=650, modifiedOn="2026-03-02T10:00:00Z"))
    assert story.claim() == []
    row = story.outbox(1)
    assert row is not None
    assert row["waiting_for"] == "parents"


def test_what_servicetitan_does_not_know_is_asked_for_ever_more_rarely(story: Story) -> None:
    story.page(job(1))
    ask = "select jobsync.list_wanted('default', 'customers', 50)"
    assert story.value(ask) == [601]
    assert story.value(ask) == [601], "nobody answered yet: a worker that died while it asked makes nobody wait"
    answered = "select jobsync.note_asked('default', 'customers', '{601}')"
    story.value(answered)
    assert story.value(ask) == []
    story.pass_time("6 minutes")
    assert story.value(ask) == []
    story.pass_time("5 minutes")
    assert story.value(ask) == [601]
    story.value(answered)
    story.pass_time("15 minutes")
    assert story.value(ask) == []
