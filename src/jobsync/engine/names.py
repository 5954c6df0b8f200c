"""Names that people write, looked up among what both systems have; what is unknown is refused with the nearest names.

One place for it: routes, rules, and whatever else takes a name. An id is taken as well as a name. Upper and lower case and
spaces at the ends do not matter; a name that two things share is refused, because choosing one would be a guess.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from jobsync.errors import InvalidInput


@dataclass(frozen=True)
class Named:
    """A thing with an id and a name; `also`: a further name, such as a field's key."""

    id: Any
    name: str
    also: str | None = None


def read_named(rows: Iterable[Mapping[str, Any]]) -> list[Named]:
    """Things from `{id, name, key?}`; one without a name is called by its id."""
    return [Named(row["id"], row["name"] or str(row["id"]), row.get("key")) for row in rows]


def find_named(wanted: object, known: Iterable[Named], what: str, *, hint: str | None = None) -> Named:
    """The thing that `wanted` names, by id or by name.

    Raises InvalidInput naming the nearest ones; `hint` is said where nothing is known at all.
    """
    things = list(known)
    text = str(wanted).strip()
    by_id = [thing for thing in things if str(thing.id) == text]
    if by_id:
        return by_id[0]
    folded = text.casefold()
    found = [thing for thing in things if folded in _spellings(thing)]
    if len(found) == 1:
        return found[0]
    if found:
        ids = ", ".join(str(thing.id) for thing in found)
        raise InvalidInput(f'{len(found)} things are called "{text}" ({what}).', hint=f"Name it by its id: {ids}.")
    if not things:
        raise InvalidInput(f'{what} "{text}" is not known.', hint=hint or "None is known yet.")
    raise InvalidInput(f'{what} "{text}" is not known.', hint=f"Nearest: {', '.join(nearest(text, things))}.")


def nearest(text: str, things: Iterable[Named | str], limit: int = 3) -> list[str]:
    """The names most like `text`, best first; the first few where none is like it."""
    names = list(dict.fromkeys(thing if isinstance(thing, str) else thing.name for thing in things))
    folded = {name.casefold(): name for name in names}
    close = difflib.get_close_matches(text.casefold(), list(folded), n=limit, cutoff=0.4)
    return [folded[name] for name in close] or names[:limit]


def refuse_unknown(given: Iterable[str], known: Iterable[str], what: str) -> None:
    """Raises InvalidInput for the first of `given` that is not one of `known`, with the nearest ones."""
    words = list(known)
    for word in given:
        if word not in words:
            raise InvalidInput(
                f'{what} "{word}" is not known.', hint=f"Nearest: {', '.join(nearest(str(word), words))}."
            )


def _spellings(thing: Named) -> set[str]:
    spellings = {thing.name.strip().casefold()}
    if thing.also:
        spellings |= {thing.also.casefold(), thing.also.split(".", 1)[-1].casefold()}
    return spellings
