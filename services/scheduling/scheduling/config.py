"""The settings of scheduling, read once, and the migrations of its database. Environment prefix: ZB_SCHEDULING_."""

from typing import Final

from zb_chassis.migrate import MigrationSet

MIGRATIONS: Final = MigrationSet("scheduling", "scheduling")
