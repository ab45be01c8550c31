"""Every field of kind's cluster file with its type: one table that all checks use. Pure data.

The names and types are kind's v1alpha4 (kind, pkg/apis/config/v1alpha4/types.go).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

API_VERSION = "kind.x-k8s.io/v1alpha4"
CONTROL_PLANE, WORKER = "control-plane", "worker"
# The documents of the kubeadm configuration that kind writes (pkg/cluster/internal/kubeadm/config.go), and their
# versions: kind silently drops a patch of another kind.
PATCHED = {
    "ClusterConfiguration": "kubeadm.k8s.io/v1beta3",
    "InitConfiguration": "kubeadm.k8s.io/v1beta3",
    "JoinConfiguration": "kubeadm.k8s.io/v1beta3",
    "KubeletConfiguration": "kubelet.config.k8s.io/v1beta1",
    "KubeProxyConfiguration": "kubeproxy.config.k8s.io/v1alpha1",
}


@dataclass(frozen=True)
class Scalar:
    """One value. `choices` are all that kind accepts, in any case if `any_case`."""

    of: Literal["text", "number", "flag"] = "text"
    choices: tuple[str, ...] = ()
    any_case: bool = False

    @property
    def expected(self) -> str:
        """The expected value, for an error message."""
        if self.choices:
            return "one of " + ", ".join(self.choices)
        return {"text": "text", "number": "a number", "flag": "true or false"}[self.of]


@dataclass(frozen=True)
class Names:
    """A mapping whose keys are the user's: labels, feature gates."""

    of: Scalar


TEXT, NUMBER, FLAG = Scalar(), Scalar("number"), Scalar("flag")

PATCH_6902: dict[str, Any] = {"group": TEXT, "version": TEXT, "kind": TEXT, "patch": TEXT}
MOUNT: dict[str, Any] = {
    "hostPath": TEXT,
    "containerPath": TEXT,
    "readOnly": FLAG,
    "selinuxRelabel": FLAG,
    "propagation": Scalar(choices=("None", "HostToContainer", "Bidirectional")),
}
PORT: dict[str, Any] = {
    "containerPort": NUMBER,
    "hostPort": NUMBER,
    "listenAddress": TEXT,
    "protocol": Scalar(choices=("TCP", "UDP", "SCTP"), any_case=True),
}
NODE: dict[str, Any] = {
    "role": Scalar(choices=(CONTROL_PLANE, WORKER)),
    "image": TEXT,
    "labels": Names(TEXT),
    "extraMounts": [MOUNT],
    "extraPortMappings": [PORT],
    "kubeadmConfigPatches": [TEXT],
    "kubeadmConfigPatchesJSON6902": [PATCH_6902],
}
CLUSTER: dict[str, Any] = {
    "kind": TEXT,
    "apiVersion": TEXT,
    "name": TEXT,
    "nodes": [NODE],
    "networking": {
        "ipFamily": Scalar(choices=("ipv4", "ipv6", "dual")),
        "apiServerPort": NUMBER,
        "apiServerAddress": TEXT,
        "podSubnet": TEXT,
        "serviceSubnet": TEXT,
        "disableDefaultCNI": FLAG,
        "kubeProxyMode": Scalar(choices=("iptables", "ipvs", "nftables", "none")),
        "dnsSearch": [TEXT],
    },
    "featureGates": Names(FLAG),
    "runtimeConfig": Names(TEXT),
    "kubeadmConfigPatches": [TEXT],
    "kubeadmConfigPatchesJSON6902": [PATCH_6902],
    "containerdConfigPatches": [TEXT],
    "containerdConfigPatchesJSON6902": [TEXT],
}


def parents(name: str, table: dict[str, Any] = CLUSTER, above: str = "") -> Iterator[str]:
    """The places in the table with a field of this name, as a user writes them: `nodes[].labels`."""
    for key, value in table.items():
        if key == name:
            yield above or "the top level"
        inner, suffix = (value[0], "[]") if isinstance(value, list) else (value, "")
        if isinstance(inner, dict):
            yield from parents(name, inner, f"{above}.{key}{suffix}".lstrip("."))
