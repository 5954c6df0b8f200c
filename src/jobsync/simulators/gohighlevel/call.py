"""One API request on its way through the handlers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from .answers import refuse
from .bodies import read_object
from .clock import MovableClock
from .identifiers import IdMaker
from .location import Location
from .switches import Switches

if TYPE_CHECKING:
    from .ledger import Ledger
    from .tokens import Token
    from .world import World


@dataclass(slots=True)
class Call:
    """A request after its envelope (version, token, rate) was found in order.

    args: the variable segments of the path. location: the one the token belongs to (handlers of other tokens get the
    one they name). version: the Version header as sent.
    """

    world: World
    method: str
    path: str
    query: dict[str, str]
    raw: bytes
    version: str
    content_type: str = ""
    args: tuple[str, ...] = ()
    token: Token | None = None
    location: Location = field(default=None)  # type: ignore[assignment]

    @property
    def switches(self) -> Switches:
        """The unconfirmed facts as they are set now."""
        return self.world.switches

    @property
    def clock(self) -> MovableClock:
        """The simulator's clock."""
        return self.world.clock

    @property
    def ids(self) -> IdMaker:
        """Where new ids come from."""
        return self.world.ids

    @property
    def ledger(self) -> Ledger:
        """What a checker reads afterwards."""
        return self.world.ledger

    def body(self) -> dict[str, Any]:
        """The JSON object that was sent. Raises a 400 refusal for anything else."""
        return read_object(self.raw)

    def limit(self, raw: Any, name: str = "limit", default: int = 20, most: int = 100) -> int:
        """A page size as asked for; above `most` as the switch says. Raises 422."""
        if raw is None or raw == "":
            return default
        try:
            wanted = int(raw)
        except (TypeError, ValueError):
            raise refuse(422, [f"{name} must be a number conforming to the specified constraints"]) from None
        if wanted < 1:
            raise refuse(422, [f"{name} must not be less than 1"])
        if wanted > most:
            if self.switches.over_limit == "refuse":
                raise refuse(422, [f"{name} must not be greater than {most}"])
            return most
        return wanted
