"""What Flux has applied, as a tree: Kustomizations and HelmReleases, what these have brought, and its state."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime

from threezone.clients.kubernetes.api import Api, Forbidden, Json
from threezone.clients.kubernetes.watch import World, key_of
from threezone.flux import health, objects, status
from threezone.flux.objects import SOURCE, Entry, FluxObject

WORKERS = 4
Key = tuple[str, str, str, str]  # group, kind, namespace, name


@dataclass(frozen=True)
class Node:
    """An object of the tree. `ready` is None for what has no readiness; `others` counts objects of other kinds."""

    object: str
    ready: bool | None
    suspended: bool = False
    revision: str = ""
    since: str = ""
    message: str = ""
    others: Mapping[str, int] | None = None
    children: tuple[Node, ...] = ()


def observe(api: Api, flux: Sequence[FluxObject]) -> World:
    """The workloads that `flux` has brought, and what tells why they are not ready; without what may not be listed."""
    brought = [entry for each in flux for entry in objects.inventory(each.item)]

    def listing(path: str) -> tuple[str, dict[str, Json]]:
        try:
            return path, {key_of(item): item for item in (api.get(path) or {}).get("items") or []}
        except Forbidden:
            return path, {}

    with ThreadPoolExecutor(WORKERS) as pool:
        return dict(pool.map(listing, health.collections(brought)))


def build(flux: Sequence[FluxObject], world: World) -> tuple[Node, ...]:
    """The trees of all objects that nothing else has brought, in the order of `flux`. Pure."""
    known = {_key(each): each for each in flux}
    parents: dict[Key, list[Key]] = {key: list(_brought(each)) for key, each in known.items()}
    children = {child for key, brought in parents.items() for child in brought if child != key}
    shown: set[Key] = set()
    roots = [key for key in known if key not in children]
    trees = [_node(key, known, world, shown) for key in roots]
    # Those that bring each other have no root.
    return tuple(trees + [_node(key, known, world, shown) for key in known if key not in shown])


def _key(one: FluxObject) -> Key:
    return (one.kind.group, one.kind.kind, one.namespace, one.name)


def _brought(one: FluxObject) -> Iterator[Key]:
    """The Flux objects and others in an inventory; and the chart that helm-controller has made for a release."""
    for entry in objects.inventory(one.item):
        yield (entry.group, entry.kind, entry.namespace, entry.name)
    namespace, slash, name = str((one.item.get("status") or {}).get("helmChart") or "").partition("/")
    if slash:
        yield (SOURCE, "HelmChart", namespace, name)


def _node(key: Key, known: Mapping[Key, FluxObject], world: World, shown: set[Key]) -> Node:
    shown.add(key)
    one = known[key]
    state = status.state(one)
    entries = {(each.group, each.kind, each.namespace, each.name): each for each in objects.inventory(one.item)}
    nodes, others = [], Counter[str]()
    for child in _brought(one):
        if child in shown:
            continue
        if child in known:
            nodes.append(_node(child, known, world, shown))
        elif child[0].endswith(".fluxcd.io"):
            nodes.append(Node(f"{child[1]} {child[2]}/{child[3]}", ready=False, message="it does not exist"))
        elif health.collection(entries[child]):
            nodes.append(_workload(entries[child], world))
        else:
            others[child[1]] += 1
    message = "" if state.ready else state.message.replace("\n", " ")
    return Node(
        state.what, state.ready, state.suspended, state.revision, state.since, message,
        dict(sorted(others.items())) or None, tuple(nodes),
    )  # fmt: skip


def _workload(entry: Entry, world: World) -> Node:
    """A workload, and what is wrong with it and its pods. Whoever may not list it does not know."""
    items = world.get(health.collection(entry)) or {}
    item = items.get(entry.key)
    if item is None:
        # A Job may have been removed after its end (ttlSecondsAfterFinished).
        gone = bool(items) and entry.kind != "Job"
        return Node(str(entry), ready=False if gone else None, message="it does not exist" if gone else "unknown")
    gaps = health.rollout_gaps(entry.kind, item)
    words = [line.removeprefix(f"{entry}: ") for line in health.troubles(world, [entry])] if gaps else []
    return Node(str(entry), ready=not gaps, message="; ".join(words or [f"waits for {gap}" for gap in gaps]))


def rows(trees: Sequence[Node], now: datetime | None = None) -> list[list[str]]:
    """The trees as a table for people. Pure."""
    lines = [["OBJECT", "READY", "REVISION", "AGE", "MESSAGE"]]
    for tree in trees:
        lines += _rows(tree, "", "", now or datetime.now(UTC))
    return lines


def _rows(node: Node, first: str, rest: str, now: datetime) -> Iterator[list[str]]:
    ready = "suspended" if node.suspended else {True: "yes", False: "no", None: "-"}[node.ready]
    yield [
        f"{first}{node.object}", ready, status.short_revision(node.revision), status.age(node.since, now), node.message
    ]  # fmt: skip
    last = len(node.children) - (0 if node.others else 1)
    for number, child in enumerate(node.children):
        branch, below = ("└─ ", "   ") if number == last else ("├─ ", "│  ")
        yield from _rows(child, f"{rest}{branch}", f"{rest}{below}", now)
    if node.others:
        counted = ", ".join(f"{count} {kind}" for kind, count in node.others.items())
        yield [f"{rest}└─ {counted}", "", "", "", ""]
