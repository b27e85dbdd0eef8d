"""Real servers for every test of the workspace: one fixture a server, wherever the test lies."""

pytest_plugins = ["tests.fixtures.postgres", "tests.fixtures.broker"]
