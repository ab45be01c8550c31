"""The long campaigns use the fixtures of the e2e tests, on a lab of their own."""

from tests.e2e.conftest import by_hand, make_project, project

__all__ = ["by_hand", "make_project", "project"]
