"""Contacts: which one is the best, and that a window of changes never wipes the others."""

from __future__ import annotations

from typing import Any

from tests.sql.story import Row, Story, contact, customer, job, location

A, B, C = "+16025550101", "+16025550102", "+16025550103"


def store(story: Story, *contacts: Row, of: str = "customer", owners: list[int] | None = None) -> Row:
    phones = [
        row["value"] if row["type"] in ("Phone", "MobilePhone") and row["value"].startswith("+") else None
        for row in contacts
    ]
    return story.page(*contacts, stream=f"{of}_contacts", phones=phones, owners=owners)


def best(story: Story, number: int = 601) -> tuple[Any, ...]:
    return tuple(
        story.row("select phone, email, do_not_text from public.customers where st_customer_id = %s", number).values()
    )


def test_a_mobile_comes_before_a_phone_and_a_valid_email_before_a_broken_one(story: Story) -> None:
    story.page(customer(601), stream="customers")
    store(
        story, contact(1, 601, A, "Phone"), contact(2, 601, B), contact(3, 601, C, "Fax"), contact(4, 601, "not an email", "Email"),
        contact(5, 601, " Ada@Example.com ", "Email"),
    )  # fmt: skip
    assert best(story) == (B, "ada@example.com", None)


def test_a_number_that_may_be_texted_comes_before_one_that_may_not_then_the_newest(story: Story) -> None:
    story.page(customer(601), stream="customers")
    store(
        story, contact(1, 601, A, phoneSettings={"doNotText": True}, modifiedOn="2026-03-09T10:00:00Z"), contact(2, 601, B), contact(3, 601, C),
    )  # fmt: skip
    assert best(story) == (B, None, None)
    store(story, contact(3, 601, C, modifiedOn="2026-03-02T10:00:00Z"))
    assert best(story) == (C, None, None)


def test_a_window_with_one_changed_contact_keeps_the_others(story: Story) -> None:
    story.page(customer(601), stream="customers")
    store(story, contact(1, 601, A), contact(2, 601, "ada@example.com", "Email"))
    store(story, contact(1, 601, B, modifiedOn="2026-03-02T10:00:00Z"))
    assert best(story) == (B, "ada@example.com", None)
    assert story.value("select count(*) from jobsync.contacts where active") == 2


def test_a_whole_list_removes_what_is_missing_and_brings_back_what_returns(story: Story) -> None:
    story.page(customer(601), customer(602), stream="customers")
    store(story, contact(1, 601, A), contact(2, 601, B), contact(3, 602, C))
    store(story, contact(2, 601, B), owners=[601])
    assert (best(story), best(story, 602)) == ((B, None, None), (C, None, None))
    store(story, owners=[601])
    assert best(story) == (None, None, None)
    store(story, contact(1, 601, A), owners=[601])
    assert best(story) == (A, None, None)


def test_the_same_contacts_again_write_nothing(story: Story) -> None:
    story.page(customer(601), stream="customers")
    page = [contact(1, 601, A), contact(2, 601, "ada@example.com", "Email"), contact(3, 601, B, active=False)]
    store(story, *page, owners=[601])
    before = story.traces("jobsync.contacts", "public.customers")
    assert store(story, *page, owners=[601])["unchanged"] == 3
    assert story.traces("jobsync.contacts", "public.customers") == before


def test_contacts_may_come_before_their_owner(story: Story) -> None:
    store(story, contact(1, 601, A))
    story.page(customer(601), stream="customers")
    assert best(story) == (A, None, None)


def test_one_contact_id_may_belong_to_two_owners(story: Story) -> None:
    story.page(customer(601), customer(602), stream="customers")
    store(story, contact(1, 601, A), contact(1, 602, B))
    assert (best(story)[0], best(story, 602)[0]) == (A, B)


def test_the_locations_contact_comes_before_the_customers(story: Story) -> None:
    story.page(customer(601), stream="customers")
    story.page(location(701), stream="locations")
    story.page(job(1))
    store(story, contact(1, 601, A, phoneSettings={"doNotText": True}), contact(2, 601, "ada@example.com", "Email"))
    ask = "select phone, email, do_not_text from jobsync.projections"
    assert story.row(ask) == {"phone": A, "email": "ada@example.com", "do_not_text": True}
    store(story, contact(3, 701, B, of="location", phoneSettings={"doNotText": False}), of="location")
    assert story.row(ask) == {"phone": B, "email": "ada@example.com", "do_not_text": False}


def test_an_older_contact_never_wins_and_a_missing_key_keeps(story: Story) -> None:
    story.page(customer(601), stream="customers")
    store(story, contact(1, 601, A, memo="gate", phoneSettings={"doNotText": True}, modifiedOn="2026-03-05T10:00:00Z"))
    store(story, contact(1, 601, B, modifiedOn="2026-03-04T10:00:00Z"))
    assert best(story) == (A, None, True)
    changed = contact(1, 601, C, modifiedOn="2026-03-06T10:00:00Z")
    del changed["memo"]
    store(story, changed)
    assert story.row("select phone, memo, do_not_text from jobsync.contacts") == {
        "phone": C,
        "memo": "gate",
        "do_not_text": True,
    }


def test_bad_contacts_are_quarantined_and_closed_by_a_good_version(story: Story) -> None:
    story.page(customer(601), stream="customers")
    report = store(story, contact(1, 601, A), contact(2, 601, B, modifiedOn="soon"), {**contact(3, 0, C), "id": 3})
    assert (report["stored"], report["quarantined"]) == (1, 2)
    store(story, contact(2, 601, B))
    assert [
        row["record_id"] for row in story.rows("select record_id from jobsync.quarantine where resolved_at is null")
    ] == ["3"]


def test_a_customer_without_any_contact_keeps_what_came_through_db(story: Story) -> None:
    story.upsert((job(1), {"customerId": 601, "firstName": "Ada", "phone": A}))
    store(story, owners=[601])
    assert best(story) == (A, None, None)
