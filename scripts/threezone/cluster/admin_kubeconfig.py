"""The kubeconfig of a cluster whose first control plane does not run: kind asks that one alone.

Every control plane has the same administrator's file, and the balancer publishes the API as long as it runs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from threezone.clients.node import Node
from threezone.core import process

ADMIN = "/etc/kubernetes/admin.conf"
_PUBLISHED = re.compile(r"(\S+):(\d+)->6443/tcp")


def kubeconfig(nodes: Sequence[Node]) -> str:
    """What kind would print, from another control plane that runs; "" when there is none, or no balancer.

    The text holds keys: never log it.
    """
    planes = [node for node in nodes if node.role == "control-plane"]
    running = [node for node in planes if node.state == "running"]
    server = endpoint(nodes)
    if len(planes) == 1 or not running or not server:
        return ""
    seen = process.run(["docker", "exec", running[0].container, "cat", ADMIN], timeout=30, check=False)
    return as_kind(seen.stdout, nodes[0].cluster, server) if seen.exit_code == 0 else ""


def endpoint(nodes: Sequence[Node]) -> str:
    """The address of the API that the balancer publishes, as a URL; "" when it publishes none. Pure."""
    for node in nodes:
        found = _PUBLISHED.search(node.ports) if node.role == "external-load-balancer" else None
        if found:
            return f"https://{found[1]}:{found[2]}"
    return ""


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
