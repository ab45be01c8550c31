"""Names of images, and files for containers."""

from __future__ import annotations

import io
import tarfile

import pytest

from threezone.images import engine_images


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("threezone/hello:1", "docker.io/threezone/hello:1"),
        ("ghcr.io/fluxcd/flux:v1", "ghcr.io/fluxcd/flux:v1"),
        ("localhost:5000/a:1", "localhost:5000/a:1"),
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
