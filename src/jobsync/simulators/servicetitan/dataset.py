"""One simulated tenant: all its tables, made from a seed."""

from __future__ import annotations

import gc
import heapq
from collections.abc import Sequence
from datetime import datetime
from itertools import count

from .clock import DEFAULT_NOW, SimClock
from .dice import Dice
from .seed_jobs import seed_jobs
from .seed_people import seed_people
from .seed_reference import seed_reference
from .switches import Switches
from .tables import Record, Table
from .vocabulary import UNITS

TABLES = (
    "jobs", "appointments", "appointment-assignments", "estimates", "invoices", "customers", "locations",
    "business-units",
    "job-types", "tag-types", "campaigns", "technicians", "employees", "job-cancel-reasons", "job-hold-reasons",
    "job-canceled-logs", "job-notes", "projects", "project-notes", "leads", "bookings", "payments", "invoice-items",
    "inventory-bills", "opportunities",
)  # fmt: skip
"""All kinds of rows besides the contacts; the last ones stay empty but answer."""


class Dataset:
    """All rows of one tenant. Make one with `Dataset.generate`; change it with `actions.Actions`.

    tables: by name, see TABLES, plus `customers/contacts` and `locations/contacts`. homes: the (customer id, location
    id) pairs that jobs are booked for.
    """

    def __init__(self, seed: int = 1, *, switches: Switches | None = None) -> None:
        self.seed = seed
        self.switches = switches or Switches()
        self.dice = Dice(seed)
        self.journal = count(1)
        self.tables = {name: Table(name, self.journal) for name in TABLES}
        self.tables["customers/contacts"] = Table("customers/contacts", self.journal, parent="customerId")
        self.tables["locations/contacts"] = Table("locations/contacts", self.journal, parent="locationId")
        self.homes: list[tuple[int, int]] = []
        self.job_type_ids: list[int] = []
        self.campaign_ids: list[int] = []
        self.tag_ids: list[int] = []
        self.technician_ids: list[int] = []
        self.unit_ids: list[int] = []
        self._ids = 138_470_000 + seed % 1000
        self._numbers = 40_210
        self._late: list[tuple[int, int, str, Record]] = []
        self._late_order = count()

    @classmethod
    def generate(
        cls,
        seed: int = 1,
        jobs: int = 240,
        units: Sequence[tuple[int, str, float]] = UNITS,
        *,
        now: str | datetime | int = DEFAULT_NOW,
        days: int = 320,
        customers: int | None = None,
        locations: int | None = None,
        tied_jobs: int = 12,
        activity: bool = True,
        switches: Switches | None = None,
    ) -> Dataset:
        """A tenant with this many jobs; the same arguments make the same bytes.

        units: (business unit id, name, share of jobs). now: the instant that nothing is younger than; jobs were created
        over the `days` before it. customers, locations: 0.6 and 0.7 per job unless given (a customer always has a
        location). tied_jobs: how many jobs share one modifiedOn. activity: False leaves appointments, assignments,
        estimates, invoices, logs and notes empty, for big datasets that do not need them.
        """
        collecting = gc.isenabled()
        gc.disable()  # a million fresh rows and no garbage: the collector would only walk them again and again
        try:
            return cls(seed, switches=switches)._fill(
                SimClock(now).now(), jobs, units, days, customers, locations, tied_jobs, activity
            )
        finally:
            if collecting:
                gc.enable()

    def _fill(
        self, now: int, jobs: int, units: Sequence[tuple[int, str, float]], days: int, customers: int | None,
        locations: int | None, tied_jobs: int, activity: bool,
    ) -> Dataset:  # fmt: skip
        seed_reference(self, units, now)
        self.unit_ids = [unit for unit, _, _ in units]
        for name, ids in (
            ("job-types", self.job_type_ids),
            ("campaigns", self.campaign_ids),
            ("tag-types", self.tag_ids),
        ):
            ids.extend(record.id for record in self.tables[name] if record.active)
        self.technician_ids = [record.id for record in self.tables["technicians"]]
        people = max(1, jobs * 6 // 10) if customers is None else max(1, customers)
        places = max(people, jobs * 7 // 10) if locations is None else max(people, locations)
        seed_people(self, people, places, now)
        seed_jobs(self, jobs, units, now, days=days, tied_jobs=tied_jobs, activity=activity)
        return self

    def next_id(self) -> int:
        """A fresh id; ids of all kinds come from one sequence with gaps."""
        self._ids += 1 + self.dice.below(7)
        return self._ids

    def next_number(self) -> str:
        """A fresh job number: digits, as text, not the id."""
        self._numbers += 1
        return str(self._numbers)

    def put_later(self, table: str, record: Record, visible_at: int) -> None:
        """Keeps a version back until `reveal` is called at or after `visible_at` (ticks): rows that were committed late
        with an earlier modifiedOn (contract, section 2.2)."""
        heapq.heappush(self._late, (visible_at, next(self._late_order), table, record))

    def reveal(self, now: int) -> int:
        """Makes kept-back versions visible whose time has come, unless a newer one already is; answers how many."""
        shown = 0
        while self._late and self._late[0][0] <= now:
            visible_at, _, name, record = heapq.heappop(self._late)
            present = self.tables[name].get(record.key)
            if present is None or present.modified <= record.modified:
                self.tables[name].put(record, visible_at=visible_at)
                shown += 1
        return shown
