"""The contact endpoints: of one customer or location, and in bulk (ServiceTitan contract, sections 4, 5 and 6).

Ids of contacts are not unique alone: rows are keyed (contact id, parent id). Removed contacts (inactive) are seen
only in the export feeds. Bulk rows add the parent's id, export rows that and `active`.
"""

from __future__ import annotations

from .dataset import Dataset
from .lists import arrange, cut_page, read_paging, read_window
from .query import Query, id_list
from .replies import Reply, problem
from .tables import Record, Table


def answer_contacts_of(parent_table: str, parent: int, query: Query, data: Dataset) -> Reply:
    """`.../customers/{id}/contacts` or `.../locations/{id}/contacts`: a page; 404 for an unknown parent."""
    number, size, with_total = read_paging(query, data.switches)
    query.check(data.switches.unknown_query)
    if parent not in data.tables[parent_table]:
        return problem(404, f"Entity with id {parent} was not found.")
    rows = [record for record in data.tables[f"{parent_table}/contacts"].holding("parent", parent) if record.active]
    return cut_page(rows, number, size, with_total, lambda record: record.body)


def answer_contacts(parent_table: str, query: Query, data: Dataset) -> Reply:
    """`.../customers/contacts` or `.../locations/contacts`: a page of rows in a window or of some parents.

    400 unless the parents' ids or a modified bound is given (locations: any date bound will do).
    """
    switches, table = data.switches, data.tables[f"{parent_table}/contacts"]
    number, size, with_total = read_paging(query, switches)
    window = read_window(query)
    parents_name = "customerIds" if parent_table == "customers" else "locationIds"
    parents = query.read(parents_name, id_list(switches.ids_limit, switches.over_ids))
    modified = window.modified_from is not None or window.modified_to is not None
    if parents is None and not (modified or (parent_table == "locations" and window.bounded)) and not query.errors:
        query.refuse(
            "modifiedOnOrAfter", f"Either {parents_name} or modifiedBefore or modifiedOnOrAfter must be specified."
        )
    query.check(switches.unknown_query)
    memo = (tuple(parents or ()), parents is None, window, switches.default_sort)
    rows = table.recall(memo) if switches.tie_order == "id" else None
    if rows is None:
        rows = (
            list(table)
            if parents is None
            else [row for one in dict.fromkeys(parents) for row in table.holding("parent", one)]
        )
        rows = arrange([record for record in rows if record.active and window.holds(record)], None, switches)
        table.remember(memo, rows)
    return cut_page(rows, number, size, with_total, lambda record: with_parent(table, record))


def with_parent(table: Table, record: Record) -> bytes:
    """The bulk form of a contact row."""
    return record.body[:-1] + b',"%s":%d}' % (table.parent.encode(), record.key[1]) if table.parent else record.body


def with_parent_and_active(table: Table, record: Record) -> bytes:
    """The export form of a contact row."""
    return with_parent(table, record)[:-1] + (b',"active":true}' if record.active else b',"active":false}')
