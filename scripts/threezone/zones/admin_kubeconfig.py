"""kind's kubeconfig for a cluster, even if the first control plane does not run.

kind asks only the first one. But every control plane has the same administrator's file, and the balancer publishes the
API.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from threezone.clients import kind as kind_cli
from threezone.clients.docker import containers
from threezone.clients.kind import BALANCER, Node
from threezone.core.errors import ClusterError

ADMIN = "/etc/kubernetes/admin.conf"


def kubeconfig(cluster: str, kind: str | Path | None = None) -> str:
    """Return kind's kubeconfig for a cluster, as text with private keys: never log it. Raises ClusterError."""
    answer = kind_cli.kubeconfig(Path(kind or _kind()), cluster)
    if answer.exit_code == 0:
        return answer.stdout
    if text := from_another_control_plane(kind_cli.nodes(cluster)):
        return text
    raise ClusterError(
        f"kind has no kubeconfig for the cluster {cluster}",
        evidence=answer.stderr.strip(),
        fix=f"./run invoke cluster.create --name {cluster}",
    )


def _kind() -> Path:
    from threezone.toolchain.install import find

    tool = find("kind")
    if tool is None:
        raise ClusterError("kind is not installed", fix="./run invoke tools.install")
    return tool.path


def from_another_control_plane(nodes: Sequence[Node]) -> str:
    """Return kind's output from another running control plane; "" without one, or without a balancer.

    The text has keys: never log it.
    """
    planes = [node for node in nodes if node.role == "control-plane"]
    running = [node for node in planes if node.state == "running"]
    server = endpoint(nodes)
    if len(planes) == 1 or not running or not server:
        return ""
    answer = containers.execute(running[0].container, "cat", ADMIN, check=False)
    return as_kind(answer.stdout, nodes[0].cluster, server) if answer.exit_code == 0 else ""


def endpoint(nodes: Sequence[Node]) -> str:
    """Return the URL of the API that the balancer publishes; "" when it publishes none. Pure."""
    return next((f"https://{node.published}" for node in nodes if node.role == BALANCER and node.published), "")


def as_kind(admin: str, cluster: str, server: str) -> str:
    """Return kubeadm's admin.conf with kind's names (kind, KINDFromRawKubeadm), as JSON, which is YAML. Pure."""
    import yaml

    name = f"kind-{cluster}"
    content = yaml.safe_load(admin)
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {**content["clusters"][0]["cluster"], "server": server}}],
            "users": [{"name": name, "user": content["users"][0]["user"]}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
    )
