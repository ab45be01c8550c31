from pathlib import Path

import pytest

from threezone import adopted, paths
from threezone.adopted import Adopted
from threezone.errors import ClusterError

DESKTOP = Adopted("docker-desktop", ("https://kubernetes.docker.internal:6443", ""), ("https://x:6443", "kubernetes"))


def test_what_is_adopted_belongs_to_one_project(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert (adopted.read(here), adopted.context(here)) == (None, "")
    adopted.write(here, DESKTOP)
    adopted.write(there, Adopted("a/managed one"))
    assert (adopted.read(here), adopted.read(there)) == (DESKTOP, Adopted("a/managed one"))
    assert [path.stat().st_mode & 0o777 for path in (paths.state_dir() / "adopted").iterdir()] == [0o600, 0o600]


def test_what_is_given_back_leaves_nothing(tmp_path: Path) -> None:
    adopted.write(tmp_path, DESKTOP)
    adopted.write(tmp_path / "other", DESKTOP)
    adopted.forget(tmp_path)
    assert adopted.context(tmp_path / "other") == "docker-desktop"
    adopted.forget(tmp_path / "other")
    adopted.forget(tmp_path / "other")
    assert list(paths.state_dir().iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"context": "x"}', '{"context": "x", "before": 1, "written": [1]}'])
def test_a_record_that_cannot_be_read_adopts_nothing(tmp_path: Path, text: str) -> None:
    adopted.write(tmp_path, DESKTOP)
    (file,) = (paths.state_dir() / "adopted").iterdir()
    file.write_text(text)
    assert adopted.read(tmp_path) is None


def test_an_adopted_cluster_is_neither_made_nor_deleted(tmp_path: Path) -> None:
    adopted.refuse(tmp_path)
    adopted.write(tmp_path, DESKTOP)
    with pytest.raises(ClusterError, match="context docker-desktop is adopted, not ours") as refused:
        adopted.refuse(tmp_path)
    assert "--name NAME" in refused.value.fix
    assert "cluster.adopt --remove" in refused.value.fix
