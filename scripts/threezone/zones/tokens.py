"""A short-lived login of its own for an export, instead of the administrator's key: the TokenRequest API.

Every role has a service account of its own: one account would lend the most powerful role to every token of it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from threezone import process
from threezone.errors import ClusterError, UsageError
from threezone.kube.client import Api

NAMESPACE = "kube-system"
_ACCOUNTS = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_LABELS = {"app.kubernetes.io/name": "threezone-export", "app.kubernetes.io/managed-by": "threezone"}
_HOUR = 3600


@dataclass(frozen=True)
class Token:
    """A token, whose it is, and its end as the server set it (RFC 3339, UTC)."""

    account: str
    ends: str
    value: str = field(repr=False)


def request(api: Api, role: str, hours: int) -> Token:
    """A token for the cluster role `role` that lasts `hours`, or as long as the server allows.

    Makes the service account and its binding when they are not there. Raises UsageError for a role that does not exist.
    """
    if not 1 <= hours <= 24 * 365:
        raise UsageError(f"--hours {hours}: a token lasts from one hour to a year")
    if (
        not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?", role)
        or api.get(f"{_RBAC}/clusterroles/{role}") is None
    ):
        raise UsageError(f"the cluster has no role {role!r} that a token could have", fix="kubectl get clusterroles")
    name = f"threezone-export-{role}"
    head = {"metadata": {"name": name, "labels": _LABELS}}
    account = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
    api.apply(f"{_ACCOUNTS}/{name}", {"apiVersion": "v1", "kind": "ServiceAccount", **head})
    api.apply(
        f"{_RBAC}/clusterrolebindings/{name}",
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            **head,
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [account],
        },
    )
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": hours * _HOUR},
    }
    status = api.send("POST", f"{_ACCOUNTS}/{name}/token", body).get("status") or {}
    value = str(status.get("token") or "")
    if not value:
        raise ClusterError(f"the API server made no token for {NAMESPACE}/{name}")
    process.keep_secret(value)
    return Token(f"{NAMESPACE}/{name}", str(status.get("expirationTimestamp") or ""), value)
