"""Calls about a location: its settings, pipelines and custom fields (GoHighLevel contract, sections 3 to 5)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from jobsync.gohighlevel.caller import Caller
from jobsync.gohighlevel.payloads import custom_field_body
from jobsync.gohighlevel.records import (
    CustomField,
    Location,
    Pipeline,
    parse_custom_field,
    parse_location,
    parse_pipeline,
)
from jobsync.gohighlevel.refusals import Call

Model = Literal["contact", "opportunity", "all"]
T = TypeVar("T")

_GET = Call("get_location", "read the location", by_id=True)
_PIPELINES = Call("list_pipelines", "list the pipelines")
_FIELDS = Call("list_custom_fields", "list the custom fields")
_CREATE_FIELD = Call("create_custom_field", "create a custom field", write=True)


class LocationCalls(Caller):
    """Reads what rarely changes; the caller keeps it and asks again when an id turns out to be unknown."""

    async def get_location(self) -> Location:
        """The location's settings, among them whether it allows several opportunities for one contact."""
        answer = await self._call(_GET, "GET", f"/locations/{self.location_id}")
        found = parse_location(answer.get("location"))
        if found is None:
            raise self._unreadable(_GET)
        return found

    async def list_pipelines(self) -> list[Pipeline]:
        """All pipelines with their stages, in their order."""
        answer = await self._call(_PIPELINES, "GET", "/opportunities/pipelines", query={"locationId": self.location_id})
        return self._list(_PIPELINES, answer, "pipelines", parse_pipeline)

    async def list_custom_fields(self, model: Model = "all") -> list[CustomField]:
        """The custom fields of contacts, opportunities or both."""
        path = f"/locations/{self.location_id}/customFields"
        answer = await self._call(_FIELDS, "GET", path, query={"model": model})
        return self._list(_FIELDS, answer, "customFields", parse_custom_field)

    async def create_custom_field(
        self, name: str, *, data_type: str = "TEXT", model: Literal["contact", "opportunity"]
    ) -> CustomField:
        """Creates a field. Called twice, it makes two: list first. Raises RequestRejected, UpstreamUnavailable."""
        path = f"/locations/{self.location_id}/customFields"
        answer = await self._call(_CREATE_FIELD, "POST", path, body=custom_field_body(name, data_type, model))
        found = parse_custom_field(answer.get("customField"))
        if found is None:
            raise self._unreadable(_CREATE_FIELD)
        return found

    def _list(self, call: Call, answer: dict[str, Any], key: str, parse: Callable[[object], T | None]) -> list[T]:
        """The records under `key`; an absent list or a record without id is a malformed answer, never "none"."""
        rows = answer.get(key)
        if not isinstance(rows, list):
            raise self._unreadable(call)
        found = [record for row in rows if (record := parse(row)) is not None]
        if len(found) != len(rows):
            raise self._unreadable(call)
        return found
