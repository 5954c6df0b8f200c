"""One sub-account of GoHighLevel with everything that belongs to it."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

from .clock import MovableClock, iso
from .identifiers import IdMaker
from .index import LaggingIndex
from .switches import Switches

Record = dict[str, Any]


class Shelf:
    """Records of one kind by id, looked up by key at once, and the trailing search index over them.

    keys: what a record can be found by. A saved record is the present truth (reads through); `index` is what searches
    see of it.
    """

    def __init__(self, keys: Any, index: LaggingIndex) -> None:
        self._keys = keys
        self.index = index
        self.records: dict[str, Record] = {}
        self._groups: dict[Hashable, dict[str, None]] = {}
        self._held: dict[str, list[Hashable]] = {}

    def save(self, record: Record) -> Record:
        """Stores a record as it is now (new or changed) and lets the search index follow."""
        identifier = record["id"]
        self._unlink(identifier)
        held = list(self._keys(record))
        for key in held:
            self._groups.setdefault(key, {})[identifier] = None
        self._held[identifier] = held
        self.records[identifier] = record
        self.index.write(identifier, record)
        return record

    def remove(self, identifier: str) -> Record | None:
        """Takes a record away; None when it was not there."""
        self._unlink(identifier)
        self.index.write(identifier, None)
        return self.records.pop(identifier, None)

    def having(self, key: Hashable) -> list[Record]:
        """The records that carry a key, oldest first."""
        return [self.records[identifier] for identifier in self._groups.get(key, ())]

    def _unlink(self, identifier: str) -> None:
        for key in self._held.pop(identifier, ()):
            self._groups[key].pop(identifier, None)


@dataclass(slots=True)
class Hook:
    """An inbound webhook trigger and the small workflow behind it.

    mode: `live` (queued and run), `draft` (queued, never run: the workflow is not published), `failing` (queued, run,
    billed, but its action does nothing), `test` (trigger not saved yet), `deleted`; the last two give the 200 without
    id. repeat: what a later post does: `create` another opportunity, `update_card` of the contact in that pipeline,
    or `same_job` (find the opportunity that carries the job's id, as a workflow built on `st_job_id` would).
    re_entry: false drops later posts of a contact that was in the workflow before. fields: opportunity custom field
    key -> key of the posted body. name_key, value_key: body keys for the opportunity's name and value.
    """

    id: str
    location_id: str
    mode: str = "live"
    pipeline_id: str | None = None
    stage_id: str | None = None
    repeat: str = "create"
    re_entry: bool = True
    name_key: str = "opportunity_name"
    value_key: str = "total"
    fields: dict[str, str] = field(default_factory=dict)
    entered: set[str] = field(default_factory=set)


@dataclass(slots=True)
class Location:
    """A sub-account: settings as GET /locations/{id} shows them, and its records."""

    id: str
    name: str
    country: str
    timezone: str
    settings: dict[str, Any]
    contacts: Shelf
    opportunities: Shelf
    pipelines: list[Record] = field(default_factory=list)
    fields: list[Record] = field(default_factory=list)
    tags: dict[str, Record] = field(default_factory=dict)
    notes: dict[str, list[Record]] = field(default_factory=dict)
    hooks: dict[str, Hook] = field(default_factory=dict)
    executions: int = 0

    def find_pipeline(self, pipeline_id: str) -> Record | None:
        """The pipeline with that id."""
        return next((each for each in self.pipelines if each["id"] == pipeline_id), None)

    def find_field(self, wanted: str, model: str | None = None) -> Record | None:
        """The custom field with that id or fieldKey."""
        for each in self.fields:
            if wanted in (each["id"], each["fieldKey"]) and model in (None, each["model"]):
                return each
        return None


def make_location(
    identifier: str, name: str, clock: MovableClock, switches: Switches, seed: int | str, **settings: Any
) -> Location:
    """An empty location. settings: allowDuplicateContact (false), allowDuplicateOpportunity (true),
    contactUniqueIdentifiers (email, then phone), country (US), timezone (America/Chicago)."""
    contacts = LaggingIndex(clock, switches, f"{seed}:contacts", contact_keys)
    opportunities = LaggingIndex(clock, switches, f"{seed}:opportunities", opportunity_keys)
    return Location(
        id=identifier,
        name=name,
        country=settings.pop("country", "US"),
        timezone=settings.pop("timezone", "America/Chicago"),
        settings={
            "allowDuplicateContact": False,
            "allowDuplicateOpportunity": True,
            "allowFacebookNameMerge": False,
            "disableContactTimezone": False,
            "contactUniqueIdentifiers": ["email", "phone"],
            **settings,
        },
        contacts=Shelf(contact_keys, contacts),
        opportunities=Shelf(opportunity_keys, opportunities),
    )


def contact_keys(contact: Record) -> Iterable[Hashable]:
    """What a contact is found by: its emails, its phones, its custom field values."""
    for email in (contact.get("emailLowerCase"), *contact.get("additionalEmails", ())):
        if email:
            yield "email", email
    for phone in (contact.get("phone"), *contact.get("additionalPhones", ())):
        if phone:
            yield "phone", phone
    for each in contact["customFields"]:
        yield f"customFields.{each['id']}", str(each["value"])


def opportunity_keys(opportunity: Record) -> Iterable[Hashable]:
    """What an opportunity is found by: its contact."""
    yield "contact", opportunity["contactId"]


def add_pipeline(location: Location, ids: IdMaker, name: str, stages: Iterable[str]) -> Record:
    """A pipeline with its stages `{id, name, position}`, in the given order."""
    pipeline = {
        "id": ids.record(),
        "name": name,
        "stages": [
            {"id": ids.uuid(), "name": stage, "position": position, "showInFunnel": True, "showInPieChart": True}
            for position, stage in enumerate(stages)
        ],
        "showInFunnel": True,
        "showInPieChart": True,
        "locationId": location.id,
    }
    location.pipelines.append(pipeline)
    return pipeline


def add_tag(location: Location, ids: IdMaker, name: str) -> Record:
    """A tag of the location; the one that is there already is answered again."""
    return location.tags.setdefault(name, {"id": ids.record(), "name": name, "locationId": location.id})


def stamp(record: Record, clock: MovableClock, *names: str) -> Record:
    """Sets the named properties of a record to the present."""
    moment = iso(clock.now())
    for name in names:
        record[name] = moment
    return record
