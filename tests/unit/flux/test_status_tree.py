"""The tree of `flux.status --tree`."""

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.flux.flux_objects import GIT, KINDS, KUSTOMIZATION, RELEASE, flux_object, status

from threezone.clients.kubernetes.api import Api, Forbidden, Json
from threezone.clients.kubernetes.watch import World
from threezone.flux import status_tree
from threezone.flux.objects import FluxObject
from threezone.flux.status_tree import Node

DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
PODS = "/api/v1/namespaces/shop/pods"
SETS = "/apis/apps/v1/namespaces/shop/replicasets"


def brings(*ids: str) -> Json:
    return {"inventory": {"entries": [{"id": each, "v": "v1"} for each in ids]}}


def child(name: str) -> str:
    return f"flux-system_{name}_kustomize.toolkit.fluxcd.io_Kustomization"


def every(trees: tuple[Node, ...]) -> Iterator[Node]:
    for tree in trees:
        yield tree
        yield from every(tree.children)


def deployment(available: int) -> Json:
    counts = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": available, "observedGeneration": 1}
    meta = {"name": "web", "namespace": "shop", "generation": 1, "uid": "d"}
    return {"metadata": meta, "spec": {"replicas": 1}, "status": counts}


def waiting() -> dict[str, dict[str, Json]]:
    """A Deployment whose only pod waits for its image."""
    replicaset = {"metadata": {"name": "web-1", "namespace": "shop", "uid": "r", "ownerReferences": [{"uid": "d"}]}}
    state = {"waiting": {"reason": "ImagePullBackOff", "message": "no such image"}}
    pod = {
        "metadata": {"name": "web-1-a", "namespace": "shop", "uid": "p", "ownerReferences": [{"uid": "r"}]},
        "spec": {"containers": [{"name": "it"}]},
        "status": {"phase": "Pending", "containerStatuses": [{"name": "it", "ready": False, "state": state}]},
    }
    return {
        DEPLOYMENTS: {"shop/web": deployment(0)},
        SETS: {"shop/web-1": replicaset},
        PODS: {"shop/web-1-a": pod},
    }


ROOT = flux_object(
    KUSTOMIZATION,
    status=status()
    | {"lastAppliedRevision": "main@sha1:0123456789"}
    | brings(child("apps"), child("gone"), "flux-system_chart_helm.toolkit.fluxcd.io_HelmRelease", "shop_a__ConfigMap"),
)
APPS = flux_object(
    KUSTOMIZATION, "apps", status=status("False", "BuildFailed", "bad\nYAML") | brings("shop_web_apps_Deployment")
)
CHART = flux_object(RELEASE, "chart", status=status() | {"helmChart": "flux-system/flux-system-chart"})
BUILT = flux_object(KINDS["HelmChart"], "flux-system-chart", status=status())
SOURCE = flux_object(GIT, status=status() | {"artifact": {"revision": "main@sha1:0123456789"}})


def test_what_an_object_has_brought_stands_below_it() -> None:
    source, root = status_tree.build([SOURCE, BUILT, ROOT, APPS, CHART], waiting())
    assert (source.object, source.children) == ("GitRepository flux-system/lab", ())
    apps, gone, chart = root.children
    assert root.others == {"ConfigMap": 1}
    assert (apps.object, apps.ready, apps.message) == ("Kustomization flux-system/apps", False, "bad YAML")
    assert (gone.object, gone.ready, gone.message) == ("Kustomization flux-system/gone", False, "it does not exist")
    assert [each.object for each in chart.children] == ["HelmChart flux-system/flux-system-chart"]
    (web,) = apps.children
    assert (web.object, web.ready) == ("Deployment shop/web", False)
    assert "ImagePullBackOff" in web.message


def test_a_workload_is_ready_unknown_or_missing() -> None:
    worlds: dict[bool | None, World] = {
        True: {DEPLOYMENTS: {"shop/web": deployment(1)}},
        None: {},
        False: {DEPLOYMENTS: {"shop/other": {}}},
    }
    for ready, world in worlds.items():
        (tree,) = status_tree.build([APPS], world)
        assert tree.children[0].ready is ready


def test_the_table_draws_branches() -> None:
    shown = status_tree.rows(status_tree.build([ROOT, APPS, CHART, BUILT], waiting()))
    assert [row[0] for row in shown] == [
        "OBJECT",
        "Kustomization flux-system/lab",
        "├─ Kustomization flux-system/apps",
        "│  └─ Deployment shop/web",
        "├─ Kustomization flux-system/gone",
        "├─ HelmRelease flux-system/chart",
        "│  └─ HelmChart flux-system/flux-system-chart",
        "└─ 1 ConfigMap",
    ]
    assert shown[1][1:3] == ["yes", "main@sha1:0123456"]
    assert [row[1] for row in shown[2:5]] == ["no", "no", "no"]


def test_a_suspended_object_says_so() -> None:
    suspended = flux_object(KUSTOMIZATION, spec={"suspend": True}, status=status("False"))
    assert status_tree.rows(status_tree.build([suspended], {}))[1][1] == "suspended"


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=20))
def test_every_object_is_shown_once_even_if_they_bring_each_other(edges: list[tuple[int, int]]) -> None:
    flux: list[FluxObject] = [
        flux_object(
            KUSTOMIZATION,
            f"k{number}",
            status=status() | brings(*(child(f"k{to}") for of, to in edges if of == number)),
        )
        for number in range(6)
    ]
    shown = [node.object for node in every(status_tree.build(flux, {}))]
    assert sorted(shown) == sorted(one.what for one in flux)


def test_a_collection_that_may_not_be_listed_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def get(_: Api, path: str) -> Json:
        if path == PODS:
            raise Forbidden("pods", dict.fromkeys(("user", "verb", "resource", "group", "namespace")))
        return {"items": [deployment(0)] if path == DEPLOYMENTS else []}

    monkeypatch.setattr(Api, "get", get)
    world = status_tree.observe(Api.__new__(Api), [APPS])
    assert world[PODS] == {}
    (tree,) = status_tree.build([APPS], world)
    assert tree.children[0].message == "waits for 1 availableReplicas (there are 0)"
