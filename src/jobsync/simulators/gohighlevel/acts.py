"""What people do in GoHighLevel while a program talks to it: rename and delete stages, move cards by hand, merge
contacts, rotate tokens, switch workflows to draft. Callable from Python, the control API and as a fault in mid-run."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .contacts import remove_contact
from .fields import add_field
from .hooks import make_hook
from .location import Location, Record, add_pipeline, add_tag
from .opportunities import apply_to_opportunity
from .tokens import DAY, SCOPES

if TYPE_CHECKING:
    from .world import World


def add_location(world: World, *, identifier: str | None = None, name: str = "Another one", **settings: Any) -> Record:
    """A new sub-account -> `{id}`."""
    return {"id": world.add_location(identifier, name, **settings).id}


def change_settings(world: World, *, location: str | None = None, **settings: Any) -> Record:
    """allowDuplicateContact, allowDuplicateOpportunity, contactUniqueIdentifiers -> all settings."""
    held = world.find_location(location).settings
    unknown = [name for name in settings if name not in held]
    if unknown:
        raise ValueError(f"no location setting is called {unknown[0]}")
    held.update(settings)
    return held


def create_pipeline(world: World, *, name: str, stages: list[str], location: str | None = None) -> Record:
    """A pipeline with stages -> the pipeline."""
    return add_pipeline(world.find_location(location), world.ids, name, stages)


def rename_pipeline(world: World, *, pipeline: str, name: str, location: str | None = None) -> Record:
    """Gives a pipeline another name -> the pipeline."""
    found, _ = world.find_stage(world.find_location(location), pipeline, None)
    found["name"] = name
    return found


def delete_pipeline(world: World, *, pipeline: str, location: str | None = None) -> Record:
    """Deletes a pipeline; its opportunities keep the dead ids -> the pipeline."""
    owner = world.find_location(location)
    found, _ = world.find_stage(owner, pipeline, None)
    owner.pipelines.remove(found)
    return found


def add_stage(world: World, *, pipeline: str, name: str, location: str | None = None) -> Record:
    """A stage at the end of a pipeline -> the stage."""
    found, _ = world.find_stage(world.find_location(location), pipeline, None)
    stage = {"id": world.ids.uuid(), "name": name, "position": len(found["stages"])}
    found["stages"].append(stage)
    return stage


def rename_stage(
    world: World, *, stage: str, name: str, pipeline: str | None = None, location: str | None = None
) -> Record:
    """Gives a stage another name; its id stays -> the stage."""
    _, found = world.find_stage(world.find_location(location), pipeline, stage)
    found["name"] = name
    return found


def delete_stage(world: World, *, stage: str, pipeline: str | None = None, location: str | None = None) -> Record:
    """Deletes a stage; opportunities in it keep the dead id -> the stage."""
    chosen, found = world.find_stage(world.find_location(location), pipeline, stage)
    chosen["stages"].remove(found)
    return found


def create_field(
    world: World, *, name: str, model: str = "opportunity", data_type: str = "TEXT", location: str | None = None
) -> Record:
    """A custom field -> the field."""
    return add_field(world.find_location(location), world.ids, name, data_type, model)


def delete_field(world: World, *, field: str, location: str | None = None) -> Record:
    """Deletes a custom field, by id or key -> the field."""
    owner = world.find_location(location)
    found = owner.find_field(field)
    if found is None:
        raise ValueError("there is no such custom field")
    owner.fields.remove(found)
    return found


def create_tag(world: World, *, name: str, location: str | None = None) -> Record:
    """A tag of the location -> the tag."""
    return add_tag(world.find_location(location), world.ids, name)


def add_hook(world: World, *, uuid: str | None = None, mode: str = "live", **options: Any) -> Record:
    """A hook; options as `World.add_hook` -> `{id, path}`."""
    hook = world.add_hook(uuid, mode, **options)
    return {"id": hook.id, "path": world.hook_path(hook)}


def set_hook(world: World, *, uuid: str, mode: str, location: str | None = None) -> Record:
    """Publishes, drafts, breaks or deletes a hook's workflow -> `{id, mode}`."""
    hooks = world.find_location(location).hooks
    if uuid not in hooks:
        raise ValueError("there is no such hook")
    hooks[uuid].mode = make_hook("", uuid, mode).mode
    return {"id": uuid, "mode": mode}


def issue_token(
    world: World,
    *,
    location: str | None = None,
    scopes: list[str] | None = None,
    value: str | None = None,
    agency: bool = False,
) -> Record:
    """A private integration token -> `{token}`."""
    owner = None if agency else world.find_location(location).id
    rights = SCOPES if scopes is None else frozenset(scopes)
    return {"token": world.tokens.issue_pit(owner, scopes=rights, value=value)}


def rotate_token(
    world: World, *, token: str | None = None, grace_seconds: float = 7 * DAY, location: str | None = None
) -> Record:
    """Replaces a token (the location's newest without); grace 0 kills the old one at once -> `{token}`."""
    return {"token": world.tokens.rotate(_token(world, token, location), grace_seconds=grace_seconds)}


def revoke_token(world: World, *, token: str | None = None, location: str | None = None) -> Record:
    """Kills a token (the location's newest without) -> `{revoked}`."""
    value = _token(world, token, location)
    world.tokens.revoke(value)
    return {"revoked": True}


def narrow_token(world: World, *, scopes: list[str], token: str | None = None, location: str | None = None) -> Record:
    """Changes the scopes of a token -> `{scopes}`."""
    world.tokens.narrow(_token(world, token, location), frozenset(scopes))
    return {"scopes": sorted(scopes)}


def add_client(world: World, *, client_id: str, client_secret: str) -> Record:
    """Registers an OAuth app -> `{companyId}`."""
    world.oauth.add_client(client_id, client_secret)
    return {"companyId": world.oauth.company_id}


def install_app(world: World, *, location: str | None = None, company: bool = False) -> Record:
    """Somebody installs the app -> `{code}` to exchange."""
    return {"code": world.oauth.authorize(None if company else world.find_location(location).id)}


def use_up_day(world: World, *, location: str | None = None) -> Record:
    """Leaves nothing of a location's daily quota -> `{}`."""
    world.limiter.use_up_day(world.find_location(location).id)
    return {}


def move_opportunity(world: World, *, opportunity: str, **changes: Any) -> Record:
    """Somebody edits a card: stage, pipeline (id or name), status, name, monetaryValue -> the opportunity."""
    owner, record = _opportunity(world, opportunity)
    if "stage" in changes or "pipeline" in changes:
        wanted = changes.pop("pipeline", record["pipelineId"])
        chosen, place = world.find_stage(owner, wanted, changes.pop("stage", None))
        changes |= {"pipelineId": chosen["id"], "pipelineStageId": place["id"]}
    return apply_to_opportunity(owner, world.clock, record, changes)


def delete_opportunity(world: World, *, opportunity: str) -> Record:
    """Deletes a card -> the opportunity as it was."""
    owner, record = _opportunity(world, opportunity)
    owner.opportunities.remove(opportunity)
    return record


def delete_contact(world: World, *, contact: str) -> Record:
    """Deletes a contact with its opportunities and notes -> the contact as it was."""
    owner, record = _contact(world, contact)
    remove_contact(owner, contact)
    return record


def merge_contacts(world: World, *, keep: str, gone: str) -> Record:
    """Merges two contacts: the second's cards, tags and identifiers go to the first, its id dies -> the first."""
    owner, first = _contact(world, keep)
    _, second = _contact(world, gone)
    for opportunity in owner.opportunities.having(("contact", gone)):
        opportunity["contactId"] = keep
        owner.opportunities.save(opportunity)
    first["tags"] = list(dict.fromkeys([*first["tags"], *second["tags"]]))
    if second.get("emailLowerCase"):
        first["additionalEmails"] = [*first.get("additionalEmails", ()), second["emailLowerCase"]]
    if second.get("phone"):
        first["additionalPhones"] = [*first.get("additionalPhones", ()), second["phone"]]
    owner.notes.setdefault(keep, []).extend(owner.notes.pop(gone, []))
    owner.contacts.remove(gone)
    return owner.contacts.save(first)


def show_search_at_once(world: World) -> Record:
    """Lets every search see every write that was made so far -> `{}`."""
    for location in world.locations.values():
        location.contacts.index.catch_up_at_once()
        location.opportunities.index.catch_up_at_once()
    return {}


ACTS: dict[str, Callable[..., Any]] = {
    act.__name__: act
    for act in (
        *(add_location, change_settings, create_pipeline, rename_pipeline, delete_pipeline, add_stage, rename_stage),
        *(delete_stage, create_field, delete_field, create_tag, add_hook, set_hook, issue_token, rotate_token),
        *(revoke_token, narrow_token, add_client, install_app, use_up_day, move_opportunity, delete_opportunity),
        *(delete_contact, merge_contacts, show_search_at_once),
    )
}


def perform(world: World, name: str, arguments: dict[str, Any]) -> Any:
    """Does an act by name. Raises ValueError for an unknown act, a wrong argument or something that does not exist."""
    if name not in ACTS:
        raise ValueError(f"no act is called {name}; there are {', '.join(sorted(ACTS))}")
    try:
        inspect.signature(ACTS[name]).bind(world, **arguments)
    except TypeError as wrong:
        raise ValueError(f"{name}: {wrong}") from wrong
    return ACTS[name](world, **arguments)


def _token(world: World, token: str | None, location: str | None) -> str:
    if token is not None:
        return token
    held = world.tokens.of_location(world.find_location(location).id)
    if not held:
        raise ValueError("the location has no live token")
    return held[-1]


def _opportunity(world: World, identifier: str) -> tuple[Location, Record]:
    for location in world.locations.values():
        if identifier in location.opportunities.records:
            return location, location.opportunities.records[identifier]
    raise ValueError("there is no such opportunity")


def _contact(world: World, identifier: str) -> tuple[Location, Record]:
    for location in world.locations.values():
        if identifier in location.contacts.records:
            return location, location.contacts.records[identifier]
    raise ValueError("there is no such contact")
