"""Flux's own objects in the cluster, of whatever kinds it serves there: how they stand, in Flux's words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import condition
from threezone.core.errors import DeliveryError, UsageError

SOURCES = ("GitRepository", "OCIRepository", "HelmRepository", "Bucket", "ExternalArtifact")
# In the order in which a change passes through them; other kinds (notifications, image automation) come last.
ORDER = (*SOURCES, "HelmChart", "Kustomization", "HelmRelease")
# Kinds that no controller reconciles: they carry settings, or somebody else writes their status.
STATIC = {"Alert", "Provider", "ExternalArtifact"}
# Which controller reconciles a group; in image.toolkit.fluxcd.io it depends on the kind (`controller`).
CONTROLLERS = {
    "source.toolkit.fluxcd.io": "source-controller",
    "kustomize.toolkit.fluxcd.io": "kustomize-controller",
    "helm.toolkit.fluxcd.io": "helm-controller",
    "notification.toolkit.fluxcd.io": "notification-controller",
    "source.extensions.fluxcd.io": "source-watcher",
}
DAY, HOUR, MINUTE = 86400, 3600, 60


@dataclass(frozen=True)
class Kind:
    """A kind that Flux brought: its API group and version, and every name by which one may ask for it (lower case)."""

    kind: str
    group: str
    version: str
    plural: str
    names: frozenset[str]

    @property
    def path(self) -> str:
        """The API path of the collection in all namespaces."""
        return f"/apis/{self.group}/{self.version}/{self.plural}"

    def of(self, namespace: str, name: str) -> str:
        """The API path of one object."""
        return f"/apis/{self.group}/{self.version}/namespaces/{namespace}/{self.plural}/{name}"

    @property
    def controller(self) -> str:
        """The controller that reconciles it."""
        if self.group == "image.toolkit.fluxcd.io":
            return f"image-{'automation' if self.kind == 'ImageUpdateAutomation' else 'reflector'}-controller"
        return CONTROLLERS.get(self.group, "")


@dataclass(frozen=True)
class Found:
    """An object as the API server has it, with its kind."""

    kind: Kind
    item: Json

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return str(self.item["metadata"]["namespace"])

    @property
    def name(self) -> str:
        """Its name."""
        return str(self.item["metadata"]["name"])

    @property
    def path(self) -> str:
        """Its API path."""
        return self.kind.of(self.namespace, self.name)

    @property
    def what(self) -> str:
        """How a sentence names it."""
        return f"{self.kind.kind} {self.namespace}/{self.name}"

    @property
    def suspended(self) -> bool:
        """Whether it is suspended."""
        return bool((self.item.get("spec") or {}).get("suspend"))

    @property
    def static(self) -> bool:
        """Whether nothing reconciles it (a HelmRepository of an OCI registry is only read, too)."""
        oci = self.kind.kind == "HelmRepository" and (self.item.get("spec") or {}).get("type") == "oci"
        return oci or self.kind.kind in STATIC


@dataclass(frozen=True)
class State:
    """How an object stands. `ready` is None where it has no such state; `since` is when that began (RFC 3339)."""

    kind: str
    namespace: str
    name: str
    ready: bool | None
    suspended: bool
    revision: str
    reason: str
    message: str
    since: str

    @property
    def what(self) -> str:
        """How a sentence names it."""
        return f"{self.kind} {self.namespace}/{self.name}"

    @property
    def failing(self) -> bool:
        """Whether somebody should look: not ready, and nobody suspended it."""
        return self.ready is False and not self.suspended


def discover(api: Api) -> tuple[Kind, ...]:
    """Every kind that Flux serves in this cluster, sources first; empty where there is no Flux."""
    groups = (api.get("/apis") or {}).get("groups") or []
    listed: list[Json] = []
    for group in groups:
        if group["name"].endswith(".fluxcd.io"):
            listed.extend(api.get(f"/apis/{each['groupVersion']}") or {} for each in group["versions"])
    return kinds(listed)


def kinds(listed: Iterable[Json]) -> tuple[Kind, ...]:
    """The kinds in API resource lists, each in the first version that has it (a group lists its best first). Pure."""
    seen: dict[tuple[str, str], Kind] = {}
    for resources in listed:
        group, _, version = resources.get("groupVersion", "").partition("/")
        for each in resources.get("resources") or []:
            key = (group, each["kind"])
            if "/" in each["name"] or not each.get("namespaced") or key in seen:
                continue
            names = {each["name"], each.get("singularName") or each["kind"], *each.get("shortNames", [])}
            seen[key] = Kind(each["kind"], group, version, each["name"], frozenset(name.lower() for name in names))
    return tuple(sorted(seen.values(), key=_order))


def _order(kind: Kind) -> tuple[int, str]:
    return (ORDER.index(kind.kind) if kind.kind in ORDER else len(ORDER), kind.kind)


def observe(api: Api, known: Sequence[Kind] | None = None) -> tuple[Found, ...]:
    """All objects of Flux's kinds, in the order in which a change passes through them."""
    found: list[Found] = []
    for kind in discover(api) if known is None else known:
        items = (api.get(kind.path) or {}).get("items") or []
        found.extend(Found(kind, item) for item in items)
    return tuple(found)


def state(found: Found) -> State:
    """How an object stands. Pure."""
    ready = condition(found.item, "Ready")
    return State(
        kind=found.kind.kind,
        namespace=found.namespace,
        name=found.name,
        ready=None if found.static and not ready else is_ready(found.item),
        suspended=found.suspended,
        revision=revision(found.item),
        reason=str(ready.get("reason", "")),
        message=str(ready.get("message") or ("" if found.static else "not reconciled yet")),
        since=str(ready.get("lastTransitionTime", "")),
    )


def is_ready(item: Json) -> bool:
    """Whether a Flux object is ready, for its present generation. Pure."""
    return not unready(item)


def unready(item: Json) -> str:
    """Why a Flux object is not ready, in Flux's own words; "" when it is. Pure.

    Ready is true, and neither Stalled nor Reconciling is (fluxcd/pkg, runtime/conditions/getter.go: IsReady). The
    status belongs to the present generation when `observedGeneration` says so (fluxcd/cli-utils,
    pkg/kstatus/status/generic.go: checkGeneration). Flux's controllers write that field when a run has ended, and
    note the generation in each condition at once (fluxcd/pkg, runtime/conditions/setter.go: Set). So where the field
    is absent, the condition's own generation decides; where both are, nothing has been reconciled yet.
    """
    status, meta, ready = item.get("status") or {}, item["metadata"], condition(item, "Ready")
    if meta.get("deletionTimestamp"):
        return "it is being deleted"
    if not ready:
        return "not reconciled yet"
    for kind, holds_back in (("Stalled", True), ("Ready", ready.get("status") != "True"), ("Reconciling", True)):
        said = condition(item, kind)
        if holds_back and (kind == "Ready" or said.get("status") == "True"):
            return f"{said.get('reason', '')}: {said.get('message', '')}".strip(": ") or "not ready"
    observed = [status.get("observedGeneration"), ready.get("observedGeneration")]
    told = [each for each in observed if each is not None]
    generation = meta.get("generation")
    current = generation is None or (bool(told) and all(each == generation for each in told))
    return "" if current else "its latest change is not reconciled yet"


def revision(item: Json) -> str:
    """What an object holds or has applied: an artifact's revision, an applied revision, a chart's version."""
    status = item.get("status") or {}
    history = status.get("history") or []
    released = history[0].get("chartVersion", "") if isinstance(history, list) and history else ""
    fetched = (status.get("artifact") or {}).get("revision", "")
    return str(fetched or status.get("lastAppliedRevision") or released or "")


def age(since: str, now: datetime) -> str:
    """How long ago `since` (RFC 3339) was, as kubectl tells it: 45s, 12m, 3h, 2d. Empty for an empty one."""
    if not since:
        return ""
    seconds = max(0, int((now - datetime.fromisoformat(since)).total_seconds()))
    for unit, size in (("d", DAY), ("h", HOUR), ("m", MINUTE)):
        if seconds >= size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def rows(states: Sequence[State], now: datetime | None = None) -> list[list[str]]:
    """The states as a table for people."""
    lines = [["KIND", "OBJECT", "READY", "REVISION", "AGE", "MESSAGE"]]
    for each in states:
        ready = "suspended" if each.suspended else {True: "yes", False: "no", None: "-"}[each.ready]
        shown = age(each.since, now or datetime.now(UTC))
        message = each.message.replace("\n", " ")
        lines.append([each.kind, f"{each.namespace}/{each.name}", ready, _short(each.revision), shown, message])
    return lines


def _short(revision: str) -> str:
    """`main@sha1:0123456…` cut to seven digits of the hash."""
    head, colon, digest = revision.partition(":")
    return f"{head}{colon}{digest[:7]}"


def require(states: Sequence[State]) -> None:
    """Raise DeliveryError with Flux's words when an object that nobody suspended is not ready."""
    failing = [each for each in states if each.failing]
    if failing:
        first = failing[0]
        more = f", and {len(failing) - 1} more" if len(failing) > 1 else ""
        raise DeliveryError(
            f"{first.what} is not ready{f': {first.reason}' if first.reason else ''}{more}",
            evidence="\n".join(f"{each.what}: {each.message}" for each in failing),
            fix=f"./run invoke flux.reconcile --object {first.kind.lower()}/{first.name} "
            f"--namespace {first.namespace} --with-source",
        )


def select(found: Sequence[Found], known: Sequence[Kind], asked: Sequence[str], namespace: str) -> tuple[Found, ...]:
    """The objects asked for as `kind/name`, in any of kubectl's spellings of a kind. Pure. Raises UsageError."""
    chosen: list[Found] = []
    for spelling in asked:
        kind_name, slash, name = spelling.partition("/")
        kind = next((each for each in known if kind_name.lower() in each.names), None)
        if not slash or not name:
            raise UsageError(f"{spelling!r} names no object", fix="write KIND/NAME, such as kustomization/lab")
        if kind is None:
            shown = ", ".join(each.kind.lower() for each in known) or "none: Flux is not installed"
            raise UsageError(f"Flux serves no kind {kind_name!r} here", fix=f"kinds: {shown}")
        same = [each for each in found if each.kind == kind and each.name == name]
        match = next((each for each in same if each.namespace == namespace), None)
        if match is None:
            places = ", ".join(each.namespace for each in same)
            known_names = ", ".join(sorted(f"{f.namespace}/{f.name}" for f in found if f.kind == kind)) or "none"
            raise UsageError(
                f"there is no {kind.kind} {namespace}/{name}",
                evidence=f"there are: {known_names}",
                fix=f"--namespace {places}" if places else "./run invoke flux.status",
            )
        if match not in chosen:
            chosen.append(match)
    return tuple(sorted(chosen, key=lambda each: _order(each.kind)))


def sources_of(found: Sequence[Found], target: Found) -> tuple[Found, ...]:
    """The objects that a Kustomization or HelmRelease takes its content from, outermost first. Pure."""
    spec = target.item.get("spec") or {}
    chart = ((spec.get("chart") or {}).get("spec") or {}).get("sourceRef")
    reference = spec.get("sourceRef") or spec.get("chartRef") or chart
    origins = _referred(found, reference, target.namespace)
    for origin in origins:  # a chart has a source of its own
        origins = (*sources_of(found, origin), *origins)
    namespace, _, name = str((target.item.get("status") or {}).get("helmChart", "")).partition("/")
    between = _referred(found, {"kind": "HelmChart", "name": name, "namespace": namespace}, "") if name else ()
    return (*origins, *between)


def _referred(found: Sequence[Found], reference: Mapping[str, str] | None, namespace: str) -> tuple[Found, ...]:
    if not reference:
        return ()
    wanted = (reference.get("kind"), reference.get("namespace") or namespace, reference.get("name"))
    return tuple(each for each in found if (each.kind.kind, each.namespace, each.name) == wanted)
