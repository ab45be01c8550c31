"""The patches that make a control plane start sooner, without taking anything from it. Pure.

The savings were measured on two cores, from the start of kind to a usable lab (40 s without any patch).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from threezone.cluster.spec.declared import Declared, Overlay
from threezone.cluster.spec.version_notes import V1BETA3

KNOWS_ECDSA_GATE = 36  # the last minor version that does; the gate ends with kubeadm's v1beta3, which kind writes
PATCHES = "/kind/threezone-patches"  # in the node
# kubeadm lets a start-up probe wait ten seconds, and ten more after every failure (cmd/kubeadm/app/util/staticpod), so
# that the pods of a working control plane are not Ready. 240 s in all, as with kubeadm.
_PROBE = {"initialDelaySeconds": 0, "periodSeconds": 1, "failureThreshold": 240}
_STATIC_PODS = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def files() -> Mapping[str, str]:
    """The files that the node image needs for `overlay`: kubeadm's patches by path. Other clusters ignore them."""
    return {
        f"{PATCHES}/{name}+strategic.json": json.dumps(
            {"spec": {"containers": [{"name": name, "startupProbe": _PROBE}]}}
        )
        for name in _STATIC_PODS
    }


def overlay(declared: Declared, kubernetes_minor: int, kubeadm_api: str = V1BETA3) -> Overlay:
    """The patches that precede the file's own, which overrule every value.

    No leader election (1 s): one that comes before its roles exist is tried again 2 s later. More requests (4 s):
    controllers spend their 20 per second on tokens for their accounts. ECDSA keys (2 s) instead of RSA. Probes every
    second (up to 10 s).

    From v1beta4 on, arguments are a list, of which a merge patch replaces all that kind writes: there, only the probes.
    """
    probes = [{"kind": kind, "patches": {"directory": PATCHES}} for kind in ("InitConfiguration", "JoinConfiguration")]
    if kubeadm_api != V1BETA3:
        return Overlay("for a quick start: start-up probes every second", defaults=tuple(map(json.dumps, probes)))
    manager = {"kube-api-qps": "200", "kube-api-burst": "400"}
    cluster: dict[str, Any] = {"kind": "ClusterConfiguration", "controllerManager": {"extraArgs": manager}}
    controllers = f"controllers that may send {manager['kube-api-qps']} requests a second"
    if declared.control_planes == 1:
        manager["leader-elect"] = "false"
        cluster["scheduler"] = {"extraArgs": {"leader-elect": "false"}}
        controllers += " and hold no election"
    parts = ["start-up probes every second", controllers]
    if kubernetes_minor <= KNOWS_ECDSA_GATE:
        cluster["featureGates"] = {"PublicKeysECDSA": True}
        parts.append("ECDSA keys")
    return Overlay(f"for a quick start: {', '.join(parts)}", defaults=tuple(map(json.dumps, (cluster, *probes))))
