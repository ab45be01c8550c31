"""Whether Flux and what it stands on are well: judged from what the API server shows, with the reason in its words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from threezone.clients.kubernetes import pods
from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import condition
from threezone.core.errors import DeliveryError
from threezone.core.versions import dotted, parse
from threezone.flux import installation as flux_installation
from threezone.flux import objects
from threezone.flux.components import LABELLED, REQUIRED
from threezone.flux.installation import Installation
from threezone.flux.manifests import PLACES
from threezone.flux.objects import CONTROLLERS, SOURCES, State

# The oldest Kubernetes that a Flux works on (flux2, cmd/flux/check.go: kubernetesConstraints at that version).
KUBERNETES: dict[tuple[int, int], tuple[int, int]] = {(2, 3): (1, 28), (2, 7): (1, 32)}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at: whether it is well, what was found, and what mends it."""

    name: str
    ok: bool
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Facts:
    """What the checks are made from."""

    kubernetes: str  # the API server's version, such as v1.35.0
    tool: str  # the flux CLI's version without v; "" when there is none
    installation: Installation | None
    definitions: Sequence[Json] = ()
    pods: Sequence[Json] = ()
    states: Sequence[State] = ()


def observe(api: Api, tool: str) -> Facts:
    """Look at everything. Changes nothing. `tool` is the version of the flux CLI that is used here, "" for none."""
    kubernetes = str((api.get("/version") or {}).get("gitVersion", ""))
    seen = flux_installation.observe(api)
    if seen is None:
        return Facts(kubernetes, tool, None)
    definitions = (api.get(PLACES["CustomResourceDefinition"], labelSelector=LABELLED) or {}).get("items") or []
    of_flux = api.get(f"/api/v1/namespaces/{seen.namespace}/pods", labelSelector=LABELLED) if seen.namespace else None
    states = tuple(objects.state(each) for each in objects.observe(api))
    return Facts(kubernetes, tool, seen, definitions, (of_flux or {}).get("items") or [], states)


def checks(facts: Facts) -> tuple[Check, ...]:
    """Every check, in the order in which one thing stands on the other. Pure."""
    seen = facts.installation
    if seen is None:
        return (_kubernetes(facts.kubernetes, ""), Check("installed", False, "there is no Flux", _install()))
    return (
        _kubernetes(facts.kubernetes, seen.version),
        _tool(facts.tool, seen.version),
        _installed(seen),
        *_definitions(seen, facts.definitions),
        *_controllers(seen, facts.pods),
        *_sources(facts.states),
    )


def _install() -> str:
    return "./run invoke flux.install"


def _kubernetes(found: str, flux: str) -> Check:
    oldest = KUBERNETES.get(parse(flux).series)
    if oldest is None:
        return Check("kubernetes", True, f"{found}; which one Flux {flux} needs is not known here" if flux else found)
    wanted = dotted(oldest)
    return Check(
        "kubernetes",
        parse(found) >= oldest,
        f"{found}; Flux {flux} needs {wanted} or newer",
        f"create a cluster of Kubernetes {wanted} or newer",
    )


def _tool(tool: str, flux: str) -> Check:
    if not tool:
        return Check("flux CLI", True, "not installed here; ./run invoke tools.install brings it")
    same = parse(tool).series == parse(flux).series
    return Check("flux CLI", same, f"v{tool}; the cluster has Flux {flux}", _install())


def _installed(seen: Installation) -> Check:
    absent = [name for name in REQUIRED if name not in seen.names]
    if not seen.components:
        return Check("installed", False, f"only the resource definitions of Flux {seen.version} are there", _install())
    found = f"Flux {seen.version} in {seen.namespace}, installed by {seen.installer}"
    return Check("installed", not absent, f"{found}; without {', '.join(absent)}" if absent else found, _install())


def _definitions(seen: Installation, definitions: Sequence[Json]) -> list[Check]:
    """Every resource definition established, and no stored version that is served no more; none missing altogether."""
    made = []
    for each in sorted(definitions, key=lambda item: str(item["metadata"]["name"])):
        versions = (each.get("spec") or {}).get("versions") or []
        served = [str(version["name"]) for version in versions if version.get("served")]
        stored = [str(name) for name in (each.get("status") or {}).get("storedVersions") or []]
        lost = [name for name in stored if name not in served]
        established = condition(each, "Established").get("status") == "True"
        words = f"serves {', '.join(served) or 'nothing'}"
        if lost:
            words += f"; objects are stored as {', '.join(lost)}, which is not served"
        if not established:
            words += "; not established"
        fix = "flux migrate" if lost else _install()
        made.append(
            Check(f"definition {each['metadata']['name']}", established and bool(served) and not lost, words, fix)
        )
    groups = {str((each.get("spec") or {}).get("group")) for each in definitions}
    made.extend(
        Check(f"definitions of {controller}", False, f"there is none in {group}", _install())
        for group, controller in CONTROLLERS.items()
        if controller in seen.names and group not in groups
    )
    return made


def _controllers(seen: Installation, of_flux: Sequence[Json]) -> list[Check]:
    made = []
    for each in seen.components:
        mine = [pod for pod in of_flux if (pod["metadata"].get("labels") or {}).get("app") == each.name]
        troubles = [words for pod in mine if (words := pods.trouble(pod))]
        found = each.image if each.ready else f"not rolled out: {'; '.join(troubles) or 'it has no pod that is ready'}"
        fix = f"kubectl -n {seen.namespace} describe deployment {each.name}; {_install()} puts it back"
        made.append(Check(each.name, each.ready, found, fix))
    return made


def _sources(states: Sequence[State]) -> list[Check]:
    made = []
    for each in states:
        if each.kind not in (*SOURCES, "HelmChart") or each.ready is None:
            continue
        found = each.revision if each.ready else f"{each.reason}: {each.message}".strip(": ")
        if each.suspended:
            found = f"suspended at {each.revision or 'nothing'}"
        fix = f"./run invoke flux.reconcile --object {each.kind.lower()}/{each.name} --namespace {each.namespace}"
        made.append(Check(each.what, not each.failing, found, fix))
    return made


def require(made: Sequence[Check]) -> None:
    """Raise DeliveryError with the first reason when a check failed."""
    failed = [each for each in made if not each.ok]
    if failed:
        first = failed[0]
        raise DeliveryError(
            f"{first.name}: {first.found}",
            evidence="\n".join(f"{each.name}: {each.found}" for each in failed[1:]),
            fix=first.fix,
        )
