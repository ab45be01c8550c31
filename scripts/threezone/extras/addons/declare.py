"""The add-ons: manifests of the project, checked by the real API server, and declared for the next commit."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from threezone.clients import kubectl
from threezone.clients.kubernetes.api import Api, Json
from threezone.cluster.lab import Lab
from threezone.core import process
from threezone.core.errors import CommandFailed, EngineError, ToolError, UsageError
from threezone.core.events import note, step
from threezone.core.files import read_text, write_atomic
from threezone.extras.addons import manifests
from threezone.extras.addons.manifests import Needed
from threezone.toolchain import channel, golang

Name = Literal["dashboard", "ingress", "agent"]

# The definitions of the Gateway API that Traefik 3.6 implements (its go.mod requires the same version).
GATEWAY_API = ("sigs.k8s.io/gateway-api", "v1.4.0")
CRDS = f"{manifests.HOME}/ingress/crds"
AGENT, SECRET = "gitlab-agent", "gitlab-agent-token"
DEFAULT_NAMESPACE = "default"
_OURS = {"app.kubernetes.io/managed-by": "threezone"}
_FLUX = "kustomize.toolkit.fluxcd.io/name"  # what kustomize-controller puts on everything that it applies
_TOKEN_SIZE = 4096  # characters; GitLab's have less than a hundred


@dataclass(frozen=True)
class Checked:
    """What the API server said of the manifests: the objects that it takes, and those whose kind comes with them."""

    accepted: tuple[str, ...]
    unknown: tuple[str, ...]


def directory(lab: Lab, name: str) -> Path:
    """Where the project has an add-on's manifests. Raises UsageError when it has none."""
    path = lab.root / manifests.HOME / name
    if not path.is_dir():
        raise UsageError(
            f"the project has no {manifests.HOME}/{name}",
            fix=f"copy {manifests.HOME} from threezone's repository, or write your own",
        )
    return path


def rendered(lab: Lab, path: Path) -> tuple[Json, ...]:
    """The objects of a kustomization. Raises UsageError with kubectl's words."""
    import yaml

    try:
        text = kubectl.render(lab.tools["kubectl"], path)
    except CommandFailed as error:
        raise UsageError(f"{path} is no kustomization that works", evidence=error.tail, fix="correct it") from None
    return tuple(each for each in yaml.safe_load_all(text) if each)


def check(lab: Lab, objects: Sequence[Json]) -> Checked:
    """Have the API server check every object as if it were applied (server-side dry run); nothing is changed.

    An object whose namespace comes with the add-on is checked in the namespace `default`. Raises UsageError with the
    server's words for what it refuses.
    """
    known = _kinds(lab.api)
    unknown = tuple(_words(each) for each in objects if (each["apiVersion"], each["kind"]) not in known)
    asked = [each for each in objects if (each["apiVersion"], each["kind"]) in known]
    there = {each["metadata"]["name"] for each in (lab.api.get("/api/v1/namespaces") or {}).get("items") or []}
    lines = [json.dumps(_placed(each, there)) for each in asked]
    where = (lab.tools["kubectl"], lab.context)
    with step(f"have the API server check {len(asked)} objects") as running:
        done = kubectl.check(*where, "\n---\n".join(lines), "threezone-check") if asked else None
        if done is not None and done.exit_code != 0:
            raise UsageError("the API server refuses these manifests", evidence=done.stderr, fix="correct them")
        running.result = f"{len(asked)} taken" + (f", {len(unknown)} of kinds that it does not know" if unknown else "")
    return Checked(tuple(map(_words, asked)), unknown)


def _kinds(api: Api) -> set[tuple[str, str]]:
    """What the server knows, as (apiVersion, kind)."""
    groups = (api.get("/apis") or {}).get("groups") or []
    versions = ["v1", *(version["groupVersion"] for group in groups for version in group["versions"])]
    found = set()
    for version in versions:
        listed = api.get(f"/api/{version}" if version == "v1" else f"/apis/{version}") or {}
        found |= {(version, each["kind"]) for each in listed.get("resources") or [] if "/" not in each["name"]}
    return found


def _placed(item: Json, there: set[str]) -> Json:
    """The object, in a namespace that is there."""
    namespace = item["metadata"].get("namespace", "")
    if not namespace or namespace in there:
        return item
    return {**item, "metadata": {**item["metadata"], "namespace": DEFAULT_NAMESPACE}}


def _words(item: Json) -> str:
    metadata = item["metadata"]
    return f"{item['kind']} {'/'.join(filter(None, (metadata.get('namespace', ''), metadata['name'])))}"


def lacking(lab: Lab, objects: Iterable[Json]) -> dict[Needed, str]:
    """What the cluster would have to fetch and cannot get by this channel, each with the reason.

    An image that a node has already is not fetched. In the channel `release` the registries are asked from here.
    """
    wanted = manifests.needed(objects)
    held = _held(lab.api)
    asked = [each for each in wanted if not (each.kind == "image" and each.name in held)]
    if not asked:
        return {}
    if _from_source(lab):
        built = "it is not built from source here, and no node has it"
        return {each: built if each.kind == "image" else "charts are not built from source" for each in asked}
    reasons = channel.why_not([each.host for each in asked])
    return {each: reasons[each.host] for each in asked if reasons[each.host]}


def _from_source(lab: Lab) -> bool:
    try:
        return lab.channel == "source"
    except EngineError:
        return False  # without an engine nothing is built here, whatever the cluster can pull


def _held(api: Api) -> set[str]:
    """The names of the images that nodes tell of (the fifty largest of each, by the kubelet's default)."""
    nodes = (api.get("/api/v1/nodes") or {}).get("items") or []
    return {
        name
        for node in nodes
        for image in (node.get("status") or {}).get("images") or []
        for name in image.get("names") or []
    }


def require(missing: dict[Needed, str], name: str) -> None:
    """Raise ToolError that names exactly what cannot be had."""
    if not missing:
        return
    images = [each.name for each in missing if each.kind == "image"]
    load = f"bring it to the engine (docker load) and then: ./run invoke image.load --images {','.join(images)}"
    raise ToolError(
        f"{name} is not declared: {' and '.join(each.words for each in missing)} cannot be had by this channel",
        evidence="\n".join(f"{each.words}: {reason}" for each, reason in missing.items()),
        fix=load if images else "where the chart's host is reachable: --channel release",
    )


def file(lab: Lab) -> Path:
    """The kustomization that Flux reconciles."""
    return manifests.kustomization(lab.root / lab.settings.gitops.path)


def declare(lab: Lab, paths: Sequence[Path]) -> bool:
    """Name these directories in the kustomization that Flux reconciles; False when it does already."""
    target = file(lab)
    text = target.read_text(encoding="utf-8")
    after = manifests.with_resources(text, [manifests.line(target, path) for path in paths])
    return _write(target, text, after)


def withdraw(lab: Lab, name: str) -> bool:
    """Take an add-on, with everything below its directory, out of that kustomization; False when it was not there."""
    target = file(lab)
    home = lab.root / manifests.HOME / name
    text = target.read_text(encoding="utf-8")
    gone = [
        each for each in manifests.declared(text) if (target.parent / each).resolve().is_relative_to(home.resolve())
    ]
    return _write(target, text, manifests.without_resources(text, gone))


def _write(target: Path, before: str, after: str) -> bool:
    if before == after:
        return False
    write_atomic(target, after, None)
    return True


def definitions(lab: Lab) -> Path:
    """The definitions of the Gateway API, in the project: published files, verified by their module's checksum."""
    target = lab.root / CRDS
    if (target / manifests.FILES[0]).is_file():
        return target
    module, version = GATEWAY_API
    with step(f"get the definitions of the Gateway API {version}") as running:
        published = golang.module_source(module, version) / "config" / "crd" / "standard"
        target.mkdir(parents=True, exist_ok=True)
        names = sorted(each.name for each in published.glob("*.yaml"))
        for name in names:
            shutil.copyfile(published / name, target / name)
        text = [f"# The standard definitions of {module} {version}, as published.", "resources:"]
        head = ["apiVersion: kustomize.config.k8s.io/v1beta1", "kind: Kustomization"]
        lines = [text[0], *head, text[1], *(f"  - {name}" for name in names)]
        write_atomic(target / manifests.FILES[0], "\n".join(lines) + "\n", None)  # last: now it is whole
        running.result = f"{len(names)} files in {CRDS}"
    return target


def agent_token(api: Api, path: Path) -> None:
    """Bring the GitLab agent's token from a file into the cluster's Secret; it stands in no argument and no commit.

    Raises UsageError for a file that cannot be read, or whose content is no token.
    """
    value = read_text(path, fix="name the file with the token").strip()
    process.keep_secret(value)
    if not value or len(value) > _TOKEN_SIZE or any(each.isspace() for each in value):
        raise UsageError(f"{path} holds no token: one word was expected", fix="copy the agent's token into it, alone")
    if path.stat().st_mode & 0o077:
        note(f"{path} holds a token and others may read it: chmod 600 {path}")
    head: dict[str, Any] = {"labels": dict(_OURS)}
    api.apply(
        f"/api/v1/namespaces/{AGENT}",
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": AGENT, "labels": dict(_OURS)}},
    )
    api.apply(
        f"/api/v1/namespaces/{AGENT}/secrets/{SECRET}",
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": SECRET, "namespace": AGENT, **head},
            "stringData": {"token": value},
        },
    )


def forget_agent(api: Api) -> bool:
    """Remove that Secret, with its namespace where Flux has not taken it over; False when there is nothing of ours."""
    namespace = f"/api/v1/namespaces/{AGENT}"
    labels = _labels(api.get(namespace))
    if labels.items() >= _OURS.items() and _FLUX not in labels:
        api.send("DELETE", namespace)
        return True
    secret = f"{namespace}/secrets/{SECRET}"
    if _labels(api.get(secret)).items() >= _OURS.items():
        api.send("DELETE", secret)
        return True
    return False


def _labels(item: Json | None) -> dict[str, str]:
    return ((item or {}).get("metadata") or {}).get("labels") or {}
