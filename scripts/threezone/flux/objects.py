"""The one model of Flux's objects: kinds, readiness, revisions, inventories, and requests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from threezone.clients.kubernetes.api import MANAGER, Api, Json
from threezone.clients.kubernetes.watch import condition

KUSTOMIZE, HELM, SOURCE = "kustomize.toolkit.fluxcd.io", "helm.toolkit.fluxcd.io", "source.toolkit.fluxcd.io"
SOURCES = ("GitRepository", "OCIRepository", "HelmRepository", "Bucket", "ExternalArtifact")
# In the order in which a change passes through them; other kinds (notifications, image automation) come last.
ORDER = (*SOURCES, "HelmChart", "Kustomization", "HelmRelease")
# Kinds that no controller reconciles: they carry settings, or somebody else writes their status.
STATIC = {"Alert", "Provider", "ExternalArtifact"}
# Which controller reconciles a group; in image.toolkit.fluxcd.io it depends on the kind (`controller`).
CONTROLLERS = {
    SOURCE: "source-controller",
    KUSTOMIZE: "kustomize-controller",
    HELM: "helm-controller",
    "notification.toolkit.fluxcd.io": "notification-controller",
    "source.extensions.fluxcd.io": "source-watcher",
}
REQUESTED = "reconcile.fluxcd.io/requestedAt"  # fluxcd/pkg, apis/meta: ReconcileRequestAnnotation
# Reasons of Ready=False after which the controllers try again (kustomize- and helm-controller).
PASSING = {"DependencyNotReady", "SourceNotReady", "Progressing", "ProgressingWithRetry"}


@dataclass(frozen=True)
class Kind:
    """A kind that Flux brought: its API group and version, and every name by which one may ask for it (lower case)."""

    kind: str
    group: str
    version: str
    plural: str
    names: frozenset[str] = frozenset()

    @property
    def path(self) -> str:
        """The API path of the collection in all namespaces."""
        return f"/apis/{self.group}/{self.version}/{self.plural}"

    def object_path(self, namespace: str, name: str) -> str:
        """The API path of one object."""
        return f"/apis/{self.group}/{self.version}/namespaces/{namespace}/{self.plural}/{name}"

    @property
    def controller(self) -> str:
        """The controller that reconciles it."""
        if self.group == "image.toolkit.fluxcd.io":
            return f"image-{'automation' if self.kind == 'ImageUpdateAutomation' else 'reflector'}-controller"
        return CONTROLLERS.get(self.group, "")


@dataclass(frozen=True)
class FluxObject:
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
        return self.kind.object_path(self.namespace, self.name)

    @property
    def what(self) -> str:
        """How a sentence names it."""
        return f"{self.kind.kind} {self.namespace}/{self.name}"

    @property
    def suspended(self) -> bool:
        """Whether it is suspended."""
        return is_suspended(self.item)

    @property
    def static(self) -> bool:
        """Whether no controller reconciles it."""
        return is_static(self.kind.kind, self.item)


@dataclass(frozen=True)
class Entry:
    """One object of a Kustomization's inventory. `namespace` is empty for cluster-scoped objects."""

    kind: str
    group: str
    version: str
    namespace: str
    name: str

    @property
    def key(self) -> str:
        """`namespace/name`, as watched collections spell it."""
        return f"{self.namespace}/{self.name}"

    @property
    def collection(self) -> str:
        """The API path of its collection, in its namespace if it has one; the plural is the usual one of its kind."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{self.namespace}/{self._plural}" if self.namespace else f"{root}/{self._plural}"

    @property
    def _plural(self) -> str:
        kind = self.kind.lower()
        if kind.endswith("y") and kind[-2:-1] not in "aeou":
            return f"{kind[:-1]}ies"
        return f"{kind}es" if kind.endswith(("s", "x", "ch", "sh")) else f"{kind}s"

    def __str__(self) -> str:
        return f"{self.kind} {self.key.lstrip('/')}"


def discover(api: Api) -> tuple[Kind, ...]:
    """Every kind that Flux serves in this cluster, sources first; empty without Flux."""
    groups = (api.get("/apis") or {}).get("groups") or []
    listed: list[Json] = []
    for group in groups:
        if group["name"].endswith(".fluxcd.io"):
            listed.extend(api.get(f"/apis/{version['groupVersion']}") or {} for version in group["versions"])
    return kinds(listed)


def kinds(listed: Iterable[Json]) -> tuple[Kind, ...]:
    """The kinds in API resource lists, each in the first version that has it (a group lists its best first). Pure."""
    first: dict[tuple[str, str], Kind] = {}
    for resources in listed:
        group, _, version = resources.get("groupVersion", "").partition("/")
        for resource in resources.get("resources") or []:
            key = (group, resource["kind"])
            if "/" in resource["name"] or not resource.get("namespaced") or key in first:
                continue
            singular = resource.get("singularName") or resource["kind"]
            names = {resource["name"], singular, *resource.get("shortNames", [])}
            first[key] = Kind(
                resource["kind"], group, version, resource["name"], frozenset(name.lower() for name in names)
            )
    return tuple(sorted(first.values(), key=order))


def order(kind: Kind) -> tuple[int, str]:
    """The sort key by which a kind comes after those that it depends on."""
    return (ORDER.index(kind.kind) if kind.kind in ORDER else len(ORDER), kind.kind)


def observe(api: Api, served: Sequence[Kind] | None = None) -> tuple[FluxObject, ...]:
    """All objects of Flux's kinds, sources first."""
    return tuple(
        FluxObject(kind, item)
        for kind in (discover(api) if served is None else served)
        for item in (api.get(kind.path) or {}).get("items") or []
    )


def declared_by_us(metadata: Mapping[str, Any]) -> bool:
    """Whether threezone applied an object: the field manager says so. What we only changed is not ours."""
    managers = metadata.get("managedFields") or ()
    return any(entry.get("manager") == MANAGER and entry.get("operation") == "Apply" for entry in managers)


def is_suspended(item: Json) -> bool:
    """Whether an object is suspended."""
    return bool((item.get("spec") or {}).get("suspend"))


def is_static(kind: str, item: Json) -> bool:
    """Whether no controller reconciles an object. A HelmRepository of an OCI registry is one, too: it is only read."""
    return kind in STATIC or (kind == "HelmRepository" and (item.get("spec") or {}).get("type") == "oci")


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
    if is_stalled(item):
        return condition_text(condition(item, "Stalled")) or "not ready"
    if ready.get("status") != "True":
        return condition_text(ready) or "not ready"
    if (reconciling := condition(item, "Reconciling")).get("status") == "True":
        return condition_text(reconciling) or "not ready"
    observed = [
        value for value in (status.get("observedGeneration"), ready.get("observedGeneration")) if value is not None
    ]
    generation = meta.get("generation")
    current = generation is None or (bool(observed) and all(value == generation for value in observed))
    current = current or is_suspended(item)  # to suspend it is such a change: nobody reconciles it
    return "" if current else "its latest change is not reconciled yet"


def condition_text(words: Mapping[str, str]) -> str:
    """A condition's reason and message in one line."""
    return f"{words.get('reason', '')}: {words.get('message', '')}".strip(": ")


def is_stalled(item: Json) -> bool:
    """Whether Flux will not try an object again before it is changed."""
    return condition(item, "Stalled").get("status") == "True"


def has_failed(kind: str, item: Json) -> bool:
    """Whether an object has failed, and its controller does not try again by itself. Pure.

    ArtifactFailed passes where the controller says that it tries again, and in a HelmRelease, which looks for its
    HelmChart a moment after it has made it.
    """
    ready = condition(item, "Ready")
    reason = ready.get("reason", "")
    if ready.get("status") != "False" or reason in PASSING or was_interrupted(ready.get("message", "")):
        return False
    retries = kind == "HelmRelease" or "retrying in" in ready.get("message", "").lower()
    return not (reason == "ArtifactFailed" and retries)


def was_interrupted(words: str) -> bool:
    """Whether a controller says that it was interrupted: it ended, or a newer revision came. It tries again. Pure.

    Go's words for it are those of context.Canceled. A restarted API server ends the controllers: they lose their lease.
    """
    return "context canceled" in words


def artifact(source: Json) -> str:
    """The revision whose files a source holds, "" while it has none."""
    return str(((source.get("status") or {}).get("artifact") or {}).get("revision", ""))


def attempted(item: Json) -> str:
    """The revision that an object's controller tried to apply last."""
    return str((item.get("status") or {}).get("lastAttemptedRevision", ""))


def applied(item: Json) -> str:
    """The revision that an object's controller applied last."""
    return str((item.get("status") or {}).get("lastAppliedRevision", ""))


def latest(item: Json) -> Json:
    """The newest entry of an object's history, {} for none: a release, or how a Kustomization's last run ended."""
    history = (item.get("status") or {}).get("history") or []
    return dict(history[0]) if isinstance(history, list) and history else {}


def revision(item: Json) -> str:
    """What an object holds or has applied: an artifact's revision, an applied revision, a chart's version."""
    return artifact(item) or applied(item) or str(latest(item).get("chartVersion", ""))


def inventory(kustomization: Json) -> tuple[Entry, ...]:
    """The objects that a Kustomization has applied.

    An entry's id is `namespace_name_group_kind`, with a colon in a name spelled `__` (fluxcd/cli-utils,
    pkg/object/objmetadata.go).
    """
    entries = []
    for entry in ((kustomization.get("status") or {}).get("inventory") or {}).get("entries") or []:
        rest, group, kind = str(entry["id"]).rsplit("_", 2)
        namespace, name = rest.split("_", 1)
        entries.append(Entry(kind, group, str(entry["v"]), namespace, name.replace("__", ":")))
    return tuple(entries)


def request(api: Api, paths: Iterable[str], change: Json | None = None, *, stamp: str = "") -> str:
    """Ask Flux to reconcile the objects at these API paths now. Returns the request's stamp, for `handled`."""
    stamp = stamp or datetime.now(UTC).isoformat()
    for path in paths:
        api.merge(path, {**(change or {}), "metadata": {"annotations": {REQUESTED: stamp}}})
    return stamp


def handled(item: Json) -> str:
    """The stamp of the last request that Flux has answered for an object."""
    return str((item.get("status") or {}).get("lastHandledReconcileAt", ""))


def answered(item: Json, stamp: str = "") -> bool:
    """Whether Flux has answered what was asked of an object last, by us (`stamp`) or by others. Pure.

    Somebody's later request replaces ours, and its answer is ours too.
    """
    last = (item["metadata"].get("annotations") or {}).get(REQUESTED, stamp)
    return handled(item) == stamp if last == stamp else not last or handled(item) == last
