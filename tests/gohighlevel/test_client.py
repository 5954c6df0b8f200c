"""Each call as GoHighLevel wants it, and its answer as a value: paths, names, headers, pages, shapes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pytest

from jobsync.errors import ConfigError, InvalidInput, MalformedAnswer, UpstreamUnavailable
from jobsync.gohighlevel.client import GoHighLevelClient
from jobsync.gohighlevel.destination_guard import Guard, make_session
from jobsync.gohighlevel.payloads import contact_body, opportunity_body
from jobsync.gohighlevel.rate_headers import RateState
from jobsync.gohighlevel.records import Stage
from tests.gohighlevel.rows import make_row
from tests.gohighlevel.stand_in import Asked, Site, answer, serve

pytestmark = pytest.mark.anyio

CONTACT = {
    "id": "Con1", "phone": "+15125550123", "email": "Ada@Example.com", "firstName": "Ada", "lastName": "Example",
    "tags": ["vip"], "dnd": False, "customFields": [{"id": "f1", "value": "800"}], "dateAdded": "2026-03-01T00:00:00.000Z",
}  # fmt: skip
CARD = {
    "id": "Opp1", "contactId": "Con1", "pipelineId": "P1", "pipelineStageId": "S1", "name": "ST #J-1", "status": "open",
    "monetaryValue": 12.5, "customFields": [{"id": "f9", "fieldValue": "900"}],
}  # fmt: skip


class Recorder:
    """A pace and an ear for requests."""

    def __init__(self) -> None:
        self.taken = 0
        self.states: list[RateState] = []
        self.pauses: list[float] = []
        self.requests: list[tuple[str, int | None]] = []

    async def take(self) -> None:
        self.taken += 1

    def observe(self, state: RateState) -> None:
        self.states.append(state)

    def slow_down(self, seconds: float) -> None:
        self.pauses.append(seconds)

    def on_request(self, kind: str, status: int | None) -> None:
        self.requests.append((kind, status))


async def token(rejected: str | None = None) -> str:
    return "pit-0000-canary"


@asynccontextmanager
async def client_of(site: Site, recorder: Recorder | None = None, **options) -> AsyncIterator[GoHighLevelClient]:
    recorder = recorder or Recorder()
    async with make_session(Guard(["127.0.0.1"])) as session:
        yield GoHighLevelClient(
            session,
            **{"location_id": "Loc1", "token_source": token, "api_url": site.url, "pace": recorder,
               "on_request": recorder.on_request, **options},
        )  # fmt: skip


async def test_every_call_carries_token_and_version_and_takes_from_the_pace():
    recorder = Recorder()
    limits = {
        "X-RateLimit-Max": "100", "X-RateLimit-Remaining": "3", "X-RateLimit-Interval-Milliseconds": "10000",
        "X-RateLimit-Limit-Daily": "200000", "X-RateLimit-Daily-Remaining": "199999",
    }  # fmt: skip
    given = answer({"contact": CONTACT}, 200, **{name.replace("-", "_"): value for name, value in limits.items()})
    async with serve(given) as site, client_of(site, recorder) as client:
        await client.get_contact("Con1")
    headers = site.asked[0].headers
    assert headers["Authorization"] == "Bearer pit-0000-canary" and headers["Version"] == "2021-07-28"
    assert recorder.taken == 1 and recorder.requests == [("get_contact", 200)]
    (state,) = recorder.states
    assert state == RateState(100, 3, 10.0, 200000, 199999, state.served_at)
    assert state.served_at is not None


async def test_the_location_says_whether_it_allows_duplicates():
    settings = {
        "allowDuplicateContact": False,
        "allowDuplicateOpportunity": True,
        "contactUniqueIdentifiers": ["email"],
    }
    given = {"location": {"id": "Loc1", "name": "Example", "timezone": "US/Central", "settings": settings}}
    async with serve(answer(given)) as site, client_of(site) as client:
        found = await client.get_location()
    assert str(site.asked[0]) == "GET /locations/Loc1"
    assert (found.allow_duplicate_contact, found.allow_duplicate_opportunity) == (False, True)
    assert found.contact_unique_identifiers == ("email",)


async def test_pipelines_come_with_their_stages_in_order():
    stages = [{"id": "s2", "name": "Won", "position": 1}, {"id": "s1", "name": "New", "position": 0}, ["odd"]]
    async with serve(answer({"pipelines": [{"id": "P1", "name": "Sales", "stages": stages}]})) as site:
        async with client_of(site) as client:
            found = await client.list_pipelines()
    assert str(site.asked[0]) == "GET /opportunities/pipelines" and site.asked[0].query == {"locationId": "Loc1"}
    assert found[0].name == "Sales" and found[0].stages == (Stage("s1", "New", 0), Stage("s2", "Won", 1))


async def test_custom_fields_are_listed_and_created():
    field = {"id": "f1", "name": "ST job", "fieldKey": "opportunity.st_job_id", "dataType": "TEXT"}
    async with serve(answer({"customFields": [field]}), answer({"customField": field}, 201)) as site:
        async with client_of(site) as client:
            listed = await client.list_custom_fields()
            created = await client.create_custom_field("ST job", model="opportunity")
    assert listed == [created] and created.key == "opportunity.st_job_id" and created.model == "opportunity"
    assert site.asked[0].query == {"model": "all"} and site.asked[1].method == "POST"
    assert site.asked[1].path == "/locations/Loc1/customFields"
    assert site.asked[1].json == {"name": "ST job", "dataType": "TEXT", "model": "opportunity"}


@pytest.mark.parametrize("body", [{}, {"pipelines": None}, {"pipelines": {}}, {"pipelines": [{"name": "no id"}]}])
async def test_a_list_that_is_not_whole_is_no_list(body):
    async with serve(answer(body)) as site, client_of(site) as client:
        with pytest.raises(MalformedAnswer):
            await client.list_pipelines()


async def test_a_contact_is_looked_for_by_phone_and_email_in_one_request():
    async with serve(answer({"contact": CONTACT})) as site, client_of(site) as client:
        found = await client.find_contacts(phone="+15125550123", email="ada@example.com")
    assert len(site.asked) == 1 and site.asked[0].path == "/contacts/search/duplicate"
    assert site.asked[0].query == {"locationId": "Loc1", "number": "+15125550123", "email": "ada@example.com"}
    assert found[0].id == "Con1" and found[0].email == "ada@example.com" and found[0].custom_fields == {"f1": "800"}


async def test_two_contacts_that_share_a_jobs_identities_show_up_when_each_is_asked_for():
    other = {**CONTACT, "id": "Con2"}
    async with serve(answer({"contact": CONTACT}), answer({"contact": other})) as site, client_of(site) as client:
        found = await client.find_contacts(phone="+15125550123", email="ada@example.com", each=True)
    assert [contact.id for contact in found] == ["Con1", "Con2"]
    assert [sorted(asked.query) for asked in site.asked] == [["locationId", "number"], ["email", "locationId"]]


async def test_no_contact_is_an_explicit_null_and_nothing_else():
    async with serve(answer({"contact": None})) as site, client_of(site) as client:
        assert await client.find_contacts(phone="+15125550123") == []
        for body in ({}, {"contact": {}}, {"contact": []}, {"contact": {"name": "no id"}}, [], "<html>", b""):
            site.answers = [answer(body)]
            with pytest.raises(MalformedAnswer):
                await client.find_contacts(phone="+15125550123")
        with pytest.raises(InvalidInput):
            await client.find_contacts()


async def test_contacts_are_found_by_custom_field_over_all_pages():
    rows = [
        {"id": f"C{n}", "customFields": [{"id": "f1", "value": "800" if n % 100 == 0 else "other"}]} for n in range(130)
    ]
    async with serve(answer({"contacts": rows[:100]}), answer({"contacts": rows[100:]})) as site:
        async with client_of(site) as client:
            found = await client.find_contacts_by_field("f1", "800")
    assert [contact.id for contact in found] == ["C0", "C100"]
    assert site.asked[0].json == {
        "locationId": "Loc1",
        "pageLimit": 100,
        "page": 1,
        "filters": [{"field": "customFields.f1", "operator": "eq", "value": "800"}],
    }
    assert site.asked[1].json["page"] == 2


async def test_a_contact_search_that_repeats_its_page_is_no_answer():
    rows = [{"id": f"C{n}"} for n in range(100)]
    async with serve(answer({"contacts": rows})) as site, client_of(site) as client:
        with pytest.raises(MalformedAnswer):
            await client.find_contacts_by_field("f1", "800")
    assert len(site.asked) == 2


async def test_a_contact_is_created_and_changed():
    async with serve(answer({"contact": CONTACT}, 201), answer({"succeded": True})) as site:
        async with client_of(site) as client:
            created = await client.create_contact(contact_body(make_row(), location_id="Loc1"))
            changed = await client.update_contact("Con1", contact_body(make_row()))
    assert created.id == "Con1" and changed is None
    assert [str(asked) for asked in site.asked] == ["POST /contacts/", "PUT /contacts/Con1"]
    assert site.asked[0].json["locationId"] == "Loc1" and "locationId" not in site.asked[1].json


async def test_tags_are_added_and_removed_with_a_body():
    async with serve(answer({"tags": ["a", "b"]}, 201), answer({"tags": ["b"]})) as site:
        async with client_of(site) as client:
            assert await client.add_tags("Con1", ["a", " a"]) == ["a", "b"]
            assert await client.remove_tags("Con1", ["a"]) == ["b"]
            assert await client.add_tags("Con1", [" "]) == []
    assert [str(asked) for asked in site.asked] == ["POST /contacts/Con1/tags", "DELETE /contacts/Con1/tags"]
    assert [asked.json for asked in site.asked] == [{"tags": ["a"]}, {"tags": ["a"]}]


async def test_notes_are_listed_and_written_with_their_marker():
    note = {"id": "N1", "body": "[st-job:1]\nhello"}
    async with serve(answer({"notes": [note]}), answer({"note": note}, 201)) as site, client_of(site) as client:
        assert (await client.list_notes("Con1"))[0].body.startswith("[st-job:1]")
        assert (await client.create_note("Con1", "hello", marker="[st-job:1]")).id == "N1"
    assert site.asked[1].json == {"body": "[st-job:1]\nhello"}


async def test_a_card_is_created_read_and_changed():
    async with serve(
        answer({"opportunity": CARD}, 201), answer({"opportunity": CARD}), answer({"opportunity": CARD})
    ) as site:
        async with client_of(site) as client:
            body = opportunity_body(
                make_row(total=Decimal("12.5")), pipeline_id="P1", stage_id="S1", location_id="Loc1", contact_id="Con1"
            )
            created = await client.create_opportunity(body)
            assert await client.get_opportunity("Opp1") == created
            assert await client.update_opportunity(
                "Opp1", opportunity_body(make_row(), pipeline_id="P1", stage_id="S2")
            )
    assert [str(asked) for asked in site.asked] == [
        "POST /opportunities/",
        "GET /opportunities/Opp1",
        "PUT /opportunities/Opp1",
    ]
    assert (created.id, created.stage_id, created.monetary_value) == ("Opp1", "S1", 12.5)
    assert created.custom_fields == {"f9": "900"} and site.asked[0].json["contactId"] == "Con1"


def cards(count: int, **changes):
    return [{**CARD, "id": f"O{n}", **changes} for n in range(count)]


def paged(rows: list[dict], *, by: str):
    """A search over `rows` that says where the next page starts: by the last card, or by number."""

    def give(asked: Asked):
        size = int(asked.query["limit"])
        if by == "last":
            ids = [row["id"] for row in rows]
            start = ids.index(asked.query["startAfterId"]) + 1 if "startAfterId" in asked.query else 0
        else:
            start = size * (int(asked.query.get("page", 1)) - 1)
        page = rows[start : start + size]
        meta: dict = {"total": len(rows)}
        if start + size < len(rows):
            meta["nextPage"] = start // size + 2
            if by == "last":
                meta |= {"startAfter": 1625203104328, "startAfterId": page[-1]["id"]}
        return answer({"opportunities": page, "meta": meta})(asked)

    return give


@pytest.mark.parametrize("by", ["last", "number"])
@pytest.mark.parametrize("count", [0, 1, 99, 100, 101, 250, 300])
async def test_all_cards_of_a_contact_are_found_however_many_pages_they_fill(by, count):
    async with serve(paged(cards(count), by=by)) as site, client_of(site) as client:
        found = await client.search_opportunities("Con1")
    assert [card.id for card in found] == [f"O{n}" for n in range(count)]
    assert len(site.asked) == max(1, -(-count // 100))
    first = {"location_id": "Loc1", "contact_id": "Con1", "status": "all", "limit": "100"}
    assert site.asked[0].query == first and all(first.items() <= asked.query.items() for asked in site.asked)


async def test_a_search_without_a_count_ends_at_a_short_page():
    async with serve(
        answer({"opportunities": cards(100)}), answer({"opportunities": [{**CARD, "id": "last"}]})
    ) as site:
        async with client_of(site) as client:
            assert len(await client.search_opportunities("Con1")) == 101


@pytest.mark.parametrize(
    "given",
    [
        {"opportunities": cards(3), "meta": {"total": 5}},
        {"opportunities": [], "meta": {"total": 1}},
        {"opportunities": cards(100), "meta": {}},
        {"opportunities": None, "meta": {"total": 0}},
        {"meta": {"total": 0}},
        {"opportunities": [{"name": "no id"}], "meta": {"total": 1}},
        {"opportunities": {}},
        [],
        "<html>sorry</html>",
        "{",
    ],
)
async def test_a_search_that_does_not_show_all_it_counts_never_means_none(given):
    async with serve(answer(given)) as site, client_of(site) as client:
        with pytest.raises(MalformedAnswer):
            await client.search_opportunities("Con1")
    assert len(site.asked) <= 3


async def test_a_search_that_ignores_the_contact_lends_it_no_foreign_cards():
    rows = [
        *cards(2, contactId="Other"),
        {**CARD, "id": "mine"},
        {**CARD, "id": "inner", "contactId": None, "contact": {"id": "Con1"}},
    ]
    async with serve(answer({"opportunities": rows, "meta": {"total": 4}})) as site, client_of(site) as client:
        assert [card.id for card in await client.search_opportunities("Con1")] == ["mine", "inner"]


@pytest.mark.parametrize(
    ("entry", "value"),
    [
        ({"id": "f", "fieldValue": "a"}, "a"),
        ({"id": "f", "type": "string", "fieldValueString": "a"}, "a"),
        ({"id": "f", "type": "number", "fieldValueNumber": 0}, 0),
        ({"id": "f", "type": "array", "fieldValueArray": ["a", "b"]}, ["a", "b"]),
        ({"id": "f", "field_value": "a"}, "a"),
        ({"id": "f", "value": "a"}, "a"),
        ({"id": "f", "value": None}, None),
        ({"id": "f", "fieldValue": None, "fieldValueString": "a"}, "a"),
        ({"id": "f"}, None),
    ],
)
async def test_every_reported_shape_of_a_custom_value_is_read(entry, value):
    for key, get in (("contact", "get_contact"), ("opportunity", "get_opportunity")):
        async with serve(answer({key: {"id": "X1", "customFields": [entry, None, {"no": "id"}]}})) as site:
            async with client_of(site) as client:
                assert (await getattr(client, get)("X1")).custom_fields == {"f": value}


@pytest.mark.parametrize("body", [{}, {"contact": None}, {"opportunity": {"name": "x"}}, [], "ok", "", "<html>"])
async def test_a_created_record_without_an_id_may_or_may_not_be_there(body):
    async with serve(answer(body, 201)) as site, client_of(site) as client:
        for act in (client.create_contact, client.create_opportunity):
            with pytest.raises(UpstreamUnavailable) as caught:
                await act({})
            assert caught.value.ambiguous and caught.value.status == 201 or caught.value.status is None


@pytest.mark.parametrize("bad", ["", "../locations/other", "a/b", "a?b", "a b", "é", "x" * 65])
async def test_what_is_no_id_never_becomes_a_path(bad):
    async with serve(answer({})) as site, client_of(site) as client:
        for act in (client.get_contact, client.get_opportunity, client.search_opportunities, client.list_notes):
            with pytest.raises(InvalidInput):
                await act(bad)
        with pytest.raises(ConfigError):
            async with client_of(site, location_id=bad):
                pass
    assert site.asked == []


@pytest.mark.parametrize(
    "bad", ["", "ftp://x", "https://user:secret@x", "https://x?y=secret", "nonsense", "https://[::1"]
)
async def test_an_api_address_that_cannot_be_used_is_refused_without_repeating_it(bad):
    async with make_session(Guard()) as session:
        with pytest.raises(ConfigError, match="GHL_API_URL") as caught:
            GoHighLevelClient(session, location_id="Loc1", token_source=token, api_url=bad)
    assert "secret" not in str(caught.value)
