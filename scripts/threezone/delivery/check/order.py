"""What must exist before: the order of Kustomizations, and the kinds and namespaces that their objects need.

Within a Kustomization, Flux applies CustomResourceDefinitions and Namespaces first (fluxcd/pkg, ssa: ApplyAllStaged). A
Kustomization waits for those that it depends on, and one with `wait` for all that it applies.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from threezone.clients.kubernetes.api import Json
from threezone.delivery.check.content import releases
from threezone.delivery.check.findings import Finding, Severity
from threezone.delivery.check.model import Group, Id, Key, Rendering, children, id_of, is_kustomization, key_of
from threezone.delivery.check.variables import Lookup, Unknown
from threezone.flux.objects import KUSTOMIZE

ALWAYS = {"default", "kube-system", "kube-public", "kube-node-lease"}  # namespaces of every cluster
CRD = ("apiextensions.k8s.io", "CustomResourceDefinition")
# Whether the cluster serves a kind (apiVersion, kind), and has a namespace. None: it is not known.
Serves = Callable[[str, str], bool | None]
Has = Callable[[str], bool | None]


@dataclass(frozen=True)
class Order:
    """The Kustomizations with what they depend on, and with those that they apply."""

    groups: Mapping[Key, Group]
    depends: Mapping[Key, tuple[Key, ...]]
    brings: Mapping[Key, tuple[Key, ...]]

    def before(self, key: Key) -> set[Key]:
        """The Kustomizations that are applied when this one is: those above it, and what all of these depend on."""
        found: set[Key] = set()
        queue = [key]
        while queue:
            each = queue.pop()
            group = self.groups.get(each)
            nexts = [*self.depends.get(each, ()), *([group.parent] if group and group.parent else [])]
            for dependency in self.depends.get(each, ()):
                # One that waits is ready when those below it are.
                waits = dependency in self.groups and self.groups[dependency].spec.get("wait")
                nexts += self.below(dependency) if waits else ()
            queue += [other for other in nexts if other not in found]
            found.update(nexts)
        return found

    def below(self, key: Key) -> set[Key]:
        """The Kustomizations that this one applies, directly or through others."""
        found: set[Key] = set()
        queue = [key]
        while queue:
            nexts = [each for each in self.brings.get(queue.pop(), ()) if each not in found]
            found.update(nexts)
            queue += nexts
        return found


def order_of(rendering: Rendering) -> Order:
    """The order of what is rendered. Pure."""
    groups = {group.key: group for group in rendering.groups}
    every = [group.kustomization for group in rendering.groups]
    every += [item for _, item in rendering.objects if is_kustomization(item)]
    depends = {key_of(item): _dependencies(item) for item in every}
    return Order(groups, depends, {key: tuple(map(key_of, children(group.objects))) for key, group in groups.items()})


def _dependencies(item: Json) -> tuple[Key, ...]:
    namespace = key_of(item).namespace
    depends = (item.get("spec") or {}).get("dependsOn") or []
    return tuple(Key(str(each.get("namespace") or namespace), str(each.get("name"))) for each in depends)


def dependencies(order: Order, lookup: Lookup) -> Iterator[Finding]:
    """Dependencies that do not exist, and those that wait for each other."""
    for key, wanted in order.depends.items():
        for each in wanted:
            if each in order.depends:
                continue
            severity: Severity = "error"
            try:
                if lookup(Id(KUSTOMIZE, "Kustomization", each.namespace, each.name)) is not None:
                    continue
            except Unknown:
                severity = "warning"
            message = f"it depends on {each}, which this commit does not bring: without it, it is never applied"
            yield Finding(severity, "depends-on", str(key), message, "correct the name in spec.dependsOn")
    yield from _cycles(order)


def _cycles(order: Order) -> Iterator[Finding]:
    """Kustomizations that wait for each other. One with `wait` waits for those that it applies."""
    waiting = {key for key, group in order.groups.items() if group.spec.get("wait")}
    waits = {
        key: (*wanted, *(order.brings.get(key, ()) if key in waiting else ())) for key, wanted in order.depends.items()
    }
    done: set[Key] = set()
    for start in waits:
        path: list[Key] = []
        stack: list[tuple[Key, bool]] = [(start, False)]
        while stack:
            key, leaving = stack.pop()
            if leaving:
                done.add(path.pop())
            elif key in path:
                cycle = [*path[path.index(key) :], key]
                names = " → ".join(each.name for each in cycle)
                message = f"these wait for each other, so none becomes ready: {names}"
                yield Finding("error", "depends-on-cycle", str(key), message, "remove one of these from spec.dependsOn")
            elif key not in done:
                path.append(key)
                stack.append((key, True))
                stack += [(each, False) for each in waits.get(key, ())]


@dataclass(frozen=True)
class Need:
    """What an object needs before it can be applied: a kind or a namespace, with the Kustomizations that bring it."""

    rule: str
    what: str
    live: bool | None
    bringers: frozenset[Key]


def needs(rendering: Rendering, order: Order, serves: Serves, has: Has) -> Iterator[Finding]:
    """Kinds and namespaces that are missing when Flux applies the objects that need them."""
    kinds, namespaces = brought_kinds(rendering), brought_namespaces(rendering)
    # What is not rendered may bring them, too.
    unseen = bool(rendering.unchecked) or any(True for _ in releases(rendering))
    said: set[tuple[Key, str]] = set()
    for group, item in rendering.objects:
        if "kubeConfig" in group.spec:
            continue
        what = id_of(item)
        api = str(item.get("apiVersion"))
        bringers = kinds.get(what[:2], frozenset())
        wanted = [Need("kind", f"the kind {what.kind} ({api})", serves(api, what.kind), bringers)]
        if what.namespace and what.namespace not in ALWAYS:
            live = has(what.namespace)
            bringers = namespaces.get(what.namespace, frozenset())
            wanted.append(Need("namespace", f"the namespace {what.namespace}", live, bringers))
        for need in wanted:
            if need.live is not True and (group.key, need.what) not in said:
                said.add((group.key, need.what))
                yield from _judged(need, group, what, order, unseen=unseen)


def _judged(need: Need, group: Group, what: Id, order: Order, *, unseen: bool) -> Iterator[Finding]:
    if group.key in need.bringers or need.bringers & order.before(group.key):
        return
    if not need.bringers:
        if need.live is None:  # without a lab nobody knows
            return
        doubt = ", unless a part that is not rendered brings it" if unseen else ""
        message = f"{need.what} does not exist, and this commit does not bring it{doubt}"
        fix = "add its CustomResourceDefinition" if need.rule == "kind" else "add the Namespace, or correct the name"
        yield Finding("warning" if unseen else "error", need.rule, str(what), message, fix)
        return
    names = ", ".join(sorted(key.name for key in need.bringers))
    if need.bringers <= order.below(group.key):
        message = f"{need.what} is brought by {names}, which {group.key.name} applies only together with this object"
        yield Finding("error", need.rule, str(what), message, f"move this object below {names}")
        return
    message = f"{need.what} is brought by {names}, which {group.key.name} does not depend on: it fails until then"
    fix = f"add {names} to spec.dependsOn of {group.key.name}"
    yield Finding("warning", need.rule, str(what), message, fix)


def brought_kinds(rendering: Rendering) -> dict[tuple[str, str], frozenset[Key]]:
    """The kinds that the commit brings, by group and kind, with the Kustomizations that bring them."""
    found: dict[tuple[str, str], frozenset[Key]] = {}
    for group, item in rendering.objects:
        if id_of(item)[:2] == CRD:
            spec = item.get("spec") or {}
            kind = (str(spec.get("group")), str((spec.get("names") or {}).get("kind")))
            found[kind] = found.get(kind, frozenset()) | {group.key}
    return found


def brought_namespaces(rendering: Rendering) -> dict[str, frozenset[Key]]:
    """The namespaces that the commit brings, with the Kustomizations that bring them."""
    found: dict[str, frozenset[Key]] = {}
    for group, item in rendering.objects:
        if id_of(item)[:2] == ("", "Namespace"):
            name = id_of(item).name
            found[name] = found.get(name, frozenset()) | {group.key}
    return found
