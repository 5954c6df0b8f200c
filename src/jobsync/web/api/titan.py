"""ServiceTitan read through JobSync: its own envelope and filters, our credentials, nothing to be written.

The paths are those of the old service. Each takes ServiceTitan's filters as they are (`createdOnOrAfter`, `pageSize`,
`sort`, ...); a list also takes `all=true`, which follows the pages and streams them as one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, BeforeValidator, ConfigDict, WithJsonSchema

from jobsync.engine.proxy import open_read
from jobsync.errors import InvalidInput, JobSyncError
from jobsync.log import get_log
from jobsync.servicetitan.proxy import READABLE
from jobsync.web.api.fields import LARGEST_ID, read_whole
from jobsync.web.calls import Call, GuardedRoute, ThisCall, needs

router = APIRouter(route_class=GuardedRoute, tags=["ServiceTitan"])

MOST_QUERY_BYTES = 8192
TitanId = Annotated[
    int,
    BeforeValidator(read_whole),
    Path(alias="id", ge=1, le=LARGEST_ID),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": LARGEST_ID}),
]
All = Annotated[
    Literal["true", "false"] | None, Query(alias="all", description="true: all pages, one after another, as one.")
]
Since = Annotated[
    str | None, Query(max_length=40, description="ISO time, inclusive. Further filters go to ServiceTitan as they are.")
]


class Envelope(BaseModel):
    """A page of ServiceTitan, as it came."""

    model_config = ConfigDict(extra="allow")
    data: list[Any]


class Record(BaseModel):
    """A record of ServiceTitan, as it came."""

    model_config = ConfigDict(extra="allow")


def _add_list(name: str) -> None:
    words = name.strip("/").replace("/", " ").replace("-", " ")

    @router.get(
        name,
        operation_id=_name("list", name),
        response_model=Envelope,
        description=f"ServiceTitan's {words}: its filters go through as they are, its envelope comes back as it is.",
    )
    @needs("read")
    async def read_list(
        request: Request,
        call: ThisCall,
        every: All = None,
        created: Annotated[Since, Query(alias="createdOnOrAfter")] = None,
        modified: Annotated[Since, Query(alias="modifiedOnOrAfter")] = None,
    ) -> StreamingResponse:
        return await _pass_on(request, call, name, None, everything=every == "true")


def _add_one(name: str) -> None:
    contacts = name.endswith("/contacts")
    what = name.strip("/").split("/")[0].removesuffix("s")

    @router.get(
        name,
        operation_id=_name("read", name),
        response_model=Envelope if contacts else Record,
        description=f"The contacts of one {what}, from ServiceTitan." if contacts else f"One {what} from ServiceTitan.",
    )
    @needs("read")
    async def read_one(request: Request, call: ThisCall, record: TitanId) -> StreamingResponse:
        return await _pass_on(request, call, name, record)


def _name(verb: str, name: str) -> str:
    words = [word.capitalize() for word in name.replace("{id}", "one").replace("-", "/").strip("/").split("/")]
    return f"{verb}Titan{''.join(words)}"


async def _pass_on(
    request: Request, call: Call, name: str, record: int | None, *, everything: bool = False
) -> StreamingResponse:
    if b"%2f" in request.scope.get("raw_path", b"").lower():
        raise InvalidInput("The address holds an encoded slash.", field="path")
    if len(request.scope["query_string"]) > MOST_QUERY_BYTES:
        raise InvalidInput("The filters are longer than 8 KB.", field="query")
    filters = [(key, value) for key, value in request.query_params.multi_items() if key != "all"]
    pieces = await open_read(call.web.engine, call.tenant, name, record, filters, everything=everything)
    return StreamingResponse(_log_end(pieces, name), media_type="application/json")


async def _log_end(pieces: AsyncIterator[bytes], name: str) -> AsyncIterator[bytes]:
    try:
        async for piece in pieces:
            yield piece
    except JobSyncError as error:
        # The status has left already; an answer that breaks off cannot be taken for a whole one.
        get_log().warning("answer_broke_off", route=name, code=error.code, error_type=type(error).__name__)
        raise


for _path in READABLE:
    (_add_one if "{id}" in _path else _add_list)(_path)
