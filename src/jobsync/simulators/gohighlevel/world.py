"""Everything the simulator holds, in one place."""

from __future__ import annotations

from collections import deque
from typing import Any

from .clock import MovableClock
from .faults import FaultBox
from .hooks import make_hook
from .identifiers import IdMaker
from .ledger import Ledger, Post
from .limits import RateLimiter
from .location import Hook, Location, Record, make_location
from .oauth import OAuthDesk
from .switches import Switches
from .tokens import TokenOffice
from .workflow import run_workflow


class World:
    """GoHighLevel as one app sees it: locations, tokens, hooks, limits, and what was asked of them.

    seed: decides every id and every chance, so that a run can be repeated. clock: by default it runs beside the
    machine's. public_url: what answers put before a path; the server sets it.
    """

    def __init__(self, *, seed: int = 1, clock: MovableClock | None = None, switches: Switches | None = None) -> None:
        self.seed = seed
        self.clock = clock or MovableClock()
        self.switches = switches or Switches()
        self.ids = IdMaker(seed)
        self.traces = IdMaker(f"{seed}:traces")
        self.locations: dict[str, Location] = {}
        self.tokens = TokenOffice(self.clock, self.switches, self.ids)
        self.oauth = OAuthDesk(self.clock, self.switches, self.ids, self.tokens)
        self.limiter = RateLimiter(self.clock, self.switches)
        self.faults = FaultBox()
        self.ledger = Ledger()
        self.public_url = ""
        self._waiting: deque[tuple[float, Location, Hook, Post]] = deque()

    @property
    def location(self) -> Location:
        """The first location. Raises ValueError while there is none."""
        for each in self.locations.values():
            return each
        raise ValueError("there is no location yet")

    def add_location(self, identifier: str | None = None, name: str = "Sunbelt Pools", **settings: Any) -> Location:
        """A new sub-account; settings as `make_location` names them. Raises ValueError for an id that is taken."""
        identifier = identifier or self.ids.record()
        if identifier in self.locations:
            raise ValueError("there is a location of that id already")
        location = make_location(identifier, name, self.clock, self.switches, f"{self.seed}:{identifier}", **settings)
        self.locations[identifier] = location
        return location

    def find_location(self, identifier: str | None = None) -> Location:
        """A location by id, the first one without. Raises ValueError for an unknown id."""
        if identifier is None:
            return self.location
        if identifier not in self.locations:
            raise ValueError("there is no location of that id")
        return self.locations[identifier]

    def find_stage(self, location: Location, pipeline: str | None, stage: str | None) -> tuple[Record, Record]:
        """A pipeline and a stage of it, by id or name; the first where None. Raises ValueError for unknown ones."""
        chosen = next((each for each in location.pipelines if pipeline in (None, each["id"], each["name"])), None)
        if chosen is None:
            raise ValueError("there is no such pipeline")
        place = next((each for each in chosen["stages"] if stage in (None, each["id"], each["name"])), None)
        if place is None:
            raise ValueError("there is no such stage in that pipeline")
        return chosen, place

    def add_hook(
        self,
        uuid: str | None = None,
        mode: str = "live",
        *,
        location: str | None = None,
        pipeline: str | None = None,
        stage: str | None = None,
        fields: dict[str, str] | None = None,
        **options: Any,
    ) -> Hook:
        """An inbound webhook with its workflow, or a new definition of one that is there.

        mode, repeat, re_entry, name_key, value_key: as `Hook` has them. pipeline, stage: by id or name, default the
        first. fields: opportunity custom field key -> key of the body; default: `opportunity.st_job_id` from
        `st_job_id` and `opportunity.st_customer_id` from `st_customer_id`, where the location has these fields.
        Its URL path is `hook_path(hook)`. Raises ValueError for what does not exist.
        """
        owner = self.find_location(location)
        chosen, place = self.find_stage(owner, pipeline, stage) if owner.pipelines else ({"id": None}, {"id": None})
        if fields is None:
            fields = {f"opportunity.{key}": key for key in ("st_job_id", "st_customer_id")}
        hook = make_hook(
            owner.id,
            uuid or self.ids.uuid(),
            mode,
            pipeline_id=chosen["id"],
            stage_id=place["id"],
            fields=fields,
            **options,
        )
        owner.hooks[hook.id] = hook
        return hook

    def hook_path(self, hook: Hook) -> str:
        """The path of a hook's URL."""
        return f"/hooks/{hook.location_id}/webhook-trigger/{hook.id}"

    def queue_execution(self, location: Location, hook: Hook, post: Post) -> None:
        """Runs a hook's workflow now, or once `workflow_delay_seconds` have passed on the clock."""
        delay = self.switches.workflow_delay_seconds
        if delay <= 0:
            run_workflow(self, location, hook, post)
        else:
            self._waiting.append((self.clock.now() + delay, location, hook, post))

    def catch_up(self) -> None:
        """Runs the workflows whose time has come."""
        now = self.clock.now()
        while self._waiting and self._waiting[0][0] <= now:
            _, location, hook, post = self._waiting.popleft()
            run_workflow(self, location, hook, post)
