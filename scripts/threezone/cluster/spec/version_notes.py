"""What a plan says of a declared cluster for its versions of kind and Kubernetes. Pure.

Sources: kind writes v1beta4 from v0.32, for Kubernetes 1.36 and newer (pkg/cluster/internal/kubeadm/config.go), and
puts Envoy before several control planes (pkg/cluster/internal/loadbalancer/const.go); kubeadm 1.37 has no v1beta3
(kubernetes/kubernetes#136016); ipvs is deprecated since Kubernetes 1.35, and since 1.37 behind a gate that is to be off
in 1.40 (KEP-5495).
"""

from __future__ import annotations

from collections.abc import Iterator

from threezone.cluster.spec import patches
from threezone.cluster.spec.declared import Declared
from threezone.cluster.spec.schema import PATCHED
from threezone.core import versions

V1BETA3, V1BETA4 = "kubeadm.k8s.io/v1beta3", "kubeadm.k8s.io/v1beta4"
WRITES_V1BETA4, ENVOY_SINCE = (0, 32), (0, 32)
V1BETA4_FROM = 36
IPVS_DEPRECATED = 35


def kubeadm_api(kind: str, kubernetes_minor: int) -> str:
    """The version of kubeadm's configuration that a kind such as 0.31.0 writes for a Kubernetes."""
    newer = versions.parse(kind).series >= WRITES_V1BETA4
    return V1BETA4 if newer and kubernetes_minor >= V1BETA4_FROM else V1BETA3


def version_notes(declared: Declared, kind: str, kubernetes_minor: int, *, image_of: str = "") -> tuple[str, ...]:
    """Sentences on what these versions drop, deprecate or do differently.

    `image_of` is the kind in whose release the released node image is, "" for this one.
    """
    return (
        *_dropped(declared, kind, kubernetes_minor),
        *_ipvs(declared, kubernetes_minor),
        *_balancer(declared, kind),
        *_image(kind, image_of),
    )


def _image(kind: str, image_of: str) -> Iterator[str]:
    if versions.parse(image_of) > versions.parse(kind):
        yield (
            f"the released node image is that of kind {image_of}, and this is kind {kind}: set tools.kind.version in "
            f"local/pins.toml to {image_of} or newer"
        )


def _dropped(declared: Declared, kind: str, minor: int) -> Iterator[str]:
    """Patches for a version of a document that kind does not write: it drops them silently (pkg/internal/patch)."""
    written = {name: kubeadm_api(kind, minor) if api == V1BETA3 else api for name, api in PATCHED.items()}
    for patch in patches.of_kubeadm(declared.content, declared.spots):
        api = written[patch.kind]
        if patch.version and patch.version != api:
            yield (
                f"{patch.name} is for {patch.version} ({patch.place}): kind {kind} writes {patch.kind} as {api} for "
                f"Kubernetes 1.{minor}, so this patch changes nothing; name {api}, or leave the version out"
            )


def _ipvs(declared: Declared, minor: int) -> Iterator[str]:
    if minor < IPVS_DEPRECATED:
        return
    places = []
    if declared.networking.get("kubeProxyMode") == "ipvs":
        places.append(f"networking.kubeProxyMode ({declared.spots.at('networking', 'kubeProxyMode')})")
    places += [
        f"{patch.name} ({patch.place})"
        for patch in patches.of_kubeadm(declared.content, declared.spots)
        if patch.kind == "KubeProxyConfiguration" and patches.value(patch.content, "mode") == "ipvs"
    ]
    for place in places:
        yield (
            f"{place} is ipvs, which is deprecated since Kubernetes 1.{IPVS_DEPRECATED} and goes (KEP-5495): use "
            "nftables, or iptables"
        )


def _balancer(declared: Declared, kind: str) -> Iterator[str]:
    if declared.control_planes > 1 and versions.parse(kind).series >= ENVOY_SINCE:
        yield (
            f"kind {kind} puts Envoy before several control planes, where older ones put HAProxy: it pulls "
            "docker.io/envoyproxy/envoy itself, and the channel source does not have it"
        )
