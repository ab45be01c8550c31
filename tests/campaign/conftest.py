"""The long campaigns use the fixtures of the e2e tests, on a lab of their own."""

from tests.e2e.conftest import alone, by_hand, make_project, project

__all__ = ["alone", "by_hand", "make_project", "project"]
