"""The kubeconfig of a cluster whose first control plane does not run: kind asks that one alone.

Every control plane has the same administrator's file, and the balancer publishes the API as long as it runs.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from threezone.clients.docker import containers
from threezone.clients.kind import BALANCER, Node

ADMIN = "/etc/kubernetes/admin.conf"


def kubeconfig(nodes: Sequence[Node]) -> str:
    """What kind would print, from another control plane that runs; "" when there is none, or no balancer.

    The text holds keys: never log it.
    """
    planes = [node for node in nodes if node.role == "control-plane"]
    running = [node for node in planes if node.state == "running"]
    server = endpoint(nodes)
    if len(planes) == 1 or not running or not server:
        return ""
    seen = containers.execute(running[0].container, "cat", ADMIN, check=False)
    return as_kind(seen.stdout, nodes[0].cluster, server) if seen.exit_code == 0 else ""


def endpoint(nodes: Sequence[Node]) -> str:
    """The address of the API that the balancer publishes, as a URL; "" when it publishes none. Pure."""
    return next((f"https://{node.published}" for node in nodes if node.role == BALANCER and node.published), "")


def as_kind(admin: str, cluster: str, server: str) -> str:
    """The administrator's file of kubeadm with kind's names in it (kind, KINDFromRawKubeadm). JSON is YAML. Pure."""
    import yaml

    name = f"kind-{cluster}"
    seen = yaml.safe_load(admin)
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {**seen["clusters"][0]["cluster"], "server": server}}],
            "users": [{"name": name, "user": seen["users"][0]["user"]}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
            "current-context": name,
        }
    )
