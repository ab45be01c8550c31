"""Which node image a Kubernetes version means, and what is said where it cannot be had."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from threezone.cluster.version_skew import SUPPORTED_BY_KIND
from threezone.core import pins
from threezone.core.errors import UsageError
from threezone.core.versions import parse
from threezone.images import build
from threezone.images.versions import (
    Images,
    images,
    key_of,
    kind_of,
    node_for,
    require_controllers,
    require_digest,
    require_parts,
)
from threezone.toolchain import golang, kubernetes


def test_no_version_the_own_minor_and_the_own_version_mean_the_projects_node() -> None:
    own = images().node
    assert own == node_for("") == node_for("1.35") == node_for("v1.35.0")
    assert require_digest(own, "0.31.0").startswith("sha256:")


def test_a_minor_version_means_its_pinned_patch() -> None:
    node = node_for("1.34")
    assert node == node_for("1.34.3") == node_for("v1.34.3")
    assert (node.version, node.parts.etcd, node.parts.coredns) == ("1.34.3", "3.6.5", "1.12.1")
    assert node.parts.containerd == images().node.parts.containerd
    assert require_digest(node, "0.31.0") != images().node.digest
    require_parts(node)


def test_a_minor_version_means_the_newest_of_several_patches() -> None:
    known = images()
    patches = {"1.34.9": known.kubernetes["1.34.3"], "1.34.10": known.kubernetes["1.34.3"]}
    both: Images = msgspec.structs.replace(known, kubernetes=patches)
    assert node_for("1.34", both).version == "1.34.10"


def test_an_unpinned_patch_has_the_parts_of_its_minor_version_and_no_digest() -> None:
    node = node_for("1.34.4")
    require_parts(node)
    assert node.parts == node_for("1.34").parts
    with pytest.raises(
        UsageError, match=r"no digest is pinned for docker\.io/kindest/node:v1\.34\.4: it is not in kind 0\.31\.0's own"
    ):
        require_digest(node, "0.31.0")
    with pytest.raises(UsageError) as caught:
        require_digest(node_for("1.36"), "0.31.0")
    assert 'images.kubernetes."1.36.3".digest to local/pins.toml' in caught.value.fix
    assert caught.value.fix.endswith("; or name one with a digest: --kubernetes 1.36.1")
    assert (kind_of("1.36.1"), kind_of("1.37.0"), kind_of("1.35.0")) == ("0.32.0", "0.33.0", "")
    assert "imagetools inspect docker.io/kindest/node:v1.36.3" in (caught.value.evidence or "")


def test_a_version_without_parts_is_not_built() -> None:
    node = node_for("1.33")
    assert require_digest(node, "0.31.0")
    with pytest.raises(UsageError, match=r"the etcd and the coredns that Kubernetes 1\.33\.7 asks for") as caught:
        require_parts(node)
    assert "--channel release" in caught.value.fix


@pytest.mark.parametrize("asked", ["latest", "1", "2.0", "1.34.x", "1.34.3-rc.1", "1.34.3.1"])
def test_invalid_versions_are_refused(asked: str) -> None:
    with pytest.raises(UsageError, match="is not a version of Kubernetes"):
        node_for(asked)


def test_a_minor_version_without_a_pin_is_refused_with_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match=r"no patch version of Kubernetes 1\.20 is pinned; known are 1\.31\.14, .*1\.36\.3"
    ):
        node_for("1.20")


def test_a_project_pins_a_version_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "local").mkdir()
    digest = "sha256:" + "a" * 64
    (tmp_path / "local/pins.toml").write_text(f'[images.kubernetes."1.36.3"]\ndigest = "{digest}"\n')
    (tmp_path / "tasks.py").touch()
    monkeypatch.chdir(tmp_path)
    assert require_digest(node_for("1.36"), "0.31.0") == digest
    assert node_for("1.36").parts.etcd == "3.6.8", "what is not given there is kept"


def test_the_key_of_a_versions_parts() -> None:
    assert key_of("1.35.0") == "images.node.parts"
    assert key_of("1.34.3") == 'images.kubernetes."1.34.3"'


def test_the_balancer_has_the_name_that_the_pinned_kind_asks_for() -> None:
    assert pins.tools().kind.version == "0.31.0", "look into kind's pkg/cluster/internal/loadbalancer for another"
    assert re.fullmatch(r"docker\.io/kindest/haproxy:v20251211-\S+", images().balancer.release)


@pytest.mark.parametrize("minor", ["1.34", "1.35", "1.36"])
def test_the_modules_of_buildable_versions_are_pinned(minor: str) -> None:
    node = node_for(minor)
    require_parts(node)
    pinned = golang._pinned()
    program = kubernetes.description("kubelet", node.version)
    used = [f"{program.module} {program.version}", *(new.replace("@", " ") for _, new in program.replace)]
    used += [f"go.etcd.io/etcd/server/v3 v{node.parts.etcd}", f"github.com/coredns/coredns v{node.parts.coredns}"]
    used = [each for each in used if "sample" not in each and "code-generator" not in each]
    assert [each for each in used if f"{each}/go.mod h1:" not in pinned] == []


def test_the_text_of_the_pins_is_the_one_in_the_names_of_built_images() -> None:
    pinned = images()
    parts = str(pinned.node.parts)
    assert str(pinned.node).startswith(
        f"NodePin(version='{pinned.node.version}', release='{pinned.node.release}', digest="
    )
    assert str(pinned.node).endswith(f", parts={parts})")
    assert re.findall(r"(\w+)[(=]", parts) == [
        *("Parts", "containerd", "cni_plugins", "etcd", "coredns", "local_path_provisioner"),
    ]
    assert re.findall(r"(\w+)[(=]", str(pinned.flux)) == [
        *("FluxPin", "source_controller", "kustomize_controller", "helm_controller"),
    ]


def test_another_flux_has_the_controllers_that_its_manifests_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "tasks.py").touch()
    monkeypatch.chdir(tmp_path)
    own = images()
    (tmp_path / "invoke.yaml").write_text("threezone: {flux: {version: '2.9'}}\n")
    other = images()
    assert (other.flux.source_controller, other.flux.helm_controller) == ("1.9.5", "1.6.4")
    assert other.released.flux == (), "the cluster pulls them by the names in Flux's manifests"
    assert own.released.flux
    assert msgspec.structs.replace(other, flux=own.flux, released=own.released) == own
    require_controllers(other.flux)
    (tmp_path / "invoke.yaml").write_text("threezone: {flux: {version: 2.10.0}}\n")
    with pytest.raises(UsageError, match=r"do not name the controllers of Flux 2\.10\.0") as caught:
        build.references("flux", "source")
    assert '[images.other-flux."2.10.0"]' in (caught.value.fix or "")
    assert build.references("flux", "release") == (), "the release channel needs no images of ours"


def test_every_version_of_flux_with_checksums_has_its_controllers() -> None:
    assert set(images().other_flux) == set(pins.tools().flux.others)


def test_a_kubernetes_that_the_pinned_kind_cannot_create_names_a_kind_whose_checksums_are_known() -> None:
    oldest, newest = SUPPORTED_BY_KIND[parse(pins.tools().kind.version).series]
    for version, other in images().kubernetes.items():
        fits = oldest <= parse(version).series <= newest
        assert fits or other.kind
        assert other.kind is None or other.kind in pins.tools().kind.others
        if other.kind:
            low, high = SUPPORTED_BY_KIND[parse(other.kind).series]
            assert low <= parse(version).series <= high
