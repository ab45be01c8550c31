"""kube-proxy: whether a Service's address leads to its pods by now. A ready pod is not enough for that.

kube-proxy writes its rules up to a second after the endpoints are there. A request before that leaves the node for an
address that belongs to nobody; where a transparent proxy answers for every address, its 404 is taken for the Service's,
and the connection is kept for the next tries.
"""

from __future__ import annotations

import json
import time
from datetime import datetime

from threezone.clients.kubernetes.api import Api
from threezone.core.errors import ClusterError

NODES = "/api/v1/nodes"
HEALTH = NODES + "/{node}:10256/proxy/healthz"  # kube-proxy's --healthz-bind-address
_AGAIN = 0.1  # seconds; it has no watch


def settled(api: Api, *, seconds: float = 10.0) -> None:
    """Wait until no node's kube-proxy has changes to write, at most `seconds`.

    Where kube-proxy does not answer (another program does its work, or we may not ask nodes) nothing is waited for.
    """
    deadline = time.monotonic() + seconds
    for node in (api.get(NODES) or {}).get("items") or []:
        path = HEALTH.format(node=node["metadata"]["name"])
        while time.monotonic() < deadline and _asked(api, path):
            time.sleep(_AGAIN)


def _asked(api: Api, path: str) -> bool:
    try:
        return pending(api.text(path))
    except ClusterError:
        return False


def pending(answer: str) -> bool:
    """Whether kube-proxy's health says that changes wait to be written. Pure.

    Without any its `lastUpdated` is the present moment, taken just after `currentTime` (kubernetes,
    pkg/proxy/healthcheck/proxy_health.go).
    """
    try:
        seen = json.loads(answer)
        return datetime.fromisoformat(seen["lastUpdated"]) < datetime.fromisoformat(seen["currentTime"])
    except (ValueError, KeyError, TypeError):
        return False
