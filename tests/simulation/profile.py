"""What kind of world a seed makes: sizes, rates, habits of the upstreams."""

from __future__ import annotations

from random import Random

ACTIVITY = ("appointments", "estimates", "invoices", "technician_assignments")
REFERENCE = ("job_types", "tag_types", "campaigns")


class Profile:
    """Drawn once a run. All fields may be forced by name (`World(seed, home, workers=1)`).

    What was added later is drawn from `more`, so that older seeds stay the worlds that they were.
    """

    def __init__(self, rng: Random, more: Random) -> None:
        self.jobs = rng.choice((3, 5, 8, 12))
        self.customers = rng.choice((1, 2, 5))
        self.tied_jobs = rng.choice((0, 0, 3, 6))
        self.workers = rng.choice((1, 2, 2, 3))
        self.concurrency = rng.choice((1, 3, 6))
        self.trouble_seconds = rng.choice((200.0, 500.0, 900.0))
        self.crash_rate = rng.choice((0.0, 0.002, 0.006, 0.02))
        self.stall_rate = rng.choice((0.0, 0.001, 0.004))
        self.database_loss = rng.choice((0.0, 0.0, 0.004, 0.015))
        self.lists_only = rng.random() < 0.3
        self.feed_breaks = rng.choice(("", "", "", "jpm/export/jobs", "crm/export/*"))
        self.feed_breaks_after = rng.randrange(3)
        self.feed_rows = rng.choice((1, 2, 3, 1000))
        self.page_sizes = rng.choice(((4, 3, 2), (3, 2, 2), (50, 20, 5)))
        self.group = rng.choice((1, 3, 64))
        self.cursor_life = rng.choice((0.0, 0.0, 0.0, 400.0))
        self.sort_honoured = rng.random() < 0.9
        self.default_sort = rng.choice(("-Id", "+Id", "-ModifiedOn"))
        self.retry_after = rng.random() < 0.5
        self.events = rng.choice(("created", "all"))
        self.two_tenants = rng.random() < 0.15
        self.fault_grade = rng.choice((0.0, 0.3, 1.0, 1.0, 2.0))
        self.people_acts = rng.choice((2, 6, 12))
        self.operator_acts = rng.choice((0, 1, 3))
        self.poison = rng.random() < 0.25
        # Never drawn: worlds that go by API, and those where somebody backfills and compares, are asked for.
        self.by_api = False
        self.care = False
        # How long what was written is not found by a search: shorter and longer than a lease.
        self.search_lag = more.choice((5.0, 45.0, 100.0))
        self.resting = ACTIVITY + REFERENCE if rng.random() < 0.9 else ACTIVITY[1:] + REFERENCE
