"""The settings of the billing bridge, read once, and the migrations of its database. Environment prefix: ZB_BILLING_."""

from pathlib import Path
from typing import Final

from pydantic_settings import SettingsConfigDict

from zb_chassis.config import ServiceSettings
from zb_chassis.migrate import MigrationSet

SERVICE: Final = "billing-bridge"
MIGRATIONS: Final = MigrationSet("billing", "billing_bridge")


class Settings(ServiceSettings):
    """What the bridge is told beyond what every service is told."""

    model_config = SettingsConfigDict(env_prefix="ZB_BILLING_", frozen=True, extra="ignore")

    out_dir: Path | None = None
    """Where the ERP fetches its files; `out` in the data folder unless told otherwise."""

    @property
    def delivery_dir(self) -> Path:
        return self.out_dir or self.data_dir / "out"
