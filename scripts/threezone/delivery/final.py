"""What ends a wait before its time: errors that waiting does not heal."""

from __future__ import annotations

import time
from collections.abc import Sequence

from threezone.clients.kubernetes.api import Api, Json
from threezone.clients.kubernetes.watch import Judge, World, condition
from threezone.core.errors import ClusterError, DeliveryError
from threezone.delivery import tree
from threezone.delivery.revision import short
from threezone.flux import health, objects
from threezone.flux.components import DEPLOYMENTS, NAMESPACE

# Controllers that a commit needs, and what each of them does with it.
CARRIERS = {"source-controller": "fetches", "kustomize-controller": "applies"}
PUSH = "./run invoke gitops.push"
# How kustomize-controller and kustomize say that a file of the commit is not among those that they got.
NO_PATH, NO_FILE = "kustomization path not found", "no such file or directory"


class NotHealing(DeliveryError):
    """An object that cannot become ready, when it has been so for `seconds`; and the pod that holds it back, if any."""

    seconds = 0.0
    pod = ""  # namespace/name


class Unhealthy(NotHealing):
    """An applied object that cannot become healthy."""

    def __init__(self, revision: str, stuck: health.Stuck) -> None:
        item = stuck.item
        namespaced = f"kubectl -n {item.namespace}" if item.namespace else "kubectl"
        super().__init__(
            f"{item} of {short(revision)} cannot become healthy",
            evidence=stuck.words,
            fix=f"{namespaced} describe {item.kind.lower()} {item.name}",
        )
        self.pod, self.seconds = stuck.pod, stuck.seconds


class Overtaken(DeliveryError):
    """A newer commit is delivered instead: this one is in its history, or nobody wants it any more."""

    def __init__(self, revision: str, newer: str) -> None:
        super().__init__(
            f"{short(newer)} has overtaken {short(revision)}: Flux delivers the newer commit",
            evidence=f"{short(newer)} is newer than {short(revision)}; pushing the older one again would roll back",
            fix=f"./run invoke gitops.wait {newer.rpartition(':')[2]}",
        )


def patient(judge: Judge) -> Judge:
    """The judge that takes something for final only when it has been so for its seconds, and till then for missing."""
    since: dict[str, float] = {}

    def judged(world: World) -> Sequence[str]:
        try:
            return judge(world)
        except NotHealing as error:
            now = time.monotonic()
            if now - since.setdefault(error.message, now) >= error.seconds:
                raise
            return [f"{error.message}: {error.evidence}"]

    return judged


def advice(words: str) -> str:
    """What to do about a failure in Flux's words."""
    if NO_PATH in words or NO_FILE in words:
        return (
            "commit that file. If it is committed: Flux leaves out symbolic links, and what .sourceignore or its own "
            f"list names (.github/, *.jpg, *.png, *.zip, …). Then {PUSH}"
        )
    if "data key" in words and "sops" in words.lower():
        return (
            "./run invoke secret.init shows the recipient of this lab. Somebody who can read the Secrets adds it: "
            f"./run invoke secret.init --recipient age1…, and commits. Then {PUSH}"
        )
    return f"correct what it names, commit, and {PUSH}"


def require_curable(world: World, source: Json, root: Json) -> None:
    """Raise NotHealing when something that the applied Kustomization brought cannot become ready by waiting. Pure."""
    if stuck := health.stuck(world, tree.entries(root, world)):
        raise Unhealthy(objects.artifact(source), stuck)
    if final := next((trouble for trouble in tree.troubles(source, root, world) if trouble.final), None):
        evidence = "\n".join(tree.voices(source, root, world))
        error = NotHealing(f"{final.what} is not ready", evidence=evidence, fix=_fix(final))
        error.seconds = final.seconds
        raise error


def _fix(trouble: tree.Trouble) -> str:
    kind, _, key = trouble.what.partition(" ")
    if trouble.words.startswith(tree.SUSPENDED):
        namespace, _, name = key.rpartition("/")
        return f"./run invoke flux.resume --object {kind.lower()}/{name} --namespace {namespace}"
    return advice(trouble.words)


def require_carriers(world: World) -> None:
    """Raise DeliveryError when one of Flux's controllers that a commit needs is scaled to zero. Pure."""
    for name, work in CARRIERS.items():
        deployment = world.get(DEPLOYMENTS, {}).get(f"{NAMESPACE}/{name}")
        if deployment and deployment["spec"].get("replicas", 1) == 0:
            raise DeliveryError(
                f"{name} is scaled to zero: nobody {work} commits",
                evidence=f"deployment {NAMESPACE}/{name}: replicas 0",
                fix=f"kubectl -n {NAMESPACE} scale deployment {name} --replicas=1",
            )


def require_movable(item: Json, kind: str) -> None:
    """Raise DeliveryError when Flux will not look at the object again by itself: suspended, or stalled. Pure."""
    name, namespace = item["metadata"]["name"], item["metadata"]["namespace"]
    if objects.is_suspended(item):
        change = '{"spec":{"suspend":false}}'
        raise DeliveryError(
            f"the {kind} {name} is suspended: nothing moves",
            fix=f"kubectl -n {namespace} patch {kind.lower()} {name} --type=merge -p '{change}'",
        )
    if objects.is_stalled(item):
        stalled = condition(item, "Stalled")
        raise DeliveryError(
            f"the {kind} {name} is stalled: {stalled.get('reason')}",
            evidence=str(stalled.get("message", "")),
            fix=f"kubectl -n {namespace} describe {kind.lower()} {name}",
        )


def with_event(api: Api, error: NotHealing) -> NotHealing:
    """The same error with the last event of its pod in the evidence (one request; none when it is refused)."""
    namespace, _, name = error.pod.partition("/")
    if not name:
        return error
    try:
        listed = api.get(f"/api/v1/namespaces/{namespace}/events", fieldSelector=f"involvedObject.name={name}")
    except ClusterError:
        return error
    if line := last_event((listed or {}).get("items") or []):
        error.evidence = f"{error.evidence}\n{line}"
    return error


def last_event(events: Sequence[Json]) -> str:
    """The latest warning among events, else the latest event, as one line. Pure."""
    when = sorted(
        events, key=lambda e: (e.get("type") == "Warning", e.get("lastTimestamp") or e.get("eventTime") or "")
    )
    return f"event {when[-1].get('reason')}: {when[-1].get('message')}" if when else ""
