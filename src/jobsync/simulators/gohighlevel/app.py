"""The simulator as an ASGI app: hooks, API and control behind one door."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

from .acts import perform
from .answers import Answer, Refusal, error, refuse
from .call import Call
from .control import control
from .faults import Fault, stand_in
from .hooks import receive_post
from .ledger import ApiRequest
from .routes import Route, find_route
from .tokens import Token, check_location, check_rights
from .wire import Holds, Receive, Send, send_whole, transmit
from .world import World

VERSIONS = frozenset({"2021-04-15", "2021-07-28", "2023-02-21", "legacy", "v3"})


class GoHighLevelSimulator(World):
    """GoHighLevel over HTTP. Python callers use the methods of `World` and `act`; others use `/_control`.

    Starts empty; `furnish` gives it a location, pipelines, fields and a token.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.holds = Holds()

    def act(self, name: str, /, **arguments: Any) -> Any:
        """Something a person does in GoHighLevel, such as `act("delete_stage", pipeline="Sales", stage="New")`; the
        names stand in acts.py. Raises ValueError for unknown names and arguments."""
        return perform(self, name, arguments)

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """One ASGI connection scope; only HTTP is spoken."""
        if scope["type"] != "http":
            return
        raw = await _read_body(receive)
        path: str = scope["path"]
        if path.startswith("/_control"):
            self.catch_up()
            await send_whole(send, control(self, scope["method"], path, scope["query_string"], raw))
            return
        method: str = scope["method"]
        fault = self.faults.pick(method, path) if self.faults.rules else None
        if fault is not None and fault.kind == "act":
            self._act_in_mid_run(fault)
        if path.startswith("/hooks/"):
            answer = self._answer_hook(method, path, scope["query_string"], raw, fault)
        else:
            self.catch_up()
            answer = self._answer_api(method, path, scope, raw, fault)
        answer.headers.append(("date", self._date()))
        await transmit(answer, fault, scope, receive, send, self.holds)

    def _act_in_mid_run(self, fault: Fault) -> None:
        try:
            fault.options["result"] = self.act(fault.options["act"], **fault.options.get("args", {}))
        except (KeyError, ValueError) as wrong:
            fault.options["failed"] = str(wrong)

    def _answer_hook(self, method: str, path: str, query: bytes, raw: bytes, fault: Fault | None) -> Answer:
        works = fault is None or fault.works
        kind = fault.kind if fault is not None else None
        answer = receive_post(self, method, path[1:].split("/"), query, raw, works=works, fault=kind)
        return answer if fault is None else stand_in(fault, answer if works else None)

    def _answer_api(self, method: str, path: str, scope: dict[str, Any], raw: bytes, fault: Fault | None) -> Answer:
        segments = [each for each in path.split("/") if each]
        found = find_route(method, segments)
        route_name = f"{method} {found[0].path}" if found else "none"
        location_id = None
        if fault is not None and not fault.works:
            answer = stand_in(fault, None)
            status = answer.status
        else:
            answer, location_id = self._handle(method, path, scope, raw, found)
            status = answer.status
            if fault is not None:
                answer = stand_in(fault, answer)
        kind = fault.kind if fault is not None else None
        self.ledger.note_request(ApiRequest(self.clock.now(), method, path, route_name, location_id, status, kind))
        if isinstance(answer.body, dict) and "access_token" not in answer.body:
            answer.body = {**answer.body, "traceId": self.traces.uuid()}
        answer.headers += self.limiter.headers(location_id or "unknown")
        return answer

    def _handle(
        self, method: str, path: str, scope: dict[str, Any], raw: bytes, found: tuple[Route, tuple[str, ...]] | None
    ) -> tuple[Answer, str | None]:
        headers = {name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]}
        location_id = None
        try:
            call = Call(
                world=self,
                method=method,
                path=path,
                query=dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True)),
                raw=raw,
                version=headers.get("version", ""),
                content_type=headers.get("content-type", ""),
            )
            if found is None:
                self._check_version(call.version)
                return error(404, f"Cannot {method} {path}"), None
            route, call.args = found
            if route.open:
                return route.handler(call), None
            self._check_version(call.version)
            token = call.token = self.tokens.identify(headers.get("authorization", ""))
            location_id = token.location_id
            refused = self.limiter.admit(location_id or "agency")
            if refused is not None:
                return refused, location_id
            check_rights(token, route.scope, route.agency)
            self._enter_location(call, token, route)
            return route.handler(call), location_id
        except Refusal as refusal:
            return refusal.answer, location_id

    def _check_version(self, version: str) -> None:
        if not version:
            raise refuse(401, "version header was not found.")
        if version not in VERSIONS:
            if self.switches.unknown_version == "400":
                raise refuse(400, f"Invalid API version segment {version}")
            raise refuse(401, "version header is invalid")

    def _enter_location(self, call: Call, token: Token, route: Route) -> None:
        if route.agency:
            return
        if route.location_arg is not None:
            check_location(token, call.args[route.location_arg])
        location = self.locations.get(token.location_id or "")
        if location is None:
            raise refuse(401, "The token is not authorized for this scope.")
        call.location = location

    def _date(self) -> str:
        return self.clock.http_date(self.switches.date_skew_seconds)


async def _read_body(receive: Receive) -> bytes:
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    return body
