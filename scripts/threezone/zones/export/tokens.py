"""Short-lived tokens for exports, instead of the administrator's key, by the TokenRequest API.

Every role has a service account of its own: with one account for all, each token would have every role.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass, field

from threezone.clients.kubernetes.api import Api, Refused
from threezone.core import redaction
from threezone.core.errors import ClusterError, UsageError

NAMESPACE = "kube-system"
_ACCOUNTS = "/api/v1/namespaces/{namespace}/serviceaccounts"
_RBAC = "/apis/rbac.authorization.k8s.io/v1"
_LABELS = {"app.kubernetes.io/name": "threezone-export", "app.kubernetes.io/managed-by": "threezone"}
_SELECTOR = ",".join(f"{key}={value}" for key, value in _LABELS.items())
_HOUR = 3600
_LONGEST = 24 * 365  # hours


@dataclass(frozen=True)
class Token:
    """A token, its service account, and its end as set by the server (RFC 3339, UTC)."""

    account: str
    ends: str
    value: str = field(repr=False)


def request(api: Api, role: str, hours: int) -> Token:
    """Return a token for the cluster role `role` that lasts `hours`, or as long as the server allows.

    Creates the service account and its binding if needed. Raises UsageError for a role that does not exist.
    """
    checked_hours(hours)
    if (
        not re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,200}[a-z0-9])?", role)
        or api.get(f"{_RBAC}/clusterroles/{role}") is None
    ):
        raise UsageError(f"the cluster has no role {role!r} that a token could have", fix="kubectl get clusterroles")
    name = f"threezone-export-{role}"
    head = {"metadata": {"name": name, "labels": _LABELS}}
    account = {"kind": "ServiceAccount", "name": name, "namespace": NAMESPACE}
    api.apply(f"{_ACCOUNTS.format(namespace=NAMESPACE)}/{name}", {"apiVersion": "v1", "kind": "ServiceAccount", **head})
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
    return issue(api, NAMESPACE, name, hours)


def of_account(api: Api, namespace: str, name: str, hours: int) -> Token:
    """Return a token of an existing service account. Raises UsageError for a missing account, and too many hours."""
    checked_hours(hours)
    path = f"{_ACCOUNTS.format(namespace=namespace)}/{name}"
    if not all(re.fullmatch(r"[a-z0-9]([a-z0-9.-]{0,250}[a-z0-9])?", part) for part in (namespace, name)) or (
        api.get(path) is None
    ):
        raise UsageError(
            f"the cluster has no service account {namespace}/{name}", fix="kubectl get serviceaccounts --all-namespaces"
        )
    return issue(api, namespace, name, hours)


def issue(api: Api, namespace: str, account: str, hours: int) -> Token:
    """Return a token of an existing service account, for `hours` or as long as the server allows."""
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": hours * _HOUR},
    }
    path = f"{_ACCOUNTS.format(namespace=namespace)}/{account}"
    status = api.send("POST", f"{path}/token", body).get("status") or {}
    value = str(status.get("token") or "")
    if not value:
        raise ClusterError(f"the API server made no token for {namespace}/{account}")
    redaction.keep_secret(value)
    return Token(f"{namespace}/{account}", str(status.get("expirationTimestamp") or ""), value)


def ours(api: Api) -> tuple[str, ...]:
    """Return the names of the service accounts that `request` created."""
    listed = api.get(_ACCOUNTS.format(namespace=NAMESPACE), labelSelector=_SELECTOR) or {}
    return tuple(sorted(account["metadata"]["name"] for account in listed.get("items") or []))


def revoke(api: Api, name: str) -> None:
    """Delete a service account of ours with its binding. Its tokens become void within ten seconds."""
    for path in (f"{_RBAC}/clusterrolebindings/{name}", f"{_ACCOUNTS.format(namespace=NAMESPACE)}/{name}"):
        with suppress(Refused):  # somebody else deleted it meanwhile
            api.send("DELETE", path)


def sentence(token: Token, role: str = "") -> str:
    """A sentence with the token's account and end, and how to end it earlier."""
    namespace, _, account = token.account.partition("/")
    return (
        f"a token of the service account {token.account}{role}, until {token.ends}; "
        f"to end it earlier (within ten seconds): kubectl --namespace {namespace} delete serviceaccount {account}"
    )


def checked_hours(hours: int) -> int:
    """Return the hours. Raises UsageError unless they are from one hour to a year."""
    if not 1 <= hours <= _LONGEST:
        raise UsageError(f"--hours {hours}: a token lasts from one hour to a year")
    return hours
