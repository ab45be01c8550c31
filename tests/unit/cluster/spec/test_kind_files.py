"""Broken cluster files, each with its error, and valid ones, which must all pass."""

from pathlib import Path

import pytest
import yaml

from threezone.cluster.spec import declared
from threezone.core.errors import UsageError

KIND = Path(__file__).parent / "fixtures" / "kind"
BROKEN = dict(line.split(":", 1) for line in (KIND / "broken" / "sentences.txt").read_text().splitlines())


def files(folder: str) -> list[Path]:
    return sorted((KIND / folder).glob("*.yaml"))


@pytest.mark.parametrize("file", files("broken"), ids=lambda file: file.stem)
def test_a_broken_file_is_refused_with_one_sentence(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(file.parent)
    with pytest.raises(UsageError) as caught:
        declared.declare(Path(file.name))
    assert caught.value.message == f"{file.name}:{BROKEN[file.name]}"


def test_every_broken_file_has_its_sentence_and_every_sentence_its_file() -> None:
    assert {file.name for file in files("broken")} == set(BROKEN)
    assert len(BROKEN) >= 40


@pytest.mark.parametrize("file", files("valid"), ids=lambda file: file.stem)
def test_a_valid_file_passes_and_its_content_is_kept(file: Path) -> None:
    seen = declared.declare(file)
    given = yaml.safe_load(declared.with_overlays(seen, "lab", []))
    assert given == {**seen.content, "name": "lab"}
    assert declared.parse(yaml.safe_dump(given), file).content == given, "what kind is given is valid itself"


def test_values_become_what_kinds_decoder_makes_of_them() -> None:
    content = declared.declare(KIND / "valid" / "everything.yaml").content
    assert content["featureGates"] == {"FeatureGateName": True, "CSIMigration": False}
    assert content["runtimeConfig"] == {"api/alpha": "false", "batch/v2alpha1": "false"}
    assert content["networking"]["apiServerPort"] == 6443
    assert content["networking"]["disableDefaultCNI"] is True
    plane, worker, nothing, empty = content["nodes"]
    assert plane["labels"] == {"tier": "1", "topology.kubernetes.io/zone": "here", "node.kubernetes.io/pool": ""}
    assert (worker["role"], worker["labels"], worker["image"]) == ("worker", plane["labels"], plane["image"])
    assert worker["extraPortMappings"][2]["protocol"] == "UDP"
    assert (nothing, empty) == ({}, {})


NUMBERS = {"0o17": 15, "017": 15, "1_000": 1000, "0x10": 16, "0b11": 3, "1e3": 1000, "1.0": 1, "+5": 5, "08": 8}


@pytest.mark.parametrize(("text", "number"), [*NUMBERS.items(), ('!!int "5"', 5)])
def test_a_number_is_read_in_every_spelling_that_kind_takes(text: str, number: int) -> None:
    head = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnetworking:\n  apiServerPort: "
    assert declared.parse(f"{head}{text}\n", Path("kind.yaml")).api_port == number


@pytest.mark.parametrize("text", ["'5'", "!!str 5", "1.5", ".inf", "1:30", "port", "[5]"])
def test_other_values_are_not_numbers(text: str) -> None:
    with pytest.raises(UsageError, match=r"kind\.yaml:4: networking\.apiServerPort: expected a number, found "):
        test_a_number_is_read_in_every_spelling_that_kind_takes(text, 0)
