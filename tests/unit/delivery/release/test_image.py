"""The tag by content, the name in the cluster, and arguments without values."""

from pathlib import Path
from typing import Any

import pytest

from threezone.core import redaction
from threezone.core.errors import UsageError
from threezone.delivery.release import image

DOCUMENT: dict[str, Any] = {
    "Id": "sha256:1",
    "Created": "2026-01-01",
    "Os": "linux",
    "Architecture": "amd64",
    "RootFS": {"Layers": ["sha256:a", "sha256:b"]},
    "Config": {"Cmd": ["/app"], "Env": ["A=b"], "Image": "sha256:0", "Hostname": "x"},
}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"Id": "sha256:2", "Created": "2026-02-02"}, True),
        ({"Config": {**DOCUMENT["Config"], "Image": "", "Hostname": ""}}, True),
        ({"Config": {**DOCUMENT["Config"], "Cmd": ["/other"]}}, False),
        ({"RootFS": {"Layers": ["sha256:b", "sha256:a"]}}, False),
        ({"Architecture": "arm64"}, False),
    ],
)
def test_the_tag_follows_the_content(change: dict[str, Any], same: bool) -> None:
    tag = image.content_tag(DOCUMENT)
    assert (image.content_tag({**DOCUMENT, **change}) == tag) is same
    assert tag.startswith("content-")
    assert not tag.removeprefix("content-").isspace()


@pytest.mark.parametrize(
    ("name", "old", "address", "expected"),
    [
        ("app", "", "", ""),
        ("app", "ghcr.io/team/app", "", ""),
        ("app", "localhost:5001/app", "", "app"),
        ("app", "", "localhost:5001", "localhost:5001/app"),
        ("team/app", "other", "localhost:5001", "localhost:5001/team/app"),
        ("ghcr.io/team/app", "", "localhost:5001", "localhost:5001/team/app"),
        ("localhost:5001/app", "", "localhost:5001", ""),
        ("localhost:5001/app", "other", "localhost:5001", "localhost:5001/app"),
    ],
)
def test_the_name_is_one_that_the_nodes_reach(name: str, old: str, address: str, expected: str) -> None:
    assert image.new_name(name, old, address, "localhost:5001") == expected


def test_the_value_of_an_argument_is_refused_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "Dockerfile").touch()
    monkeypatch.setenv("TOKEN", "a-secret-value")
    with pytest.raises(UsageError) as refused:
        image.source(tmp_path, "", ("TOKEN=a-secret-value",))
    assert "a-secret-value" not in f"{refused.value} {refused.value.evidence} {refused.value.fix}"
    wanted = image.source(tmp_path, "", ("TOKEN",))
    assert "a-secret-value" not in f"{wanted} {wanted.command()}"
    assert "a-secret-value" not in redaction.redact("Step 2/3 : RUN echo a-secret-value"), "the builder may print it"


@pytest.mark.parametrize(("file", "arguments"), [("none", ()), ("", ("NO_SUCH_VARIABLE",))])
def test_what_is_missing_is_named(tmp_path: Path, file: str, arguments: tuple[str, ...]) -> None:
    (tmp_path / "Dockerfile").touch()
    with pytest.raises(UsageError) as refused:
        image.source(tmp_path, file and str(tmp_path / file), arguments)
    assert (file or arguments[0]) in refused.value.message
