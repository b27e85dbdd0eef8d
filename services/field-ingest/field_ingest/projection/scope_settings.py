"""The settings of the scopes' budget, apart because the auditor's commands need them without those of a whole service.

A part of config.Settings; environment prefix ZB_INGEST_. What the limits do is `scope`'s matter.
"""

from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from field_ingest.projection.scope import ScopeLimits
from zb_contracts.sync import SCOPE_BYTES_MAX, SCOPE_DOCUMENT_BYTES_MAX, SCOPE_DOCUMENTS_MAX

_DEFAULT = ScopeLimits()


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as fault:
        raise ValueError(f"there is no time zone {name!r}") from fault
    return name


class ScopeSettings(BaseSettings):
    """One technician's budget, and how long what is closed stays in it."""

    model_config = SettingsConfigDict(env_prefix="ZB_INGEST_", frozen=True, extra="ignore")

    scope_documents_max: int = Field(default=_DEFAULT.documents_max, ge=1, le=SCOPE_DOCUMENTS_MAX)
    scope_bytes_max: int = Field(default=_DEFAULT.bytes_max, ge=64 << 10, le=SCOPE_BYTES_MAX)
    scope_document_bytes_max: int = Field(default=_DEFAULT.document_bytes_max, ge=16 << 10, le=SCOPE_DOCUMENT_BYTES_MAX)
    scope_keep_days: int = Field(default=_DEFAULT.keep_days, ge=0, le=60)
    scope_zone: Annotated[str, AfterValidator(_known_zone)] = _DEFAULT.zone

    @property
    def scope_limits(self) -> ScopeLimits:
        return ScopeLimits(
            self.scope_documents_max,
            self.scope_bytes_max,
            self.scope_document_bytes_max,
            self.scope_keep_days,
            self.scope_zone,
        )
