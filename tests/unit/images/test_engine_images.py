"""Names of images, and files for containers."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

import pytest

from threezone.clients.docker import containers, images
from threezone.core import labels
from threezone.images import engine_images


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("threezone/hello:1", "docker.io/threezone/hello:1"),
        ("ghcr.io/fluxcd/flux:v1", "ghcr.io/fluxcd/flux:v1"),
        ("localhost:5000/a:1", "localhost:5000/a:1"),
        ("app:1", "docker.io/library/app:1"),
        ("app", "docker.io/library/app:latest"),
        ("localhost/app:1", "localhost/app:1"),
        ("ghcr.io/a/b", "ghcr.io/a/b:latest"),
        ("team/app@sha256:ab", "docker.io/team/app@sha256:ab"),
    ],
)
def test_names_as_containerd_has_them(reference: str, full: str) -> None:
    assert engine_images.full(reference) == full


def test_files_are_packed_as_one_archive_owned_by_root() -> None:
    files = {"/kind/patches/etcd.json": "{}", "etc/containerd/certs.d/a/hosts.toml": "ü"}
    with tarfile.open(fileobj=io.BytesIO(engine_images.packed(files))) as tar:
        assert tar.getnames() == ["kind/patches/etcd.json", "etc/containerd/certs.d/a/hosts.toml"]
        assert {(member.uid, member.mode) for member in tar} == {(0, 0o644)}
        assert [found.read().decode() for member in tar if (found := tar.extractfile(member))] == ["{}", "ü"]


def test_images_are_unpacked_under_their_full_names_and_committed_with_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits: list[Sequence[str]] = []
    scripts: list[str] = []
    saved: list[str] = []
    monkeypatch.setattr(images, "save", lambda _, *names, **__: saved.extend(names))
    monkeypatch.setattr(containers, "temporary", lambda *_: nullcontext())
    monkeypatch.setattr(containers, "put", lambda *_, **__: None)
    monkeypatch.setattr(containers, "execute", lambda *_, stdin, **__: scripts.append(stdin))
    monkeypatch.setattr(containers, "commit", lambda *given, **__: commits.append(given[2]))
    engine_images.unpack(
        "base",
        "threezone/preloaded:1",
        "container",
        {"threezone/preload:0": ("threezone/hello:1", "ghcr.io/a/b:2")},
        directory=tmp_path,
        script="preloaded/import-more",
        changes=["CMD []"],
        made_from="recipe",
        seconds=60,
    )
    assert saved == ["threezone/preload:0"]
    assert (tmp_path / "names").read_text().splitlines() == [
        "docker.io/threezone/preload:0 docker.io/threezone/hello:1",
        "docker.io/threezone/preload:0 ghcr.io/a/b:2",
    ]
    assert scripts == [(engine_images.RECIPES / "preloaded/import-more").read_text()]
    assert commits == [["CMD []", f"LABEL {labels.MANAGED}=true {engine_images.RECIPE}=recipe"]]
