"""Dependencies, and kinds and namespaces that must be there before."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.delivery.check.trees import (
    config,
    definition,
    flux,
    group,
    nothing,
    rendering,
    thing,
    unknown,
)

from threezone.clients.kubernetes.api import Json
from threezone.delivery.check import order
from threezone.delivery.check.model import Group
from threezone.delivery.check.variables import Lookup

ONE = thing("Thing", "one", "app", "example.com/v1")
SHOP = thing("Namespace", "shop")


def tree(a: Group, b: Group, *more: Json, **root: Any) -> list[Group]:
    """The lab with two Kustomizations, and objects of its own."""
    objects = [a.kustomization, b.kustomization, *more]
    return [group("lab", *objects, **root), a, b]


def dependencies(*groups: Group, lookup: Lookup = nothing) -> list[tuple[str, str]]:
    found = order.dependencies(order.order_of(rendering(*groups)), lookup)
    return [(finding.severity, finding.rule) for finding in found]


def needed(*groups: Group, live: bool | None = False, **more: Any) -> list[tuple[str, str]]:
    made = rendering(*groups, **more)

    def served(version: str, _: str) -> bool | None:
        return True if version == "v1" or "k8s.io" in version or "flux" in version else live

    def has(namespace: str) -> bool | None:
        return True if namespace in ("app", "flux-system") else live

    found = order.needs(made, order.order_of(made), served, has)
    return [(finding.severity, finding.rule) for finding in found]


A, B = group("a", parent="lab"), group("b", parent="lab")
DEPENDS = [
    ([], []),
    ([{"name": "b"}], []),
    ([{"name": "b", "namespace": "flux-system"}], []),
    ([{"name": "b", "namespace": "other"}], [("error", "depends-on")]),
    ([{"name": "c"}], [("error", "depends-on")]),
    ([{"name": "a"}], [("error", "depends-on-cycle")]),
]


@pytest.mark.parametrize(("depends", "expected"), DEPENDS)
def test_dependencies(depends: object, expected: object) -> None:
    assert dependencies(*tree(group("a", parent="lab", dependsOn=depends), B)) == expected


def test_a_dependency_of_the_cluster_counts_and_without_a_cluster_it_is_a_warning() -> None:
    groups = tree(group("a", parent="lab", dependsOn=[{"name": "c"}]), B)
    assert dependencies(*groups, lookup=lambda _: {}) == []
    assert dependencies(*groups, lookup=unknown) == [("warning", "depends-on")]


@pytest.mark.parametrize("waits", [True, False])
def test_a_child_that_depends_on_its_parent_ends_only_if_that_does_not_wait_for_it(waits: bool) -> None:
    groups = tree(group("a", parent="lab", dependsOn=[{"name": "lab"}]), B, wait=waits)
    assert dependencies(*groups) == [("error", "depends-on-cycle")] * waits


def test_a_cycle_is_told_once_with_its_names() -> None:
    groups = tree(
        group("a", parent="lab", dependsOn=[{"name": "b"}]), group("b", parent="lab", dependsOn=[{"name": "a"}])
    )
    (found,) = order.dependencies(order.order_of(rendering(*groups)), nothing)
    assert "a → b → a" in found.message


CRD = definition("Thing")
WAITS = group("a", flux("c"), parent="lab", wait=True)
NEEDS = {
    "nobody": ([group("lab", ONE)], [("error", "kind")]),
    "itself": ([group("lab", ONE, CRD)], []),
    "another, without an order": (
        tree(group("a", ONE, parent="lab"), group("b", CRD, parent="lab")), [("warning", "kind")]
    ),
    "another that comes before": (
        tree(group("a", ONE, parent="lab", dependsOn=[{"name": "b"}]), group("b", CRD, parent="lab")), []
    ),
    "its parent": (tree(group("a", ONE, parent="lab"), B, CRD), []),
    "its own child": (tree(group("a", CRD, parent="lab"), B, ONE), [("error", "kind")]),
    "a chart, perhaps": (
        [group("lab", ONE, thing("HelmRelease", "h", "app", "helm.toolkit.fluxcd.io/v2"))], [("warning", "kind")]
    ),
    "a namespace of nobody": ([group("lab", config("a", "shop"), config("b", "shop"))], [("error", "namespace")]),
    "a namespace of itself": ([group("lab", config("a", "shop"), SHOP)], []),
    "the default namespace": ([group("lab", config("a", "default"))], []),
    "another cluster": ([group("lab", config("a", "shop"), kubeConfig={})], []),
    "a namespace of a dependency's child": (
        [*tree(WAITS, group("b", config("x", "shop"), parent="lab", dependsOn=[{"name": "a"}])), group("c", SHOP)], []
    ),
}  # fmt: skip


@pytest.mark.parametrize("bringer", NEEDS)
def test_who_brings_what_is_needed(bringer: str) -> None:
    groups, expected = NEEDS[bringer]
    assert needed(*groups) == expected


def test_what_is_not_known_and_what_is_there_is_no_finding() -> None:
    assert needed(group("lab", ONE, config("a", "shop")), live=True) == []
    assert needed(group("lab", ONE, config("a", "shop")), live=None) == []


def test_what_is_not_rendered_may_bring_it() -> None:
    assert needed(group("lab", ONE), unchecked=("what x applies",)) == [("warning", "kind")]
