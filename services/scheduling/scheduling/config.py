"""The settings of scheduling, read once, and the migrations of its database. Environment prefix: ZB_SCHEDULING_."""

from typing import Annotated, Final

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from scheduling.planning import Policy
from zb_chassis.config import ServiceSettings
from zb_chassis.migrate import CHASSIS_MIGRATIONS, MigrationSet

SERVICE: Final = "scheduling"
OWN_MIGRATIONS: Final = MigrationSet(SERVICE, "scheduling")
MIGRATIONS: Final = (CHASSIS_MIGRATIONS, OWN_MIGRATIONS)
CUSTODY_MIGRATIONS: Final = (MigrationSet("custody", "scheduling.custody"),)
"""Those of the database of data subjects' keys."""


class Settings(ServiceSettings):
    """What scheduling is told beside what every service is told."""

    model_config = SettingsConfigDict(env_prefix="ZB_SCHEDULING_", frozen=True, extra="ignore")

    custody_url: str = Field(repr=False)
    """The database of data subjects' keys: another than `database_url`, with another owner and shorter-lived backups."""
    policy_version: int = Field(default=1, ge=1)
    field_may_set: tuple[Annotated[str, Field(pattern=r"^[a-z_]{1,64}$")], ...] = ()
    """Office fields on which a proposal of the field stands directly, as a JSON list: `["planned_start"]`."""
    duration_min_default: int = Field(default=60, ge=1, le=20_160)
    """What a plan assumes of an intervention that says nothing about its length."""

    @property
    def policy(self) -> Policy:
        return Policy(self.policy_version, self.field_may_set, self.duration_min_default)
