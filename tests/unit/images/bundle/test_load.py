"""Which bundles fit a project, and which images of them count as up to date."""

from pathlib import Path

import pytest

from threezone.core.errors import UsageError
from threezone.images import build, engine_images
from threezone.images.bundle import record
from threezone.images.bundle.format import FORMAT, BundledImage, BundledTool, Manifest, Member
from threezone.images.bundle.load import require_fit
from threezone.images.bundle.save import CHANNEL, IMAGES, TOOLS, platform
from threezone.images.engine_images import Image
from threezone.toolchain import install

NAMES = build.names_for("")


def manifest(**changes: object) -> Manifest:
    """A bundle that fits, with changes."""
    tools = {name: BundledTool("1.0", min(install.cache_keys(name))) for name in install.NAMES}
    images = {
        reference: BundledImage("of another machine", build.inputs(name, CHANNEL))
        for name in NAMES
        for reference in build.references(name, CHANNEL)
    }
    members = {name: Member("0" * 64, 1, 1) for name in (IMAGES, TOOLS)}
    whole = {"tools": tools, "images": images, "members": members, "platform": platform(), **changes}
    return Manifest(format=FORMAT, threezone="0.1.0", **whole)  # type: ignore[arg-type]


def test_a_bundle_of_the_same_pins_fits(tmp_path: Path) -> None:
    require_fit(manifest(), NAMES, tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"platform": "plan9-amd64"},
        {"members": {}},
        {"tools": {}},
        {"tools": {name: BundledTool("1.0", "another key") for name in install.NAMES}},
        {"images": {}},
        {"images": {name: BundledImage("r", "other inputs") for name in manifest().images}},
    ],
    ids=["platform", "members", "no tools", "other tools", "no images", "other inputs"],
)
def test_another_one_is_refused(tmp_path: Path, changes: dict[str, object]) -> None:
    with pytest.raises(UsageError) as refused:
        require_fit(manifest(**changes), NAMES, tmp_path)
    assert "bundle.save" in refused.value.fix


@pytest.mark.parametrize(
    ("label", "inputs", "present"),
    [("of another machine", None, True), ("of another machine", "older pins", False), ("of nobody", None, False)],
    ids=["as recorded", "recorded for other pins", "not recorded"],
)
def test_an_image_of_another_machine_counts_if_a_bundle_brought_it(
    monkeypatch: pytest.MonkeyPatch, label: str, inputs: str | None, *, present: bool
) -> None:
    (reference,) = build.references("node", CHANNEL)
    image = Image(reference, "sha256:1", 1, label)
    monkeypatch.setattr(engine_images, "inspect", lambda _: {reference: image})
    assert build.observe(("node",), CHANNEL) == {}
    key = build.inputs("node", CHANNEL) if inputs is None else inputs
    record.add({reference: BundledImage("of another machine", key)})
    assert (build.observe(("node",), CHANNEL) == {"node": (image,)}) is present


def test_the_record_of_an_earlier_bundle_stays() -> None:
    first, second = {"a:1": BundledImage("1", "1")}, {"b:1": BundledImage("2", "2")}
    assert record.accepted() == {}
    record.add(first)
    record.add(second)
    assert record.accepted() == {**first, **second}
