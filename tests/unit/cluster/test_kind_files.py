"""Broken cluster files, each with the one sentence that it gets, and valid ones, which must all pass."""

from pathlib import Path

import pytest
import yaml

from threezone.cluster import declared
from threezone.errors import UsageError

KIND = Path(__file__).parent / "fixtures" / "kind"
BROKEN = dict(line.split(":", 1) for line in (KIND / "broken" / "sentences.txt").read_text().splitlines())


def files(folder: str) -> list[Path]:
    return sorted((KIND / folder).glob("*.yaml"))


@pytest.mark.parametrize("file", files("broken"), ids=lambda file: file.stem)
def test_a_broken_file_gets_its_one_sentence(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    with pytest.raises(UsageError) as caught:
        declared.read(Path(file.name))
    assert caught.value.message == f"{file.name}:{BROKEN[file.name]}"


def test_every_broken_file_has_its_sentence_and_every_sentence_its_file() -> None:
    assert {file.name for file in files("broken")} == set(BROKEN)
    assert len(BROKEN) >= 40


@pytest.mark.parametrize("file", files("valid"), ids=lambda file: file.stem)
def test_a_valid_file_passes_and_its_content_is_kept(file: Path) -> None:
    seen = declared.read(file)
    given = yaml.safe_load(declared.with_overlays(seen, "lab", []))
    assert given == {**seen.content, "name": "lab"}
    assert declared.parse(yaml.safe_dump(given), file).content == given, "what kind is given is valid itself"


def test_values_become_what_kinds_decoder_makes_of_them() -> None:
    content = declared.read(KIND / "valid" / "everything.yaml").content
    assert content["featureGates"] == {"FeatureGateName": True, "CSIMigration": False}
    assert content["runtimeConfig"] == {"api/alpha": "false", "batch/v2alpha1": "false"}
    assert content["networking"]["apiServerPort"] == 6443
    assert content["networking"]["disableDefaultCNI"] is True
    plane, worker, nothing, empty = content["nodes"]
    assert plane["labels"] == {"tier": "1", "topology.kubernetes.io/zone": "here", "node.kubernetes.io/pool": ""}
    assert (worker["role"], worker["labels"], worker["image"]) == ("worker", plane["labels"], plane["image"])
    assert worker["extraPortMappings"][2]["protocol"] == "UDP"
    assert (nothing, empty) == ({}, {})
