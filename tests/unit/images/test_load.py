"""What a node has, and what it cannot run."""

from __future__ import annotations

import pytest

from threezone.core.errors import UsageError
from threezone.images import load
from threezone.images.engine_images import Image

ID = "sha256:" + "1" * 64


@pytest.mark.parametrize(
    ("store", "held"),
    [
        ({}, False),
        ({"docker.io/threezone/hello:1": "sha256:manifest", ID: "sha256:manifest"}, True),
        ({"docker.io/threezone/hello:1": ID}, True),
        ({"docker.io/threezone/hello:1": "sha256:older", ID: "sha256:manifest"}, False),
        ({"docker.io/threezone/hello:1": "sha256:manifest"}, False),
        ({ID: "sha256:manifest"}, False),
    ],
)
def test_a_node_has_an_image_when_name_and_content_agree(store: dict[str, str], held: bool) -> None:
    assert load.has(store, Image("threezone/hello:1", ID, 1)) is held


def test_another_architecture_is_refused_with_a_fix() -> None:
    image = Image("app:1", "sha256:1", 1, architectures=("arm64",))
    with pytest.raises(UsageError, match="app:1 is made for arm64, but the node two-worker is amd64") as caught:
        load.require_architecture([image], {"two-control-plane": "arm64", "two-worker": "amd64"})
    assert "docker pull --platform linux/amd64 app:1" in caught.value.fix
    load.require_architecture([image], {"of-an-unknown-machine": ""})
    load.require_architecture([Image("app:1", "sha256:1", 1)], {"node": "amd64"})
