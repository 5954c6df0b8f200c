"""openapi: the API's description."""

from __future__ import annotations

import typer

from jobsync.cli.output import print_json
from jobsync.cli.shared import settings_of


def openapi(context: typer.Context) -> None:
    """Print the OpenAPI document of the API."""
    from jobsync.web.app import describe_api

    print_json(describe_api(settings_of(context)))
