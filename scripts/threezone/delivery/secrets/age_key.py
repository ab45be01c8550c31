"""The lab's age key: a private file outside of any repository, and a Secret with which Flux decrypts.

The file may have several identities, the newest first: older ones still read what is in Git's history. Nobody can make
it again, so nothing here removes an identity; deleting a cluster keeps the file.
"""

from __future__ import annotations

import base64
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from threezone.clients import sops as client
from threezone.clients.kubernetes.api import Api, Json
from threezone.cluster.lab import Lab
from threezone.core import paths
from threezone.core.errors import ClusterError
from threezone.core.events import note
from threezone.core.files import read_text, write_atomic
from threezone.delivery.sync import target_of

SECRET = "sops-age"  # noqa: S105  the name that Flux's documentation gives it (Manage Kubernetes secrets with SOPS)
# Flux reads every entry with this ending. Ours has a name of its own, so that an entry of the user's stays.
ENTRY = "threezone.agekey"


def file(lab: Lab) -> Path:
    """The file of the lab's identities; it may not exist."""
    return paths.cluster_dir(lab.key) / "age.key"


def secret_path(namespace: str) -> str:
    """The API path of the Secret in a namespace."""
    return f"/api/v1/namespaces/{namespace}/secrets/{SECRET}"


def program(lab: Lab) -> client.Sops:
    """The program sops for the lab's project, with the lab's key."""
    return client.Sops(lab.tool("sops"), lab.root, file(lab))


def recipients(lab: Lab) -> tuple[str, ...]:
    """The recipients of the lab's identities, the newest first; none without a key."""
    return client.recipients(lab.tool("age-keygen"), file(lab)) if file(lab).is_file() else ()


def ensure(lab: Lab) -> bool:
    """Make the key unless there is one: the one that the lab's Flux has, or a new one. Returns whether it is new."""
    with _lock(lab):
        if file(lab).is_file():
            return False
        with suppress(ClusterError):  # there is no lab yet, or none that answers
            if kept := _identities(lab.api.get(secret_path(target_of(lab).namespace))):
                write_atomic(file(lab), kept)
                return False
        write_atomic(file(lab), client.new_identity(lab.tool("age-keygen")))
        note(f"a new key for Secrets: {file(lab)}; keep a copy of it, for nobody can make it again")
        return True


def add(lab: Lab) -> None:
    """Put a new identity before those in the file."""
    with _lock(lab):
        old = read_text(file(lab))
        write_atomic(file(lab), client.new_identity(lab.tool("age-keygen")) + old)


def _lock(lab: Lab) -> AbstractContextManager[object]:
    from filelock import FileLock

    return FileLock(paths.make(file(lab).parent) / "age.lock", mode=0o600)


def name(lab: Lab, live: Json | None = None) -> str:
    """The Secret that a delivery of the lab decrypts with: with a key, or where the cluster has it; else ""."""
    return SECRET if live or file(lab).is_file() else ""


def give(lab: Lab) -> str:
    """Put the lab's key beside its delivery, and beside identities that others put there. Returns the Secret's name.

    Without a key it returns "", or the name of a Secret that is there.
    """
    namespace = target_of(lab).namespace
    live = lab.api.get(secret_path(namespace))
    if file(lab).is_file():
        _apply(lab.api, namespace, merged(read_text(file(lab)), _identities(live)))
    return name(lab, live)


def _apply(api: Api, namespace: str, identities: str) -> None:
    client.hide(identities)
    data = {ENTRY: base64.b64encode(identities.encode()).decode()}
    metadata = {"name": SECRET, "namespace": namespace}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}
    api.apply(secret_path(namespace), secret)


def _identities(secret: Json | None) -> str:
    """The identities in the Secret's entry of ours; "" without one."""
    text = base64.b64decode(((secret or {}).get("data") or {}).get(ENTRY, "")).decode()
    client.hide(text)
    return text


def merged(ours: str, theirs: str) -> str:
    """The text of our identities, with those of the other text that it lacks. Pure."""
    known = set(ours.splitlines())
    missing = [line for line in theirs.splitlines() if line and not line.startswith("#") and line not in known]
    return "\n".join([*ours.splitlines(), *missing]) + "\n"
