"""What a checker reads afterwards: every post a hook received, every API request, every opportunity ever made."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import msgspec

from .clock import iso
from .location import Location, Record
from .switches import Switches

if TYPE_CHECKING:
    from .world import World

JOB_KEYS = ("st_job_id", "job_id")
KEPT = 200_000


@dataclass(slots=True)
class Post:
    """One request to a hook. answered: `queued`, `test` or `refused`; outcome: what its workflow did, None while it has
    not run; fault: the kind of fault it met. at: epoch seconds of the simulator's clock; job: text of `st_job_id`, else
    `job_id`."""

    number: int
    at: float
    location_id: str
    hook_id: str
    method: str
    body: bytes
    job: str | None
    answered: str
    execution_id: str | None = None
    outcome: str | None = None
    opportunity_id: str | None = None
    fault: str | None = None

    def content(self) -> Any:
        """The body as JSON, or as text when it is none."""
        try:
            return msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return self.body.decode("utf-8", "replace")

    def as_dict(self) -> dict[str, Any]:
        """The post with its body read, for the control API."""
        return {**asdict(self), "at": iso(self.at), "body": self.content()}


@dataclass(slots=True)
class ApiRequest:
    """One API request: when, what, and the status that the simulator meant to answer (before a fault on the wire)."""

    at: float
    method: str
    path: str
    route: str
    location_id: str | None
    status: int
    fault: str | None = None


class Ledger:
    """Grows with every request. The last 200,000 posts and requests are kept whole; the counts are complete."""

    def __init__(self) -> None:
        self.posts: deque[Post] = deque(maxlen=KEPT)
        self.requests: deque[ApiRequest] = deque(maxlen=KEPT)
        self.post_count = 0
        self.request_count = 0
        self.posts_by_job: Counter[str] = Counter()
        self.queued_by_job: Counter[str] = Counter()
        self.creates_by_job: Counter[str] = Counter()
        self.requests_by_route: Counter[str] = Counter()
        self.requests_by_status: Counter[int] = Counter()
        self.faults_met: Counter[str] = Counter()
        self.contacts_created = 0
        self.opportunities_created = 0

    def note_post(self, post: Post) -> None:
        """A hook received something."""
        self.post_count += 1
        self.posts.append(post)
        if post.job is not None:
            self.posts_by_job[post.job] += 1
            if post.answered == "queued":
                self.queued_by_job[post.job] += 1
        if post.fault:
            self.faults_met[post.fault] += 1

    def note_request(self, request: ApiRequest) -> None:
        """The API was asked something."""
        self.request_count += 1
        self.requests.append(request)
        self.requests_by_route[request.route] += 1
        self.requests_by_status[request.status] += 1
        if request.fault:
            self.faults_met[request.fault] += 1

    def note_contact(self, contact: Record) -> None:
        """A contact was made."""
        self.contacts_created += 1

    def note_opportunity(self, location: Location, opportunity: Record, via: str) -> None:
        """An opportunity was made, by the `api` or by a hook's `workflow`."""
        self.opportunities_created += 1
        self.creates_by_job[job_of(location, opportunity)] += 1


def job_of(location: Location, opportunity: Record) -> str:
    """The job an opportunity belongs to: its custom field `opportunity.st_job_id`, else its name."""
    for each in opportunity["customFields"]:
        found = location.find_field(each["id"])
        if found is not None and found["fieldKey"] == "opportunity.st_job_id":
            return str(each["fieldValue"])
    return opportunity.get("name", "")


def live_by_job(locations: Iterable[Location]) -> dict[str, list[Record]]:
    """The opportunities that stand now, by job."""
    found: dict[str, list[Record]] = {}
    for location in locations:
        for opportunity in location.opportunities.records.values():
            found.setdefault(job_of(location, opportunity), []).append(opportunity)
    return found


def doubled(locations: Iterable[Location]) -> dict[str, list[str]]:
    """Jobs with more than one live opportunity -> the ids of these."""
    return {job: [each["id"] for each in held] for job, held in live_by_job(locations).items() if len(held) > 1}


def bill(locations: Iterable[Location], switches: Switches) -> dict[str, float]:
    """Workflow executions, those beyond the free ones per location, and their price in dollars."""
    executions = [location.executions for location in locations]
    paid = sum(max(0, count - switches.free_executions) for count in executions)
    return {"executions": sum(executions), "paid": paid, "dollars": round(paid * switches.execution_price, 4)}


def summarise(world: World) -> dict[str, Any]:
    """The whole ledger in one JSON object (complete counts, no bodies)."""
    ledger, locations = world.ledger, list(world.locations.values())
    return {
        "posts": ledger.post_count,
        "requests": ledger.request_count,
        "contacts": sum(len(each.contacts.records) for each in locations),
        "opportunities": sum(len(each.opportunities.records) for each in locations),
        "contacts_created": ledger.contacts_created,
        "opportunities_created": ledger.opportunities_created,
        "posts_by_job": dict(ledger.posts_by_job),
        "queued_by_job": dict(ledger.queued_by_job),
        "posted_more_than_once": {job: count for job, count in ledger.posts_by_job.items() if count > 1},
        "creates_by_job": dict(ledger.creates_by_job),
        "doubled": doubled(locations),
        "live_by_job": {job: [each["id"] for each in held] for job, held in live_by_job(locations).items()},
        "requests_by_route": dict(ledger.requests_by_route),
        "requests_by_status": {str(status): count for status, count in ledger.requests_by_status.items()},
        "faults_met": dict(ledger.faults_met),
        "bill": bill(locations, world.switches),
        "peak_in_window": {name: meter.peak for name, meter in world.limiter.meters.items()},
        "refused_429": {name: meter.refused for name, meter in world.limiter.meters.items() if meter.refused},
    }
