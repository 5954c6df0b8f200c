"""Settings: read once at the edge, frozen, passed as an argument.

Precedence: flags > environment > `.env` > `jobsync.yaml`; what the database holds (connections, modes) comes last and is
read by the engine. Names are those of the environment (`DATABASE_URL`, `JOBSYNC_MODE`, ...). Raises ConfigError with the
name of the variable that cannot be used; never shows its value.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import UTC, datetime
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from jobsync.errors import ConfigError

Mode = Literal["observe", "shadow", "live"]


class Settings(BaseModel):
    """Everything that can be set. Times are UTC; None means not given."""

    model_config = ConfigDict(frozen=True, populate_by_name=True, extra="ignore")

    database_url: str | None = Field(None, alias="DATABASE_URL", repr=False)
    database_direct_url: str | None = Field(None, alias="DATABASE_DIRECT_URL", repr=False)
    database_max_connections: int = Field(10, alias="DATABASE_MAX_CONNECTIONS", ge=2, le=500)
    host: str = Field("127.0.0.1", alias="HOST")
    port: int = Field(3001, alias="PORT", ge=0, le=65535)
    api_key: SecretStr | None = Field(None, alias="API_KEY")
    trusted_networks: tuple[str, ...] = Field((), alias="JOBSYNC_TRUSTED_NETWORKS")
    allowed_hosts: tuple[str, ...] = Field((), alias="JOBSYNC_ALLOWED_HOSTS")
    servicetitan_tenant_id: str | None = Field(None, alias="SERVICE_TITAN_TENANT_ID")
    servicetitan_client_id: str | None = Field(None, alias="SERVICE_TITAN_CLIENT_ID")
    servicetitan_client_secret: SecretStr | None = Field(None, alias="SERVICE_TITAN_CLIENT_SECRET")
    servicetitan_app_key: SecretStr | None = Field(None, alias="SERVICE_TITAN_APP_KEY")
    servicetitan_environment: Literal["production", "integration"] = Field(
        "production", alias="SERVICE_TITAN_ENVIRONMENT"
    )
    servicetitan_api_url: str | None = Field(None, alias="SERVICE_TITAN_API_URL")
    servicetitan_auth_url: str | None = Field(None, alias="SERVICE_TITAN_AUTH_URL")
    ghl_api_key: SecretStr | None = Field(None, alias="GHL_API_KEY")
    ghl_location_id: str | None = Field(None, alias="GHL_LOCATION_ID")
    ghl_api_url: str = Field("https://services.leadconnectorhq.com", alias="GHL_API_URL")
    mode: Mode | None = Field(None, alias="JOBSYNC_MODE")
    deliver_from: datetime | None = Field(None, alias="JOBSYNC_DELIVER_FROM")
    data_dir: Path = Field(Path(".jobsync"), alias="JOBSYNC_DATA_DIR")
    poll_seconds: int = Field(300, alias="JOBSYNC_POLL_SECONDS", ge=5, le=86400)
    secret_key: SecretStr | None = Field(None, alias="JOBSYNC_SECRET_KEY")
    alert_urls: SecretStr | None = Field(None, alias="JOBSYNC_ALERT_URLS")
    ping_url: SecretStr | None = Field(None, alias="JOBSYNC_PING_URL")
    old_database_url: SecretStr | None = Field(None, alias="JOBSYNC_OLD_DATABASE_URL")
    allow_hosts: tuple[str, ...] = Field((), alias="JOBSYNC_ALLOW_HOSTS")
    ghl_pace: float | None = Field(None, alias="JOBSYNC_GHL_PACE", ge=0)
    cap_hour: int | None = Field(None, alias="JOBSYNC_CAP_HOUR", ge=0)
    cap_day: int | None = Field(None, alias="JOBSYNC_CAP_DAY", ge=0)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", alias="LOG_LEVEL")
    lease_seconds: float = Field(60.0, alias="JOBSYNC_LEASE_SECONDS", ge=1)
    stalled_seconds: float = Field(30.0, alias="JOBSYNC_STALLED_SECONDS", ge=1)
    settle_seconds: float = Field(120.0, alias="JOBSYNC_SETTLE_SECONDS", ge=0)

    @field_validator("trusted_networks", "allowed_hosts", "allow_hosts", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.replace(";", ",").split(",") if part.strip())
        return value

    @field_validator("database_url", "database_direct_url")
    @classmethod
    def _check_dsn(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                conninfo_to_dict(value)
            except ProgrammingError:
                # The library's own words repeat parts of the value, which holds a password.
                raise ValueError("not a PostgreSQL connection string such as postgresql://user@host/name") from None
        return value

    @field_validator("trusted_networks")
    @classmethod
    def _check_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for network in value:
            ip_network(network, strict=False)
        return value

    @field_validator("deliver_from")
    @classmethod
    def _read_as_utc(cls, value: datetime | None) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @property
    def servicetitan_missing(self) -> tuple[str, ...]:
        """Names of the four ServiceTitan variables that are not set."""
        given = {
            "SERVICE_TITAN_TENANT_ID": self.servicetitan_tenant_id,
            "SERVICE_TITAN_CLIENT_ID": self.servicetitan_client_id,
            "SERVICE_TITAN_CLIENT_SECRET": self.servicetitan_client_secret,
            "SERVICE_TITAN_APP_KEY": self.servicetitan_app_key,
        }
        return tuple(name for name, value in given.items() if value is None)

    @property
    def servicetitan_given(self) -> bool:
        """True when at least one of the four is set."""
        return len(self.servicetitan_missing) < 4


def variable_names() -> tuple[str, ...]:
    """The names of all variables, as `.env.example` explains them."""
    return tuple(str(field.alias) for field in Settings.model_fields.values())


def read_settings(
    *,
    environ: Mapping[str, str] | None = None,
    directory: Path | None = None,
    config_file: Path | None = None,
    **flags: object,
) -> Settings:
    """The settings of this process.

    `environ`: instead of the process environment; `directory`: where `.env` and `jobsync.yaml` are looked for (default:
    the working directory); `flags`: values by variable name that win over everything (None: not given).
    An empty text counts as not given. Raises ConfigError naming each variable that cannot be used.
    """
    directory = directory or Path.cwd()
    values: dict[str, Any] = {}
    values.update(_read_yaml(config_file or directory / "jobsync.yaml", required=config_file is not None))
    values.update(_not_blank(_read_dotenv(directory / ".env")))
    values.update(_not_blank(os.environ if environ is None else environ))
    values.update({name: value for name, value in flags.items() if value is not None})
    known = set(variable_names())
    try:
        return Settings.model_validate({name: value for name, value in values.items() if name in known})
    except ValidationError as error:
        names = ", ".join(
            f"{problem['loc'][0]} ({problem['msg'].removeprefix('Value error, ')})"
            for problem in error.errors(include_input=False, include_url=False)
        )
        raise ConfigError(
            f"These settings cannot be used: {names}.", hint="See .env.example for what each one takes."
        ) from None


def _not_blank(values: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in values.items() if value is not None and value.strip() != ""}


def _read_dotenv(path: Path) -> dict[str, str | None]:
    if not path.is_file():
        return {}
    try:
        return dict(dotenv_values(path, interpolate=False))
    except (OSError, UnicodeDecodeError):
        raise ConfigError(
            f"The file {path.name} cannot be read.", hint="Check its rights and that it is UTF-8 text."
        ) from None


def _read_yaml(path: Path, *, required: bool) -> dict[str, Any]:
    if not path.is_file():
        if required:
            raise ConfigError(f"The configuration file {path} does not exist.", hint="Check --config.")
        return {}
    # Few have this file: its library is loaded where there is one.
    import yaml

    try:
        found = yaml.safe_load(path.read_text("utf-8")) or {}
    except (yaml.YAMLError, OSError, UnicodeDecodeError) as error:
        line = getattr(getattr(error, "problem_mark", None), "line", None)
        where = f" (line {line + 1})" if line is not None else ""
        raise ConfigError(f"{path.name} is not readable YAML{where}.", hint="Mend or remove it.") from None
    if not isinstance(found, dict):
        raise ConfigError(
            f"{path.name} must hold names and values.", hint="One `NAME: value` a line, the names of .env.example."
        )
    return {str(name).upper(): value for name, value in found.items()}
