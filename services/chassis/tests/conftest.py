"""A database with the chassis' tables for each test that asks for one."""

import pytest

from zb_chassis.migrate import CHASSIS_MIGRATIONS, MigrationSet


@pytest.fixture(scope="session")
def migrations() -> tuple[MigrationSet, ...]:
    return (CHASSIS_MIGRATIONS,)
