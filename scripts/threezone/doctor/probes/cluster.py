"""Probes of the declared cluster, of its containers, and of what its API server lists."""

from __future__ import annotations

import base64
import json
from contextlib import suppress
from functools import partial
from pathlib import Path

from threezone.clients.kind import kubeconfig as kind_kubeconfig
from threezone.clients.kubernetes.api import Api, Forbidden, Refused, Unauthorized
from threezone.cluster import lifecycle, preflight
from threezone.cluster.lab import Lab, api_of
from threezone.core import names
from threezone.core.errors import ClusterError, EngineError, ToolError, UsageError
from threezone.delivery import git_server
from threezone.doctor.facts import Cluster, Declared, Json, World
from threezone.flux import objects
from threezone.kubeconfig import document
from threezone.toolchain import install
from threezone.zones import kubeconfig_entry

DEPLOYMENTS = "/apis/apps/v1/deployments"
DAEMONSETS = "/apis/apps/v1/namespaces/kube-system/daemonsets"
TMPFS = ("/tmp/", "/dev/shm", "/run/")  # noqa: S108  what is looked for in patches


def declared(lab: Lab) -> Declared:
    """The declared cluster, and who listens on the port of its API. Raises UsageError for a broken file."""
    spec = lab.declared
    address, port = spec.api_address, spec.api_port
    taken = port > 0 and preflight.is_taken(address, port)
    roles = [str(node.get("role", "control-plane")) for node in spec.nodes]
    text = json.dumps(spec.content, default=str).replace('\\"', '"')
    return Declared(
        address,
        port,
        str(spec.networking.get("ipFamily") or "ipv4"),
        names.too_long(lab.name, roles),
        preflight.holder(port) if taken else "",
        any(f"dataDir: {place}" in text or f'dataDir": "{place}' in text for place in TMPFS),
    )


def observe(name: str) -> Cluster | None:
    """The cluster's containers; None when the engine does not answer, which the engine's own probe explains."""
    try:
        observed = lifecycle.observe(name)
    except (EngineError, ToolError):
        return None
    return Cluster(observed.state, observed.nodes, observed.lease.sentence if observed.lease else "")


def authority(name: str, root: Path) -> str | None:
    """The SHA-256 of the running cluster's CA, None when it cannot be read. The kubeconfig is not kept: it has keys."""
    kind = install.find("kind", root=root)
    answer = kind_kubeconfig(kind.path, name) if kind else None
    if answer is None or answer.exit_code != 0:
        return None
    entry = document.entry(document.parse(answer.stdout.encode(), "kind's kubeconfig"), f"kind-{name}")
    return kubeconfig_entry.ca_fingerprint(entry) if entry else None


def world(lab: Lab) -> World | None:
    """What the API server lists; None without an entry or an answer, which the route's proof explains.

    Raises Refused where the user may not list something: nothing can be said then.
    """
    try:
        entry = kubeconfig_entry.find(lab.context)
        api = api_of(entry) if entry else None
    except UsageError:
        return None
    if api is None:
        return None
    try:
        return _world(api, lab)
    except Unauthorized:
        return None
    except Refused:
        raise
    except ClusterError:
        return None
    finally:
        api.close()


def _world(api: Api, lab: Lab) -> World:
    listed = partial(_items, api)
    kubernetes = str((api.get("/version") or {}).get("gitVersion", ""))
    kinds = objects.discover(api)
    deployments = listed(DEPLOYMENTS)
    has_git = any(item["metadata"]["namespace"] == git_server.NAMESPACE for item in deployments)
    secret, same = _password(api, lab) if has_git else (None, None)
    return World(
        kubernetes,
        listed(lifecycle.NODES),
        listed("/api/v1/namespaces"),
        listed("/api/v1/pods"),
        deployments,
        listed(DAEMONSETS),
        objects.observe(api, kinds),
        bool(kinds),
        secret,
        same,
    )


def _items(api: Api, path: str) -> list[Json]:
    return list((api.get(path) or {}).get("items") or [])


def _password(api: Api, lab: Lab) -> tuple[bool | None, bool | None]:
    """Whether the Secret exists, and whether the file here has its password; None for what cannot be read."""
    try:
        secret = api.get(f"{git_server.CORE}/secrets/git-password")
    except Forbidden:
        return None, None
    file = git_server.password_file(lab.key)
    if secret is None or not file.is_file():
        return secret is not None, None
    with suppress(OSError, ValueError, KeyError, TypeError):
        return True, base64.b64decode(secret["data"]["password"]) == file.read_bytes()
    return True, False
