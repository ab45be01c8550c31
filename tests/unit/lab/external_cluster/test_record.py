from pathlib import Path

import pytest

from threezone.core import paths
from threezone.core.errors import ClusterError
from threezone.lab.external_cluster import record
from threezone.lab.external_cluster.record import Adopted

DESKTOP = Adopted("docker-desktop", ("https://kubernetes.docker.internal:6443", ""), ("https://x:6443", "kubernetes"))


def test_what_is_adopted_belongs_to_one_project(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    assert (record.read(here), record.context(here)) == (None, "")
    record.write(here, DESKTOP)
    record.write(there, Adopted("a/managed one"))
    assert (record.read(here), record.read(there)) == (DESKTOP, Adopted("a/managed one"))
    assert [path.stat().st_mode & 0o777 for path in (paths.state_dir() / "adopted").iterdir()] == [0o600, 0o600]


def test_what_is_given_back_leaves_nothing(tmp_path: Path) -> None:
    record.write(tmp_path, DESKTOP)
    record.write(tmp_path / "other", DESKTOP)
    record.forget(tmp_path)
    assert record.context(tmp_path / "other") == "docker-desktop"
    record.forget(tmp_path / "other")
    record.forget(tmp_path / "other")
    assert list(paths.state_dir().iterdir()) == []


@pytest.mark.parametrize("text", ["", "[]", "{", '{"context": "x"}', '{"context": "x", "before": 1, "written": [1]}'])
def test_a_record_that_cannot_be_read_adopts_nothing(tmp_path: Path, text: str) -> None:
    record.write(tmp_path, DESKTOP)
    (file,) = (paths.state_dir() / "adopted").iterdir()
    file.write_text(text)
    assert record.read(tmp_path) is None


def test_an_adopted_cluster_is_neither_made_nor_deleted(tmp_path: Path) -> None:
    record.refuse(tmp_path)
    record.write(tmp_path, DESKTOP)
    with pytest.raises(ClusterError, match="context docker-desktop is adopted, not ours") as refused:
        record.refuse(tmp_path)
    assert "--name NAME" in refused.value.fix
    assert "cluster.adopt --remove" in refused.value.fix
