"""Check Flux and what it needs: each check has a result, evidence from the API server, and a fix."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import condition
from threezone.core.errors import DeliveryError
from threezone.core.versions import dotted, parse
from threezone.flux import installation, objects
from threezone.flux.components import LABELLED, REQUIRED
from threezone.flux.installation import Installation
from threezone.flux.manifests import COLLECTIONS
from threezone.flux.objects import CONTROLLERS, SOURCES
from threezone.flux.status import State, state

# The oldest Kubernetes that a Flux works on (flux2, cmd/flux/check.go: kubernetesConstraints at that version).
KUBERNETES: dict[tuple[int, int], tuple[int, int]] = {
    (2, 3): (1, 28),
    (2, 7): (1, 32),
    (2, 8): (1, 33),
    (2, 9): (1, 33),
}
INSTALL = "./run invoke flux.install"


@dataclass(frozen=True)
class Check:
    """One check: whether it passed, its evidence (`found`), and a fix."""

    name: str
    ok: bool
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Facts:
    """The facts that the checks need."""

    kubernetes: str  # the API server's version, such as v1.35.0
    tool: str  # the flux CLI's version without v; "" when there is none
    installation: Installation | None
    definitions: Sequence[Json] = ()
    pods: Sequence[Json] = ()
    states: Sequence[State] = ()


def observe(api: Api, tool: str) -> Facts:
    """Read all facts. `tool` is the version of the flux CLI that is used here, "" for none."""
    kubernetes = str((api.get("/version") or {}).get("gitVersion", ""))
    flux = installation.observe(api)
    if flux is None:
        return Facts(kubernetes, tool, None)
    definitions = (api.get(COLLECTIONS["CustomResourceDefinition"], labelSelector=LABELLED) or {}).get("items") or []
    path = f"/api/v1/namespaces/{flux.namespace}/pods"
    of_flux = (api.get(path, labelSelector=LABELLED) or {}).get("items") or [] if flux.namespace else []
    return Facts(kubernetes, tool, flux, definitions, of_flux, tuple(map(state, objects.observe(api))))


def checks(facts: Facts) -> tuple[Check, ...]:
    """All checks, each after those that it depends on. Pure."""
    flux = facts.installation
    if flux is None:
        return (_kubernetes(facts.kubernetes, ""), Check("installed", False, "there is no Flux", INSTALL))
    same = not facts.tool or parse(facts.tool).series == parse(flux.version).series
    tool = f"v{facts.tool}; the cluster has Flux {flux.version}"
    return (
        _kubernetes(facts.kubernetes, flux.version),
        Check("flux CLI", same, tool if facts.tool else "not installed; ./run invoke tools.install brings it", INSTALL),
        _installed(flux),
        *_definitions(flux, facts.definitions),
        *_controllers(flux, facts.pods),
        *_sources(facts.states),
    )


def _kubernetes(server: str, flux: str) -> Check:
    oldest = KUBERNETES.get(parse(flux).series)
    if oldest is None:
        unknown = f"{server}; threezone does not know what Flux {flux} needs" if flux else server
        return Check("kubernetes", True, unknown)
    wanted = dotted(oldest)
    return Check(
        "kubernetes",
        parse(server) >= oldest,
        f"{server}; Flux {flux} needs {wanted} or newer",
        f"create a cluster of Kubernetes {wanted} or newer",
    )


def _installed(flux: Installation) -> Check:
    if not flux.components:
        return Check("installed", False, f"only the resource definitions of Flux {flux.version} exist", INSTALL)
    absent = [name for name in REQUIRED if name not in flux.names]
    without = f"; without {', '.join(absent)}" if absent else ""
    words = f"Flux {flux.version} in {flux.namespace}, installed by {flux.installer}{without}"
    return Check("installed", not absent, words, INSTALL)


def _definitions(flux: Installation, definitions: Sequence[Json]) -> Iterator[Check]:
    """Each resource definition is established and serves every stored version; every group has one."""
    for definition in sorted(definitions, key=lambda item: str(item["metadata"]["name"])):
        versions = (definition.get("spec") or {}).get("versions") or []
        served = [str(version["name"]) for version in versions if version.get("served")]
        stored = (definition.get("status") or {}).get("storedVersions") or []
        unserved = ", ".join(str(name) for name in stored if name not in served)
        established = condition(definition, "Established").get("status") == "True"
        words = f"serves {', '.join(served) or 'nothing'}"
        words += f"; objects are stored as {unserved}, which is not served" if unserved else ""
        words += "" if established else "; not established"
        ok = established and bool(served) and not unserved
        yield Check(f"definition {definition['metadata']['name']}", ok, words, "flux migrate" if unserved else INSTALL)
    groups = {str((definition.get("spec") or {}).get("group")) for definition in definitions}
    for group, controller in CONTROLLERS.items():
        if controller in flux.names and group not in groups:
            yield Check(f"definitions of {controller}", False, f"there is none in {group}", INSTALL)


def _controllers(flux: Installation, of_flux: Sequence[Json]) -> Iterator[Check]:
    for part in flux.components:
        own = [pod for pod in of_flux if (pod["metadata"].get("labels") or {}).get("app") == part.name]
        troubles = "; ".join(filter(None, map(pods.problem, own))) or "it has no pod that is ready"
        fix = f"kubectl -n {flux.namespace} describe deployment {part.name}; {INSTALL} restores it"
        yield Check(part.name, part.ready, part.image if part.ready else f"not rolled out: {troubles}", fix)


def _sources(states: Sequence[State]) -> Iterator[Check]:
    for source in states:
        if source.kind not in (*SOURCES, "HelmChart") or source.ready is None:
            continue
        words = source.revision if source.ready else f"{source.reason}: {source.message}".strip(": ")
        if source.suspended:
            words = f"suspended at {source.revision or 'nothing'}"
        name = f"{source.kind.lower()}/{source.name}"
        fix = f"./run invoke flux.reconcile --object {name} --namespace {source.namespace}"
        yield Check(source.what, not source.failing, words, fix)


def require(results: Sequence[Check]) -> None:
    """Raise DeliveryError with the first reason when a check failed."""
    failed = [check for check in results if not check.ok]
    if failed:
        raise DeliveryError(
            f"{failed[0].name}: {failed[0].found}",
            evidence="\n".join(f"{check.name}: {check.found}" for check in failed[1:]),
            fix=failed[0].fix,
        )
