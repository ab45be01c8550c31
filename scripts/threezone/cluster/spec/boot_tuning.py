"""What makes a control plane come up sooner, without taking anything from it. Pure.

What each is worth was seen on two cores, between the start of kind and a lab that is up (40 s without any).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from threezone.cluster.spec.declared import Declared, Overlay

KNOWS_ECDSA_GATE = 36  # the last minor version that is known to; it goes with kubeadm's v1beta3, which kind writes
PATCHES = "/kind/threezone-patches"  # in the node
# kubeadm lets a start-up probe wait ten seconds, and ten more after every failure (cmd/kubeadm/app/util/staticpod), so
# that the pods of a working control plane count as not Ready. 240 s in all, as kubeadm has it.
_PROBE = {"initialDelaySeconds": 0, "periodSeconds": 1, "failureThreshold": 240}
_STATIC = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")


def files() -> Mapping[str, str]:
    """What the node image has to have for `overlay`: kubeadm's patches by path. A cluster that names none uses none."""
    return {
        f"{PATCHES}/{name}+strategic.json": json.dumps(
            {"spec": {"containers": [{"name": name, "startupProbe": _PROBE}]}}
        )
        for name in _STATIC
    }


def overlay(declared: Declared, kubernetes_minor: int) -> Overlay:
    """The patches that come before the file's own, which overrule every value.

    No election (1 s): one that comes before the roles are there is tried again 2 s later. More requests (4 s):
    controllers spend their 20 in a second on tokens for their accounts. ECDSA keys (2 s) instead of RSA. Probes that
    ask each second (up to 10 s).
    """
    manager = {"kube-api-qps": "200", "kube-api-burst": "400"}
    cluster: dict[str, Any] = {"kind": "ClusterConfiguration", "controllerManager": {"extraArgs": manager}}
    controllers = f"controllers that may ask {manager['kube-api-qps']} times a second"
    if declared.control_planes == 1:  # nobody to elect
        manager["leader-elect"] = "false"
        cluster["scheduler"] = {"extraArgs": {"leader-elect": "false"}}
        controllers += " and hold no election"
    said = ["start-up probes every second", controllers]
    if kubernetes_minor <= KNOWS_ECDSA_GATE:
        cluster["featureGates"] = {"PublicKeysECDSA": True}
        said.append("ECDSA keys")
    probes = [{"kind": kind, "patches": {"directory": PATCHES}} for kind in ("InitConfiguration", "JoinConfiguration")]
    defaults = tuple(json.dumps(each) for each in (cluster, *probes))
    return Overlay(f"for a quick start: {', '.join(said)}", defaults=defaults)
