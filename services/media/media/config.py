"""The settings of media, read once, and the migrations of its database. Environment prefix: ZB_MEDIA_."""

from pathlib import Path
from typing import Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from media.uploads import Limits
from zb_chassis.config import ServiceSettings
from zb_chassis.migrate import MigrationSet

SERVICE: Final = "media"
MIGRATIONS: Final = MigrationSet("media", "media")
MIB: Final = 1 << 20
GIB: Final = 1 << 30


class Settings(ServiceSettings):
    """What media is told beyond what every service is told."""

    model_config = SettingsConfigDict(env_prefix="ZB_MEDIA_", frozen=True, extra="ignore")

    upload_bytes_max: int = Field(default=256 * MIB, ge=1, le=2**31)
    part_bytes_max: int = Field(default=8 * MIB, ge=64 * 1024, le=32 * MIB)
    """A part is held in memory while its proof is checked."""
    uploads_unfinished_max: int = Field(default=200, ge=1, le=10_000)
    """For each device."""
    stored_bytes_max: int = Field(default=16 * GIB, ge=1)
    """For each device, within `stored_days`: a month of a technician's photos is a twentieth of it."""
    stored_days: int = Field(default=30, ge=1, le=3_660)
    upload_expiry_s: int = Field(default=14 * 86_400, ge=60)
    """Unfinished uploads are dropped after this long without a part; the device has the bytes still."""

    @property
    def limits(self) -> Limits:
        return Limits(
            upload_bytes_max=self.upload_bytes_max,
            part_bytes_max=self.part_bytes_max,
            unfinished_max=self.uploads_unfinished_max,
            expiry_s=self.upload_expiry_s,
            stored_bytes_max=self.stored_bytes_max,
            stored_days=self.stored_days,
        )

    @property
    def files_dir(self) -> Path:
        return self.data_dir / "files"
