"""Live clusters for the tests of drift: the nodes and files that kind makes from a declaration."""

from __future__ import annotations

import json
from typing import Any

from threezone.clients.kind import BALANCER
from threezone.cluster.drift import last_applied, merge_patch
from threezone.cluster.drift.fields import networking
from threezone.cluster.drift.live import Files, LiveCluster, LiveNode
from threezone.cluster.drift.rows import declared_nodes

EVERYWHERE = "0.0.0.0"  # noqa: S104  as docker shows it
KUBERNETES = "v1.35.0"
KUBEADM, KUBELET, PROXY = "kubeadm.k8s.io/v1beta3", "kubelet.config.k8s.io/v1beta1", "kubeproxy.config.k8s.io/v1alpha1"


def kubeadm(config: dict[str, Any], node: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """What kind writes to /kind/kubeadm.conf (pkg/cluster/internal/kubeadm/config.go), as far as it matters here."""
    chosen = networking(config)
    gates = {"featureGates": config["featureGates"]} if config.get("featureGates") else {}
    runtime = ",".join(f"{key}={value}" for key, value in sorted((config.get("runtimeConfig") or {}).items()))
    documents: list[dict[str, Any]] = [
        {
            "kind": "ClusterConfiguration",
            "apiVersion": KUBEADM,
            "apiServer": {"certSANs": ["localhost"], "extraArgs": {"runtime-config": runtime}},
            "networking": {key: chosen[key] for key in ("podSubnet", "serviceSubnet")},
        },
        {"kind": "InitConfiguration", "apiVersion": KUBEADM, "bootstrapTokens": [{"token": "a-token"}]},
        {"kind": "KubeletConfiguration", "apiVersion": KUBELET, "cgroupRoot": "/kubelet", **gates},
    ]
    if chosen["kubeProxyMode"] != "none":
        documents.append(
            {"kind": "KubeProxyConfiguration", "apiVersion": PROXY, "mode": chosen["kubeProxyMode"], **gates}
        )
    both = [*(config.get("kubeadmConfigPatches") or ()), *(node.get("kubeadmConfigPatches") or ())]
    return tuple(merge_patch.kubeadm(documents, both))


def made(config: dict[str, Any], *, recorded: bool = True, api: bool = True) -> LiveCluster:
    """The cluster `lab` as kind makes it from `config`."""
    kept = last_applied.parse(last_applied.write(config, KUBERNETES)) if recorded else None
    own = config.get("networking") or {}
    door = f"{own.get('apiServerAddress') or '127.0.0.1'}:{own.get('apiServerPort') or 40000}->6443/tcp"
    declared = declared_nodes("lab", config)
    balanced = sum(1 for node in declared.values() if node["role"] == "control-plane") > 1
    nodes = []
    for name, node in declared.items():
        plane = node["role"] == "control-plane"
        ports = [f"{each.get('listenAddress') or EVERYWHERE}:{each.get('hostPort') or 40001}->{each['containerPort']}/"
                 f"{each.get('protocol', 'TCP').lower()}" for each in node.get("extraPortMappings") or ()]  # fmt: skip
        if plane:
            ports.append("127.0.0.1:40002->6443/tcp" if balanced else door)
        mounts = [f"{each['hostPath']}:{each['containerPath']}" + (":ro" if each.get("readOnly") else "")
                  for each in node.get("extraMounts") or ()]  # fmt: skip
        settings = merge_patch.containerd({"version": 2}, config.get("containerdConfigPatches") or ())
        files = Files(KUBERNETES, kubeadm(config, node), settings, kept if plane else None)
        labels = {"kubernetes.io/hostname": name, **(node.get("labels") or {})}
        nodes.append(
            LiveNode(
                name,
                node["role"],
                "running",
                tuple(sorted(ports)),
                ("/lib/modules:/lib/modules:ro", *mounts),
                ("kind",),
                " ".join(own.get("dnsSearch") or ()),
                files,
                labels if api else None,
            )
        )
    if balanced:
        nodes.append(LiveNode(f"lab-{BALANCER}", BALANCER, "running", (door,), networks=("kind",)))
    return LiveCluster("lab", tuple(nodes))


def copied(config: dict[str, Any]) -> dict[str, Any]:
    """A copy, to be changed."""
    return dict(json.loads(json.dumps(config)))
