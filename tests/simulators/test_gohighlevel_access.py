"""Version header, tokens and OAuth of the simulator."""

from __future__ import annotations

from typing import Any

import pytest

from tests.simulators.gohighlevel_site import Site, open_site

pytestmark = pytest.mark.anyio
BAD_TOKEN = "Invalid token: access token is invalid"
NO_SCOPE = "The token is not authorized for this scope."


async def pipelines(site: Site, **how: Any) -> Any:
    return await site.call("GET", "/opportunities/pipelines", locationId=site.place, **how)


async def test_a_missing_version_looks_like_an_auth_failure() -> None:
    async with open_site() as site:
        reply = await pipelines(site, version=None)
        assert (reply.status, reply.body["message"]) == (401, "version header was not found.")


@pytest.mark.parametrize("version", ["2021-07-28", "2021-04-15", "2023-02-21", "legacy", "v3"])
async def test_every_published_version_is_answered(version: str) -> None:
    async with open_site() as site:
        assert (await pipelines(site, version=version)).status == 200


@pytest.mark.parametrize("status", [401, 400])
async def test_the_status_of_an_unknown_version_is_a_switch(status: int) -> None:
    async with open_site(unknown_version=str(status)) as site:
        assert (await pipelines(site, version="2019-01-01")).status == status


async def test_a_wrong_token_is_401() -> None:
    async with open_site() as site:
        reply = await pipelines(site, token="pit-wrong")
        assert (reply.status, reply.body["message"], reply.body["error"]) == (401, BAD_TOKEN, "Unauthorized")


async def test_a_rotated_token_works_through_its_grace_and_not_longer() -> None:
    async with open_site() as site:
        new = site.simulator.act("rotate_token")["token"]
        assert (await pipelines(site)).status == 200
        assert (await pipelines(site, token=new)).status == 200
        site.simulator.clock.advance(7 * 86_400 + 1)
        assert (await pipelines(site)).status == 401
        assert (await pipelines(site, token=new)).status == 200


async def test_a_token_that_nobody_used_for_ninety_days_dies_by_a_switch() -> None:
    async with open_site() as site:
        site.simulator.clock.advance(91 * 86_400)
        assert (await pipelines(site)).status == 200
        site.simulator.switches.turn(pit_idle_days=90)
        site.simulator.clock.advance(91 * 86_400)
        assert (await pipelines(site)).status == 401


async def test_a_token_without_the_scope_is_401() -> None:
    async with open_site() as site:
        site.simulator.act("narrow_token", scopes=["contacts.readonly"])
        reply = await pipelines(site)
        assert (reply.status, reply.body["message"]) == (401, NO_SCOPE)


async def test_an_agency_token_may_not_touch_a_location() -> None:
    async with open_site() as site:
        agency = site.simulator.act("issue_token", agency=True)["token"]
        reply = await pipelines(site, token=agency)
        assert (reply.status, reply.body["message"]) == (401, NO_SCOPE)


async def test_another_location_is_403_wherever_it_is_named() -> None:
    async with open_site() as site:
        contact = await site.contact()
        card = await site.opportunity(contact)
        other = site.simulator.act("add_location")["id"]
        token = site.simulator.act("issue_token", location=other)["token"]
        tries = [
            ("GET", "/opportunities/pipelines", None, {"locationId": site.place}),
            ("GET", "/opportunities/search", None, {"location_id": site.place}),
            ("GET", f"/locations/{site.place}", None, {}),
            ("GET", f"/locations/{site.place}/customFields", None, {}),
            ("GET", f"/contacts/{contact}", None, {}),
            ("GET", f"/opportunities/{card}", None, {}),
            ("POST", "/contacts/upsert", {"locationId": site.place}, {}),
            ("POST", "/contacts/search", {"locationId": site.place}, {}),
            ("POST", "/opportunities/", site.card(contact), {}),
        ]
        for method, path, body, query in tries:
            reply = await site.call(method, path, body, token=token, **query)
            assert (reply.status, reply.body["message"]) == (
                403,
                "The token does not have access to this location.",
            ), path


async def test_an_unknown_route_is_404_cannot_get() -> None:
    async with open_site() as site:
        reply = await site.call("GET", "/opportunities/nothing/here/ever")
        assert (reply.status, reply.body["message"]) == (404, "Cannot GET /opportunities/nothing/here/ever")


async def test_every_answer_carries_a_trace_id() -> None:
    async with open_site() as site:
        first, second = await pipelines(site), await pipelines(site, version=None)
        assert first.body["traceId"] != second.body["traceId"]


async def token_call(site: Site, **form: str) -> tuple[int, Any]:
    form = {"client_id": "app", "client_secret": "secret", **form}
    async with site.session.post(site.url + "/oauth/token", data=form) as answer:
        return answer.status, await answer.json()


async def test_oauth_codes_refresh_tokens_rotate_and_a_used_one_dies_after_its_grace() -> None:
    async with open_site() as site:
        site.simulator.act("add_client", client_id="app", client_secret="secret")
        code = site.simulator.act("install_app")["code"]
        status, first = await token_call(site, grant_type="authorization_code", code=code)
        assert status == 200 and first["userType"] == "Location" and first["expires_in"] == 86_399
        assert (await pipelines(site, token=first["access_token"])).status == 200
        status, second = await token_call(site, grant_type="refresh_token", refresh_token=first["refresh_token"])
        assert status == 200 and second["refresh_token"] != first["refresh_token"]
        again = await token_call(site, grant_type="refresh_token", refresh_token=first["refresh_token"])
        assert again == (200, second)
        site.simulator.clock.advance(31)
        status, spent = await token_call(site, grant_type="refresh_token", refresh_token=first["refresh_token"])
        assert (status, spent["error"]) == (400, "invalid_grant")
        assert site.simulator.oauth.refreshed == 1


async def test_an_access_token_lives_a_day() -> None:
    async with open_site() as site:
        site.simulator.act("add_client", client_id="app", client_secret="secret")
        code = site.simulator.act("install_app")["code"]
        _, pair = await token_call(site, grant_type="authorization_code", code=code)
        site.simulator.clock.advance(86_400)
        assert (await pipelines(site, token=pair["access_token"])).status == 401


async def test_a_token_request_that_is_json_or_has_a_wrong_secret_is_refused() -> None:
    async with open_site() as site:
        site.simulator.act("add_client", client_id="app", client_secret="secret")
        async with site.session.post(site.url + "/oauth/token", json={"client_id": "app"}) as answer:
            assert answer.status == 422
        assert (await token_call(site, client_secret="guess", grant_type="refresh_token"))[0] == 401


async def test_an_agency_install_must_be_exchanged_for_a_location_token() -> None:
    async with open_site(location_token_status=201) as site:
        company = site.simulator.act("add_client", client_id="app", client_secret="secret")["companyId"]
        code = site.simulator.act("install_app", company=True)["code"]
        _, pair = await token_call(site, grant_type="authorization_code", code=code)
        agency = pair["access_token"]
        reply = await pipelines(site, token=agency)
        assert (reply.status, reply.body["message"]) == (401, "Token's user type mismatch!")
        body = {"companyId": company, "locationId": site.place}
        exchanged = await site.call("POST", "/oauth/locationToken", body, token=agency)
        assert exchanged.status == 201
        assert (await pipelines(site, token=exchanged.body["access_token"])).status == 200
