"""Complaints about a row: a stable code, the column, what is wrong, what to do. Errors keep the row out; warnings do not."""

from __future__ import annotations

from typing import Any, NamedTuple


class Issue(NamedTuple):
    """One complaint. `code`: missing_id, bad_id, excel_number, ambiguous_link, orphan_customer, bad_date, bad_number, bad_phone,
    bad_email, dst_gap, dup_conflict, unknown_unit, ragged_row, encoding, erased."""

    code: str
    field: str | None
    message: str
    suggestion: str
    is_error: bool = True

    def as_dict(self) -> dict[str, Any]:
        """As the database keeps it."""
        return self._asdict()


class Misread(Exception):
    """A cell that does not hold what its column is for; carries the complaint."""

    def __init__(self, code: str, message: str, suggestion: str) -> None:
        super().__init__(message)
        self.code, self.message, self.suggestion = code, message, suggestion

    def issue(self, field: str) -> Issue:
        """The complaint, of the column `field`."""
        return Issue(self.code, field, self.message, self.suggestion)
