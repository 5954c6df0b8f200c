"""Canaries: token, hook, phone, e-mail and name never come back in an answer's text or an error, whoever repeats them."""

from __future__ import annotations

import traceback
from urllib.parse import quote

import msgspec
import pytest

from jobsync.errors import JobSyncError
from jobsync.gohighlevel.destination_guard import Guard, make_session
from jobsync.gohighlevel.payloads import contact_body, webhook_body
from jobsync.gohighlevel.redaction import redact, secrets_of_url
from jobsync.gohighlevel.webhook import post_webhook
from tests.gohighlevel.rows import make_row
from tests.gohighlevel.stand_in import Asked, answer, free_port, serve, serve_bytes
from tests.gohighlevel.test_client import client_of
from tests.gohighlevel.test_payloads import AT
from tests.gohighlevel.test_refusals import ALL

pytestmark = pytest.mark.anyio

TOKEN = "pit-5ca7a1e0-canary-token"
PERSON = make_row(
    first_name="Zebulon", last_name="Quackenbush", customer_name="Zebulon Quackenbush", email="Zeb.Q@canary.example.com",
    phone="+15125550199", street="77 Secret Canary Lane", summary="Gate code kestrel-canary",
)  # fmt: skip
CANARIES = (
    TOKEN, "5ca7a1e0", "loc5550100", "0f1e2d3c", "ddddeeeeffff", "Zebulon", "Quackenbush", "canary", "5550199", "555-0199",
    "77 Secret", "kestrel",
)  # fmt: skip


def repeat_all(asked: Asked) -> str:
    """What a talkative upstream would say: the request, in every spelling."""
    url = f"http://{asked.headers['Host']}{asked.path}"
    return "\n".join(
        [
            url,
            quote(url, safe=""),
            asked.path,
            asked.path.upper().lower(),
            asked.headers.get("Authorization", ""),
            asked.body.decode(),
            str(asked.query),
            "person zeb.q@canary.example.com or ZEB.Q@CANARY.EXAMPLE.COM or zeb.q%40canary.example.com",
            "phone (512) 555-0199 or 512-555-0199 or 5125550199 or +1 512 555 0199",
            "ZEBULON quackenbush of 77 SECRET canary LANE",
        ]
    )


def assert_silent(text: str) -> None:
    found = [canary for canary in CANARIES if canary.lower() in text.lower()]
    assert not found, (found, text)


@pytest.mark.parametrize("status", [200, 302, 400, 401, 404, 429, 500])
@pytest.mark.parametrize("as_json", [False, True])
async def test_a_hook_that_repeats_everything_gives_nothing_away(status, as_json):
    def give(asked: Asked):
        text = repeat_all(asked)
        return answer({"message": text} if as_json else text, status)(asked)

    guard = Guard(["127.0.0.1"])
    body = webhook_body(PERSON, delivery_id="d", event="created", version=1, occurred_at=AT)
    async with serve(give) as site, make_session(guard) as session:
        came = await post_webhook(session, site.hook, msgspec.json.encode(body), guard=guard)
    assert came.status == status and came.answer_text
    assert_silent(f"{came}")


async def test_a_hook_that_fails_without_an_answer_gives_nothing_away():
    guard = Guard(["127.0.0.1"])
    async with make_session(guard) as session:
        async with serve_bytes(b"HTTP/1.1 loc5550100 0f1e2d3c\r\n\r\n") as site:
            assert_silent(str(await post_webhook(session, site.hook, b"{}", guard=guard)))
        site.port = await free_port()
        assert_silent(str(await post_webhook(session, site.hook, b"{}", guard=guard)))
        assert_silent(str(await post_webhook(session, site.hook.replace("http", "https", 1), b"{}", guard=guard)))
        assert_silent(str(await post_webhook(session, site.hook, b"{}", guard=Guard())))


async def token(rejected: str | None = None) -> str:
    return TOKEN


@pytest.mark.parametrize("status", [200, 302, 400, 401, 403, 404, 409, 422, 429, 500])
async def test_an_api_that_repeats_everything_gives_nothing_away(status):
    def give(asked: Asked):
        text = repeat_all(asked)
        body = {
            "message": [text, "Zebulon Quackenbush should not exist", "canary must be"], "error": text, "traceId": text,
            "meta": {"contactId": text, "existingId": text, "matchingField": text, "contactName": "Zebulon Quackenbush"},
        }  # fmt: skip
        return answer(body, status)(asked)

    acts = ALL | {
        "create_contact": lambda client: client.create_contact(contact_body(PERSON, location_id="loc5550100")),
        "find_contacts": lambda client: client.find_contacts(phone=PERSON["phone"], email=PERSON["email"]),
    }
    async with serve(give) as site, client_of(site, token_source=token, location_id="loc5550100") as client:
        for act in acts.values():
            try:
                await act(client)
            except JobSyncError as error:
                shown = "".join(traceback.format_exception(error)).replace(__file__, "")
                # Lines of source are ours, so only what the exceptions say is looked at.
                said = "\n".join(line for line in shown.splitlines() if not line.startswith("  "))
                assert_silent(f"{said} {error.hint} {error.details} {error.__cause__} {error.__context__}")


async def test_records_do_not_show_their_person():
    contact = {
        "id": "C1",
        "phone": "+15125550199",
        "email": "zeb.q@canary.example.com",
        "firstName": "Zebulon",
        "name": "Quackenbush",
    }
    async with serve(answer({"contact": contact})) as site, client_of(site) as client:
        assert_silent(repr(await client.get_contact("C1")))


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("call +1 (512) 555-0199 now", "call [phone] now"),
        ("mail a.b+c@mail.example.com!", "mail [email]"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: [secret]"),
        ("token pit-12345678-aaaa", "token [secret]"),
        ("POST /hooks/abc/webhook-trigger/def failed", "POST /hooks/[secret] failed"),
        (
            '{"status":"Success: request sent","id":"Ab3dEf6hIj9lMn2pQr5t"}',
            '{"status":"Success: request sent","id":"Ab3dEf6hIj9lMn2pQr5t"}',
        ),
        ("property gender should not exist, 2026-03-02", "property gender should not exist, 2026-03-02"),
    ],
)
def test_what_looks_like_a_person_or_a_secret_is_taken_out_and_the_rest_stays(text, kept):
    assert redact(text) == kept


def test_the_pieces_of_a_hooks_url_are_its_secrets():
    secrets = secrets_of_url("https://hooks.test/hooks/loc5550100/webhook-trigger/0f1e2d3c-aa?key=abcdefgh%20i")
    assert {"loc5550100", "0f1e2d3c-aa", "abcdefgh%20i", "abcdefgh i"} <= set(secrets)
    assert "webhook-trigger" not in secrets
