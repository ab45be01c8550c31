"""Fixtures of the campaigns: those of the e2e tests, with a lab that is not shared."""

from tests.e2e.conftest import alone, by_hand, make_project, project

__all__ = ["alone", "by_hand", "make_project", "project"]
