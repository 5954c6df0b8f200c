"""Small answers that hang on one job: cancel reasons by job ids, notes, history, canceled log."""

from __future__ import annotations

from .dataset import Dataset
from .export import as_history
from .lists import cut_page, read_paging
from .query import Query, id_list
from .replies import Reply, json_reply, problem
from .tables import decode_row


def answer_cancel_reasons(query: Query, data: Dataset) -> Reply:
    """`/jobs/cancel-reasons`: why these jobs (the required `ids`) were canceled; jobs that were not are left out."""
    ids = query.read("ids", id_list(data.switches.ids_limit, data.switches.over_ids))
    if ids is None and not query.errors:
        query.refuse("ids", "The Ids field is required.")
    query.check(data.switches.unknown_query)
    wanted: list[int] = ids or []
    names = {record.id: record.fields()["name"] for record in data.tables["job-cancel-reasons"]}
    found = [
        {"jobId": job, "reasonId": log["reasonId"], "name": names[log["reasonId"]], "text": log["memo"]}
        for job in dict.fromkeys(wanted)
        for log in [record.fields() for record in data.tables["job-canceled-logs"].holding("jobId", job)][-1:]
    ]
    return json_reply({"page": 1, "pageSize": 50, "hasMore": False, "totalCount": None, "data": found})


def answer_job_log(what: str, job: int, query: Query, data: Dataset) -> Reply:
    """`/jobs/{id}/notes`, `/history` or `/canceled-log`; 404 for an unknown job. History is not paged."""
    number, size, with_total = read_paging(query, data.switches)
    query.check(data.switches.unknown_query)
    record = data.tables["jobs"].get(job)
    if record is None:
        return problem(404, f"Entity with id {job} was not found.")
    if what == "history":
        history = decode_row(as_history(data.tables["jobs"], record))["history"]
        return json_reply({"history": [{**event, "memo": ""} for event in history]})
    table = data.tables["job-notes" if what == "notes" else "job-canceled-logs"]
    rows = [row for row in table.holding("jobId", job) if row.active]
    return cut_page(rows, number, size, with_total, lambda row: row.body)
