"""The add-ons: manifests of the project, checked by the real API server, and declared for the next commit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from threezone.clients import kubectl
from threezone.clients.kubernetes.api import Api, Json
from threezone.cluster.lab import Lab
from threezone.core import redaction
from threezone.core.errors import CommandFailed, EngineError, ToolError, UsageError
from threezone.core.events import note, step
from threezone.core.files import read_text, write_atomic
from threezone.extras import templates
from threezone.extras.addons import manifests
from threezone.extras.addons.manifests import Artifact
from threezone.toolchain import channel, golang

# The definitions of the Gateway API that Traefik 3.6 implements (its go.mod requires the same version).
GATEWAY_API = ("sigs.k8s.io/gateway-api", "v1.4.0")
CRDS = f"{manifests.HOME}/ingress/crds"
AGENT, SECRET = "gitlab-agent", "gitlab-agent-token"
DEFAULT_NAMESPACE = "default"
_OURS = {"app.kubernetes.io/managed-by": "threezone"}
_FLUX = "kustomize.toolkit.fluxcd.io/name"  # kustomize-controller puts it on everything that it applies
_TOKEN_SIZE = 4096  # characters; GitLab's have less than a hundred


@dataclass(frozen=True)
class Checked:
    """The API server's answer: the objects that it accepts, and those whose kind comes with the add-on."""

    accepted: tuple[str, ...]
    unknown: tuple[str, ...]


def directory(lab: Lab, name: str) -> Path:
    """The directory of an add-on's manifests in the project; if it has none, ours are copied there."""
    path = lab.root / manifests.HOME / name
    if not path.is_dir():
        for each in templates.below(f"{manifests.HOME}/{name}"):
            write_atomic(lab.root / each, templates.read(each), None)
        note(f"wrote {manifests.HOME}/{name}, which the commit has to have")
    return path


def rendered(lab: Lab, path: Path) -> tuple[Json, ...]:
    """The objects of a kustomization. Raises UsageError with kubectl's message."""
    import yaml

    try:
        text = kubectl.render(lab.tools["kubectl"], path)
    except CommandFailed as error:
        raise UsageError(f"{path} is not a working kustomization", evidence=error.tail, fix="correct it") from None
    return tuple(item for item in yaml.safe_load_all(text) if item)


def check(lab: Lab, objects: Sequence[Json]) -> Checked:
    """Have the API server check every object as if it were applied (server-side dry run); nothing is changed.

    An object whose namespace comes with the add-on is checked in the namespace `default`. Raises UsageError with the
    server's message for an object that it refuses.
    """
    kinds = _kinds(lab.api)
    known = [item for item in objects if (item["apiVersion"], item["kind"]) in kinds]
    unknown = tuple(_title(item) for item in objects if (item["apiVersion"], item["kind"]) not in kinds)
    namespaces = {item["metadata"]["name"] for item in _items(lab.api, "/api/v1/namespaces")}
    documents = [json.dumps(_in_existing_namespace(item, namespaces)) for item in known]
    with step(f"have the API server check {len(known)} objects") as running:
        if known:
            text = "\n---\n".join(documents)
            done = kubectl.check(lab.tools["kubectl"], lab.context, text, "threezone-check")
            if done.exit_code != 0:
                raise UsageError("the API server refuses these manifests", evidence=done.stderr, fix="correct them")
        rest = f", {len(unknown)} of kinds that it does not know" if unknown else ""
        running.result = f"{len(known)} accepted{rest}"
    return Checked(tuple(map(_title, known)), unknown)


def _kinds(api: Api) -> set[tuple[str, str]]:
    """The kinds that the server knows, as (apiVersion, kind)."""
    groups = (api.get("/apis") or {}).get("groups") or []
    paths = {version["groupVersion"]: "/apis" for group in groups for version in group["versions"]}
    return {
        (version, resource["kind"])
        for version, prefix in {"v1": "/api", **paths}.items()
        for resource in (api.get(f"{prefix}/{version}") or {}).get("resources") or []
        if "/" not in resource["name"]
    }


def _items(api: Api, path: str) -> list[Json]:
    return (api.get(path) or {}).get("items") or []


def _in_existing_namespace(item: Json, namespaces: set[str]) -> Json:
    metadata = item["metadata"]
    if metadata.get("namespace", "") in {"", *namespaces}:
        return item
    return {**item, "metadata": {**metadata, "namespace": DEFAULT_NAMESPACE}}


def _title(item: Json) -> str:
    metadata = item["metadata"]
    return f"{item['kind']} {'/'.join(filter(None, (metadata.get('namespace', ''), metadata['name'])))}"


def unavailable(lab: Lab, objects: Iterable[Json]) -> dict[Artifact, str]:
    """The artifacts that the cluster needs and cannot fetch in this channel, each with the reason.

    An image that a node has already is not fetched. In the channel `release` the registries are asked from here.
    """
    # Each node reports the fifty largest of its images, by the kubelet's default.
    nodes = _items(lab.api, "/api/v1/nodes")
    images = [image for node in nodes for image in (node.get("status") or {}).get("images") or []]
    present = {name for image in images for name in image.get("names") or []}
    wanted = [item for item in manifests.artifacts(objects) if not (item.kind == "image" and item.name in present)]
    if not wanted:
        return {}
    if _from_source(lab):
        image = "it is not built from source here, and no node has it"
        return {item: image if item.kind == "image" else "charts are not built from source" for item in wanted}
    reasons = channel.why_not([item.url for item in wanted])
    return {item: reasons[item.url] for item in wanted if reasons[item.url]}


def _from_source(lab: Lab) -> bool:
    try:
        return lab.channel == "source"
    except EngineError:
        return False  # without an engine nothing is built here; the cluster may still pull


def require(missing: dict[Artifact, str], name: str) -> None:
    """Raise ToolError with the name of everything that is missing."""
    if not missing:
        return
    images = [item.name for item in missing if item.kind == "image"]
    load = f"bring it to the engine (docker load) and then: ./run invoke image.load --images {','.join(images)}"
    raise ToolError(
        f"{name} is not declared: {' and '.join(item.title for item in missing)} is not available in this channel",
        evidence="\n".join(f"{item.title}: {reason}" for item, reason in missing.items()),
        fix=load if images else "where the chart's host is reachable: --channel release",
    )


def file(lab: Lab) -> Path:
    """The kustomization that Flux reconciles."""
    return manifests.kustomization(lab.root / lab.settings.gitops.path)


def declare(lab: Lab, paths: Sequence[Path]) -> bool:
    """Name these directories in the kustomization that Flux reconciles; False when it does already."""
    target = file(lab)
    text = target.read_text(encoding="utf-8")
    return _write(target, text, manifests.with_resources(text, [manifests.line(target, path) for path in paths]))


def withdraw(lab: Lab, name: str) -> bool:
    """Remove an add-on, with everything below its directory, from that kustomization; False when it is not in it."""
    target = file(lab)
    home = (lab.root / manifests.HOME / name).resolve()
    text = target.read_text(encoding="utf-8")
    gone = [line for line in manifests.declared(text) if (target.parent / line).resolve().is_relative_to(home)]
    return _write(target, text, manifests.without_resources(text, gone))


def _write(target: Path, before: str, after: str) -> bool:
    if before != after:
        write_atomic(target, after, None)
    return before != after


def definitions(lab: Lab) -> Path:
    """The definitions of the Gateway API, in the project: published files, verified by their module's checksum."""
    target = lab.root / CRDS
    if (target / manifests.FILES[0]).is_file():
        return target
    module, version = GATEWAY_API
    with step(f"get the definitions of the Gateway API {version}") as running:
        published = golang.module_source(module, version) / "config" / "crd" / "standard"
        target.mkdir(parents=True, exist_ok=True)
        names = sorted(path.name for path in published.glob("*.yaml"))
        for name in names:
            shutil.copyfile(published / name, target / name)
        lines = [
            f"# The standard definitions of {module} {version}, as published.",
            "apiVersion: kustomize.config.k8s.io/v1beta1",
            "kind: Kustomization",
            "resources:",
            *(f"  - {name}" for name in names),
        ]
        # Written last: its presence means that the directory is complete.
        write_atomic(target / manifests.FILES[0], "\n".join(lines) + "\n", None)
        running.result = f"{len(names)} files in {CRDS}"
    return target


def agent_token(api: Api, path: Path) -> None:
    """Copy the GitLab agent's token from a file into the cluster's Secret; it is never in an argument or a commit.

    Raises UsageError for a file that cannot be read, or whose content is no token.
    """
    value = read_text(path, fix="name the file with the token").strip()
    redaction.keep_secret(value)
    if not value or len(value) > _TOKEN_SIZE or any(character.isspace() for character in value):
        raise UsageError(f"{path} holds no token: one word was expected", fix="copy the agent's token into it, alone")
    if path.stat().st_mode & 0o077:
        note(f"{path} holds a token and others may read it: chmod 600 {path}")
    namespace = f"/api/v1/namespaces/{AGENT}"
    head = {"name": AGENT, "labels": dict(_OURS)}
    api.apply(namespace, {"apiVersion": "v1", "kind": "Namespace", "metadata": head})
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {**head, "name": SECRET, "namespace": AGENT}}
    api.apply(f"{namespace}/secrets/{SECRET}", {**secret, "stringData": {"token": value}})


def forget_agent(api: Api) -> bool:
    """Remove that Secret, with its namespace unless Flux manages it; False when there is nothing of ours."""
    namespace = f"/api/v1/namespaces/{AGENT}"
    for path in (namespace, f"{namespace}/secrets/{SECRET}"):
        labels = ((api.get(path) or {}).get("metadata") or {}).get("labels") or {}
        if labels.items() >= _OURS.items() and not (path == namespace and _FLUX in labels):
            api.send("DELETE", path)
            return True
    return False
