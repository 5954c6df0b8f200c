"""Reading a query string as ServiceTitan does: names in any case, unknown names ignored, one 400 for all bad values."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from .instants import read_instant
from .replies import Refusal, problem

T = TypeVar("T")
INT64 = 2**63
REFUSED = object()


class Query:
    """One request's query. Reading a value that does not fit notes an error; `check` raises them all at once."""

    def __init__(self, raw: bytes | str) -> None:
        text = raw.decode("latin-1") if isinstance(raw, bytes) else raw
        self._values: dict[str, list[str]] = {}
        self._typed: dict[str, str] = {}
        for name, value in parse_qsl(text, keep_blank_values=True):
            if value != "":
                self._values.setdefault(name.lower(), []).append(value)
                self._typed[name.lower()] = name
        self._read: set[str] = set()
        self.errors: dict[str, list[str]] = {}

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._values

    def read(self, name: str, as_: Callable[[str], T], default: Any = None) -> Any:
        """The first value of this name through `as_`, or the default. A value that `as_` refuses (ValueError) is noted
        under the name and reads as the default."""
        self._read.add(name.lower())
        values = self._values.get(name.lower())
        if not values:
            return default
        try:
            return as_(values[0])
        except ValueError as error:
            self.refuse(name, str(error) or f"The value '{values[0]}' is not valid.")
            return default

    def read_all(self, name: str, as_: Callable[[str], T]) -> list[T]:
        """All values of a name that may be repeated."""
        self._read.add(name.lower())
        found = []
        for value in self._values.get(name.lower(), ()):
            try:
                found.append(as_(value))
            except ValueError as error:
                self.refuse(name, str(error))
        return found

    def refuse(self, name: str, message: str) -> None:
        """Notes an error under this parameter's name."""
        self.errors.setdefault(name[:1].upper() + name[1:], []).append(message)

    def check(self, unknown: str = "ignore") -> None:
        """Raises the 400 if anything was refused; `unknown="reject"` also refuses names that nobody read."""
        if unknown == "reject":
            for name in sorted(set(self._values) - self._read):
                self.refuse(self._typed[name], "This parameter is not known.")
        if self.errors:
            raise Refusal(problem(400, errors=self.errors))


def whole(value: str) -> int:
    """An int64."""
    try:
        number = int(value)
    except ValueError:
        raise ValueError(f"The value '{value}' is not valid.") from None
    if not -INT64 <= number < INT64:
        raise ValueError(f"The value '{value}' is out of range.")
    return number


def decimal(value: str) -> float:
    """A number with or without fraction."""
    try:
        return float(value)
    except ValueError:
        raise ValueError(f"The value '{value}' is not valid.") from None


def truth(value: str) -> bool:
    """true or false, in any case."""
    if value.lower() not in ("true", "false"):
        raise ValueError(f"The value '{value}' is not valid.")
    return value.lower() == "true"


def instant(value: str) -> int:
    """A date-time in UTC, to ticks."""
    try:
        return read_instant(value)
    except ValueError:
        raise ValueError(f"The value '{value}' is not a valid date-time.") from None


def one_of(*choices: str) -> Callable[[str], str]:
    """One of these words, in any case, answered as listed."""
    known = {choice.lower(): choice for choice in choices}

    def read(value: str) -> str:
        if value.lower() not in known:
            raise ValueError(f"The value '{value}' is not valid. Values: [{', '.join(choices)}]")
        return known[value.lower()]

    return read


def text(value: str) -> str:
    """Any text."""
    return value


def id_list(limit: int, over: str) -> Callable[[str], list[int]]:
    """One comma-separated string of ids; more than `limit` is refused or cut, as `over` says."""

    def read(value: str) -> list[int]:
        ids = [whole(part.strip()) for part in value.split(",") if part.strip()]
        if len(ids) > limit:
            if over == "reject":
                raise ValueError(f"No more than {limit} ids may be given.")
            ids = ids[:limit]
        return ids

    return read
