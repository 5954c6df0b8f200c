"""The GoHighLevel client: one location, one call in, values out.

Its calls stand in locations.py, contacts.py and opportunities.py; caller.py sends them; refusals.py says what a refusal
means. It keeps nothing: no token, no cache, no clock. Nothing is ever upserted.
"""

from __future__ import annotations

from jobsync.gohighlevel.opportunities import OpportunityCalls


class GoHighLevelClient(OpportunityCalls):
    """Calls the API for one location.

    `session`: from `make_session` (else a broken write counts as ambiguous more often than it must); it stays the
    caller's. `token_source`: see TokenSource. `version`: the value of the Version header. `pace`: see Pace; None: none.
    `on_request`: told of each request as (kind, status), status None where no answer came.
    Raises ConfigError for a location id or API address that no request could be made with.
    """
