"""field-ingest's settings: what ServiceSettings has, and what only the ledger needs. Environment prefix ZB_INGEST_."""

from pathlib import Path
from typing import Final

from pydantic import Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from field_ingest.admission import depots
from field_ingest.admission.flood import FloodLimits
from field_ingest.devices.tokens import HOURS_MAX, HOURS_MIN
from field_ingest.ledger.shards import chosen
from field_ingest.projection.folding import KEPT_MAX
from field_ingest.projection.scope_settings import ScopeSettings
from zb_chassis.config import ServiceSettings
from zb_chassis.migrate import CHASSIS_MIGRATIONS, MigrationSet
from zb_contracts.subjects import SHARDS_MAX

SERVICE: Final = "field-ingest"
ROLES: Final = ("api", "admission", "projector", "sync", "witnesses")
"""What a process of it may do."""
OWN_MIGRATIONS: Final = MigrationSet(SERVICE, "field_ingest")
MIGRATIONS: Final = (CHASSIS_MIGRATIONS, OWN_MIGRATIONS)


class Settings(ServiceSettings, ScopeSettings):
    """Read once, at start."""

    model_config = SettingsConfigDict(env_prefix="ZB_INGEST_", frozen=True, extra="ignore")

    nats_sync_creds: Path
    """Credentials of the sync responder's own user on the broker."""
    depots: str = ""
    """Whose stores FIELD's messages are fetched from beside the broker, like `lille,lyon`."""
    shards: int = Field(default=1, ge=1, le=SHARDS_MAX)
    """Fixed at the first start."""
    admission_shards: str = ""
    """Which of them this process admits, like `0,1`; all where it is empty. Two processes may share one."""
    log_name: str = Field(default="zone-blanche.local/ledger", pattern=r"^[a-z0-9./-]{1,200}$")
    """First part of the origin of each shard's checkpoints, unique to the deployment."""
    witnesses: Path | None = None
    """A file with a line `<verifier key> <url>` for each witness that is asked to cosign checkpoints."""
    custody_url: str = Field(default="", pattern=r"^(https?://[^\s]{1,500})?$")
    """Where devices reach the custody of subject keys; empty: they get none."""
    token_hours: int = Field(default=HOURS_MIN, ge=HOURS_MIN, le=HOURS_MAX)
    batch_max: int = Field(default=64, ge=1, le=256)
    """Messages that admission takes in one transaction."""
    projector_workers: int = Field(default=1, ge=1, le=3)
    """Workers of the projection in this process: a second one folds while the first waits for the database. For more cores,
    more processes: all workers share the partitions."""
    folds_kept: int = Field(default=KEPT_MAX, ge=0, le=10_000_000)
    """What a worker of the projection keeps of the streams that it met last, in events of about 1.4 KB and 4 more a stream. Where
    more streams are in work than fit, each new event of one that is not kept reads it again."""
    flood_messages_max: int = Field(default=5_000, ge=1)
    """Of one device within `flood_window_h`: a week off line is some hundred messages, FIELD keeps 20,000 a device."""
    flood_bytes_max: int = Field(default=256 << 20, ge=1)
    flood_window_h: int = Field(default=24, ge=1, le=24 * 14)
    flood_suspended_s: int = Field(default=86_400, ge=60)
    """How long a device that sent more gets no session, unless an administrator lifts it before."""

    @property
    def depot_names(self) -> tuple[str, ...]:
        return depots.names(self.depots)

    @property
    def flood_limits(self) -> FloodLimits:
        return FloodLimits(self.flood_messages_max, self.flood_bytes_max, self.flood_window_h, self.flood_suspended_s)

    @field_validator("depots")
    @classmethod
    def _they_are_ids(cls, text: str) -> str:
        depots.names(text)
        return text

    @field_validator("admission_shards")
    @classmethod
    def _they_exist(cls, text: str, info: ValidationInfo) -> str:
        if "shards" in info.data:  # else its own fault is told
            chosen(text, info.data["shards"])
        return text
