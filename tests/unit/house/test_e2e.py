"""The e2e tests share their clusters, and run in the order that tests/e2e/clusters.py gives."""

import re
from pathlib import Path

import pytest
from tests.e2e.clusters import FIRST, LAST, OWN, turn

FILES = {path.stem.removeprefix("test_"): path for path in (Path(__file__).parents[2] / "e2e").glob("test_*.py")}


def test_each_file_with_a_cluster_of_its_own_says_why() -> None:
    makes = re.compile(r'make_project: Callable|"create", "cluster"|"init", "--yes"')
    assert sorted(OWN) == sorted(name for name, path in FILES.items() if makes.search(path.read_text(encoding="utf-8")))
    assert all(OWN.values())


def test_the_first_and_the_last_file_exist() -> None:
    assert {FIRST, LAST} <= set(FILES)


@pytest.mark.parametrize(
    ("name", "fixtures", "expected"),
    [("ha", {"project"}, 0), ("adopt", {"by_hand"}, 1), (FIRST, {"lab"}, 2), ("zones", {"lab", "by_hand"}, 3)],
)
def test_files_run_in_the_order_of_the_clusters_that_they_use(name: str, fixtures: set[str], expected: int) -> None:
    assert turn(name, fixtures) == expected
    assert turn(name, fixtures) < turn(LAST, {"lab"})
