"""Sentences of the plan on what versions of kind and Kubernetes drop, deprecate or do differently."""

from pathlib import Path

import pytest

from threezone.cluster.spec import declared
from threezone.cluster.spec.version_notes import V1BETA3, V1BETA4, kubeadm_api, version_notes

HEAD = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
PATCH = "kubeadmConfigPatches:\n- |\n  kind: {}\n  apiVersion: {}\n"
BY_JSON = (
    "kubeadmConfigPatchesJSON6902:\n- group: kubeadm.k8s.io\n  version: {}\n"
    "  kind: ClusterConfiguration\n  patch: '[]'\n"
)
PROXY = "kubeadmConfigPatches:\n- |\n  kind: KubeProxyConfiguration\n  mode: {}\n"
THREE = "nodes: [{role: control-plane}, {role: control-plane}, {role: control-plane}]\n"


def notes(text: str, kind: str, minor: int) -> tuple[str, ...]:
    return version_notes(declared.parse(HEAD + text, Path("kind.yaml")), kind, minor)


@pytest.mark.parametrize(
    ("kind", "minor", "api"),
    [("0.31.0", 35, V1BETA3), ("0.31.0", 36, V1BETA3), ("0.32.0", 35, V1BETA3), ("0.32.0", 36, V1BETA4),
     ("0.33.0", 37, V1BETA4)],
)  # fmt: skip
def test_the_version_of_kubeadms_configuration(kind: str, minor: int, api: str) -> None:
    assert kubeadm_api(kind, minor) == api
    other = V1BETA4 if api == V1BETA3 else V1BETA3
    for text in (PATCH.format("InitConfiguration", other), BY_JSON.format(other.partition("/")[2])):
        (sentence,) = notes(text, kind, minor)
        assert "kind.yaml:" in sentence
        assert other in sentence
        assert f"as {api} for Kubernetes 1.{minor}" in sentence
    assert notes(PATCH.format("InitConfiguration", api), kind, minor) == ()
    assert notes("kubeadmConfigPatches:\n- |\n  kind: ClusterConfiguration\n", kind, minor) == ()


def test_a_patch_of_the_kubelets_configuration_has_its_own_version() -> None:
    assert notes(PATCH.format("KubeletConfiguration", "kubelet.config.k8s.io/v1beta1"), "0.33.0", 37) == ()
    (sentence,) = notes(PATCH.format("KubeletConfiguration", "kubelet.config.k8s.io/v1"), "0.33.0", 37)
    assert "kubelet.config.k8s.io/v1beta1" in sentence


@pytest.mark.parametrize("text", ["networking: {kubeProxyMode: ipvs}\n", PROXY.format("ipvs")])
def test_ipvs_is_deprecated_since_1_35(text: str) -> None:
    (sentence,) = notes(text, "0.31.0", 35)
    assert "KEP-5495" in sentence
    assert "kind.yaml:" in sentence
    assert "nftables" in sentence
    assert notes(text, "0.31.0", 34) == ()
    assert notes(text.replace("ipvs", "nftables"), "0.31.0", 35) == ()


def test_a_newer_kind_has_another_balancer() -> None:
    assert notes(THREE, "0.31.0", 35) == ()
    (sentence,) = notes(THREE, "0.32.0", 35)
    assert "Envoy" in sentence
    assert notes("", "0.32.0", 35) == ()


def test_a_node_image_of_a_newer_kinds_release_is_told() -> None:
    seen = declared.parse(HEAD, Path("kind.yaml"))
    (sentence,) = version_notes(seen, "0.31.0", 36, image_of="0.32.0")
    assert "set tools.kind.version in local/pins.toml to 0.32.0 or newer" in sentence
    assert version_notes(seen, "0.33.0", 36, image_of="0.32.0") == ()
    assert version_notes(seen, "0.31.0", 36) == ()
