"""Settings of a service: one frozen class, read once from the environment; a bad value names its key and stops the process.

Each service derives from ServiceSettings with its own prefix. Secrets have no default and are never printed.
"""

import sys
from pathlib import Path
from typing import Literal, TypeVar

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

T = TypeVar("T", bound=BaseSettings)


class ServiceSettings(BaseSettings):
    """What every service is told. The prefix of the environment variables is the derived class' `model_config`."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore")

    database_url: str = Field(repr=False)
    nats_url: str
    nats_creds: Path
    """The service's credentials file for the broker."""
    http_host: str = "127.0.0.1"
    http_port: int = Field(ge=1, le=65535)
    oidc_issuer: str
    """Base URL of the OpenID provider whose bearer tokens are taken."""
    oidc_audience: str = "zone-blanche"
    keys_dir: Path
    data_dir: Path
    clock_file: Path | None = None
    access_log_days: int = Field(default=3 * 365, ge=30, le=10 * 366)
    """How long a record of who read personal data is kept."""
    log_format: Literal["json", "console"] = "json"
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


def load(kind: type[T]) -> T:
    """The settings from the environment; a missing or bad value ends the process with a sentence a key."""
    try:
        return kind()
    except ValidationError as fault:
        prefix = str(kind.model_config.get("env_prefix", ""))
        for error in fault.errors(include_input=False, include_url=False):
            key = prefix + "_".join(str(part) for part in error["loc"]).upper()
            sys.stderr.write(f"{key}: {error['msg'].lower()}\n")
        raise SystemExit(2) from None
