"""Flux's manifests: parsed, compared with the cluster, applied object by object.

Applied by server-side apply through the API, as `flux install` does it, but with a field manager of our own: it tells
our installation from somebody else's, and a dry run of the same request says what an apply would change.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from threezone.clients.kubernetes.api import Api, Json, Refused
from threezone.core import network_ca, versions
from threezone.core.errors import DeliveryError
from threezone.flux.removed_apis import GATE, gate_hurts

MANAGER = "threezone-flux"  # our field manager on everything of Flux that we install
GATE_SINCE = (2, 7)
# The collections of the kinds in Flux's manifests. Flux brings no others (manifests/ of flux2).
COLLECTIONS = {
    "Namespace": "/api/v1/namespaces",
    "ResourceQuota": "/api/v1/namespaces/{namespace}/resourcequotas",
    "ConfigMap": "/api/v1/namespaces/{namespace}/configmaps",
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "Service": "/api/v1/namespaces/{namespace}/services",
    "Deployment": "/apis/apps/v1/namespaces/{namespace}/deployments",
    "NetworkPolicy": "/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "CustomResourceDefinition": "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
}
PART = "app.kubernetes.io/part-of"
CA_CONFIG_MAP, CA_VOLUME = "threezone-network-ca", "network-ca"
CA_ANNOTATION = "threezone.io/network-ca"  # on the pods: the digest of the certificates
PROXIES_SECRET = "threezone-proxies"  # noqa: S105  a name
PROXIES_PATH = f"/api/v1/namespaces/{{namespace}}/secrets/{PROXIES_SECRET}"
INSIDE = (".svc", ".cluster.local", ".cluster.local.")  # addresses in the cluster
# What the API server writes into metadata by itself.
SERVER_FIELDS = {"managedFields", "resourceVersion", "generation", "creationTimestamp", "uid"}


@dataclass(frozen=True)
class Change:
    """One object that an apply would create or change, such as `Deployment source-controller`."""

    verb: Literal["create", "change"]
    what: str


def with_short_waits(manifest: str) -> str:
    """The manifest with shorter waits than Flux's defaults. Pure.

    kustomize-controller gives up a failing revision as soon as there is a newer one. By default it checks the health of
    the old one until spec.timeout, while the commit that heals it waits (kustomize-controller, internal/features:
    opt-in from v1.7, which is Flux 2.7; but see removed_apis.gate_hurts). And each controller's readiness is probed
    every second: Kubernetes' default is every ten (periodSeconds), and the first probe of a starting controller fails.
    """
    parts = re.split(r"^(---\n)", manifest, flags=re.MULTILINE)
    return "".join(_with_short_waits(part) for part in parts)


_READINESS = re.compile(r"^( *)readinessProbe:\n((?:\1 .*\n)*)", re.MULTILINE)
_KUSTOMIZE = re.compile(r"^kind: Deployment\nmetadata:\n(  .*\n)*?  name: kustomize-controller$", re.MULTILINE)


def _probe_each_second(probe: re.Match[str]) -> str:
    indent, rest = probe.groups()
    return probe[0] if "periodSeconds:" in rest else f"{indent}readinessProbe:\n{indent}  periodSeconds: 1\n{rest}"


def _with_short_waits(part: str) -> str:
    if re.search(r"^kind: Deployment$", part, re.MULTILINE):
        part = _READINESS.sub(_probe_each_second, part)
    label = re.search(r"^\s+app\.kubernetes\.io/version: (\S+)", part, re.MULTILINE)
    if not (_KUSTOMIZE.search(part) and label and versions.parse(label[1]) >= GATE_SINCE) or gate_hurts(label[1]):
        return part
    gate = rf"\g<0>\n\1- --feature-gates={GATE}=true"
    return re.sub(r"^( *)- --log-level=.*$", gate, part, count=1, flags=re.MULTILINE)


def with_network_ca(objects: Sequence[Json], pem: str) -> list[Json]:
    """The objects, whose controllers also trust the certificates `pem`: a ConfigMap, mounted as a file. Pure.

    A changed certificate changes the pods' template, so that they start again: a file of a subPath is never updated.
    """
    if not pem:
        return list(objects)
    namespace = next(item["metadata"]["namespace"] for item in objects if item["kind"] == "Deployment")
    metadata = {"name": CA_CONFIG_MAP, "namespace": namespace, "labels": {PART: "flux"}}
    config_map = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"ca.pem": pem}}
    changed = [_trusting(item, pem) if item["kind"] == "Deployment" else item for item in objects]
    first = next(number for number, item in enumerate(changed) if item["kind"] == "Deployment")
    return [*changed[:first], config_map, *changed[first:]]


def _trusting(deployment: Json, pem: str) -> Json:
    changed = copy.deepcopy(deployment)
    template = changed["spec"]["template"]
    digest = hashlib.sha256(pem.encode()).hexdigest()[:16]
    template["metadata"].setdefault("annotations", {})[CA_ANNOTATION] = digest
    template["spec"].setdefault("volumes", []).append({"name": CA_VOLUME, "configMap": {"name": CA_CONFIG_MAP}})
    mount = {"name": CA_VOLUME, "mountPath": network_ca.FILE, "subPath": "ca.pem", "readOnly": True}
    for container in template["spec"]["containers"]:
        container.setdefault("volumeMounts", []).append(mount)
    return changed


def with_proxies(objects: Sequence[Json], proxies: Mapping[str, str]) -> list[Json]:
    """The objects, whose controllers use these proxies: a Secret, because an address may have a password. Pure.

    Flux's own addresses end with a dot, which Go compares as it is, so that exception is added (Flux's documentation,
    "Using HTTP/S proxy for egress traffic").
    """
    if not proxies:
        return list(objects)
    exceptions = ",".join(dict.fromkeys(filter(None, [*proxies.get("NO_PROXY", "").split(","), *INSIDE])))
    data = {
        name: base64.b64encode(value.encode()).decode() for name, value in {**proxies, "NO_PROXY": exceptions}.items()
    }
    namespace = next(item["metadata"]["namespace"] for item in objects if item["kind"] == "Deployment")
    metadata = {"name": PROXIES_SECRET, "namespace": namespace, "labels": {PART: "flux"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": data}
    changed = [with_proxies_from_secret(item) for item in objects]
    first = next(number for number, item in enumerate(changed) if item["kind"] == "Deployment")
    return [*changed[:first], secret, *changed[first:]]


def proxies(secret: Json | None) -> dict[str, str]:
    """The proxies in the Secret that `with_proxies` has made; none without it. Pure."""
    data = (secret or {}).get("data") or {}
    return {name: base64.b64decode(value).decode(errors="replace") for name, value in data.items()}


def with_proxies_from_secret(item: Json) -> Json:
    """A Deployment whose containers take their proxies from the Secret, if there is one; other objects as they are."""
    if item["kind"] != "Deployment":
        return item
    changed = copy.deepcopy(item)
    for container in changed["spec"]["template"]["spec"]["containers"]:
        container.setdefault("envFrom", []).append({"secretRef": {"name": PROXIES_SECRET, "optional": True}})
    return changed


def parse(manifest: str) -> list[Json]:
    """The objects of a manifest, in its order."""
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # 8,000 lines: libyaml takes a tenth of the time
    return [document for document in yaml.load_all(manifest, loader) if document]


def version_of(item: Json) -> str:
    """Flux's version that an object is labelled with, such as v2.7.3; "" for none."""
    return str((item["metadata"].get("labels") or {}).get("app.kubernetes.io/version", ""))


def version(objects: Sequence[Json]) -> str:
    """Flux's version that the objects are labelled with."""
    return next(filter(None, map(version_of, objects)), "")


def components(objects: Sequence[Json]) -> tuple[str, ...]:
    """The names of the controllers in the objects."""
    return tuple(item["metadata"]["name"] for item in objects if item["kind"] == "Deployment")


def path(wanted: Json) -> str:
    """The API path of an object. Raises DeliveryError for an unknown kind."""
    kind, meta = wanted["kind"], wanted["metadata"]
    if kind not in COLLECTIONS:
        raise DeliveryError(f"Flux's manifests hold a {kind}, which threezone does not know: {meta['name']}")
    return f"{COLLECTIONS[kind].format(namespace=meta.get('namespace', ''))}/{meta['name']}"


def changes(api: Api, objects: Sequence[Json]) -> tuple[Change, ...]:
    """What an apply of `objects` would create or change now, by a dry run on the API server.

    Raises DeliveryError with the server's message when it would refuse one.
    """
    needed: list[Change] = []
    for wanted in objects:
        what = f"{wanted['kind']} {wanted['metadata']['name']}"
        live = api.get(path(wanted))
        # Without its namespace a dry run would be refused; an object that is being deleted will be gone when we apply.
        if live is None or "deletionTimestamp" in live["metadata"]:
            needed.append(Change("create", what))
        elif without_server_fields(live) != without_server_fields(_apply(api, wanted, dry=True)):
            needed.append(Change("change", what))
    return tuple(needed)


def apply(api: Api, objects: Sequence[Json]) -> None:
    """Apply `objects` in their order; equal ones stay untouched. Raises DeliveryError with the server's message."""
    for wanted in objects:
        _apply(api, wanted)


def _apply(api: Api, wanted: Json, *, dry: bool = False) -> Json:
    try:
        return api.apply(path(wanted), wanted, manager=MANAGER, dry=dry)
    except Refused as refused:
        raise DeliveryError(
            f"the API server refuses Flux's {wanted['kind']} {wanted['metadata']['name']}",
            evidence=refused.message,
            fix="kubectl auth can-i '*' '*' shows whether you may; flux migrate helps with old stored versions",
        ) from None


def without_server_fields(item: Json) -> Json:
    """An object without the metadata that the API server writes. Pure."""
    kept = {key: value for key, value in item["metadata"].items() if key not in SERVER_FIELDS}
    return {**item, "metadata": kept}
