"""Wait until kube-proxy has written its rules, up to a second after a Service's endpoints are ready.

A request before that leaves the node for an address that does not exist. A transparent proxy may answer it with 404,
and the client would keep that connection.
"""

from __future__ import annotations

import json
import time
from datetime import datetime

from threezone.clients.kubernetes.api import Api
from threezone.core.errors import ClusterError

NODES = "/api/v1/nodes"
HEALTH = NODES + "/{node}:10256/proxy/healthz"  # kube-proxy's --healthz-bind-address
_POLL = 0.1  # seconds; it has no watch


def wait_for_rules(api: Api, *, seconds: float = 10.0) -> None:
    """Wait at most `seconds` until no node's kube-proxy has changes to write.

    A kube-proxy that does not answer (replaced by another program, or forbidden to us) is ignored.
    """
    deadline = time.monotonic() + seconds
    for node in (api.get(NODES) or {}).get("items") or []:
        path = HEALTH.format(node=node["metadata"]["name"])
        while time.monotonic() < deadline and _is_pending(api, path):
            time.sleep(_POLL)


def _is_pending(api: Api, path: str) -> bool:
    try:
        return pending(api.text(path))
    except ClusterError:
        return False


def pending(answer: str) -> bool:
    """Whether kube-proxy has changes to write, by its health check. Pure.

    Without changes, `lastUpdated` is just after `currentTime` (kubernetes, pkg/proxy/healthcheck/proxy_health.go).
    """
    try:
        health = json.loads(answer)
        return datetime.fromisoformat(health["lastUpdated"]) < datetime.fromisoformat(health["currentTime"])
    except (ValueError, KeyError, TypeError):
        return False
