"""What ends a wait before its time: tables of what Flux and Kubernetes say, and whether that is final."""

from __future__ import annotations

import time
from typing import Any

import pytest
from tests.unit.delivery.flux_model import NEW, OLD, source
from tests.unit.delivery.test_verdict import CHILD, RELEASE, RELEASES, chart, child, flux, release, released

from threezone.clients.kubernetes.api import Json
from threezone.clients.kubernetes.watch import World
from threezone.delivery import final, tree
from threezone.flux import health

ROOT = flux("lab", entries=(CHILD, RELEASE, "shop_charts_source.toolkit.fluxcd.io_HelmRepository"))
CHARTS = "/apis/source.toolkit.fluxcd.io/v1/helmrepositories"
STAMP = "reconcile.fluxcd.io/requestedAt"


def failed(reason: str, message: str = "", *, generation: int = 1, progress: str = "") -> list[Json]:
    ready = {"type": "Ready", "status": "False", "reason": reason, "message": message or reason}
    return [
        {**ready, "observedGeneration": generation},
        {"type": "Reconciling", "status": "True", "reason": "ProgressingWithRetry", "message": progress},
    ]


def fetching(revision: str) -> str:
    return f"Fetching manifests for revision {revision} with a timeout of 2m0s"


def requested(world: World, stamp: str) -> World:
    for items in world.values():
        for item in items.values():
            item["metadata"]["annotations"] = {STAMP: stamp}
    return world


NO_PATH = "kustomization path not found: stat /tmp/k/local/gitops/child: no such file or directory"
REPOSITORY = flux("charts", conditions=failed("IndexationFailed", "no such host"))
BROKEN_CHART = chart() | {
    "status": {"observedGeneration": 1, "conditions": failed("ChartPackageError", "no templates")}
}
WAITING_CHART = chart() | {"status": {"observedGeneration": 1, "conditions": failed("NoSourceArtifact")}}
CASES: dict[str, tuple[World, str, float]] = {
    "YAML of a child that is broken": (child(conditions=failed("BuildFailed")), "apps: BuildFailed", 0),
    "said of the revision before": (child(applied=OLD, conditions=failed("BuildFailed")), "", 0),
    "said of the spec before": (child(conditions=failed("BuildFailed", generation=0)), "", 0),
    "a request is not answered yet": (requested(child(conditions=failed("BuildFailed")), "now"), "", 0),
    "a request is answered": (
        requested(child(conditions=failed("BuildFailed"), lastHandledReconcileAt="now"), "now"), "BuildFailed", 0,
    ),
    "a path that is not among the files": (
        child(applied=OLD, conditions=failed("ArtifactFailed", NO_PATH, progress=fetching(NEW))), "path not found", 0,
    ),
    "a path that was not among the files before": (
        child(applied=OLD, conditions=failed("ArtifactFailed", NO_PATH, progress=fetching(OLD))), "", 0,
    ),
    "files that are fetched again": (child(conditions=failed("ArtifactFailed", "not found, retrying in 30s")), "", 0),
    "a dependency that is not ready": (child(conditions=failed("DependencyNotReady")), "", 0),
    "a new child that is suspended": (child(conditions=[], spec={"suspend": True}, applied=""), "suspended", 0),
    "a release that was not installed": (
        {RELEASES: {"shop/page": release("False", "InstallFailed")}}, "page: InstallFailed", 0,
    ),
    "a release whose chart cannot be built": (
        released(release("False", "SourceNotReady"), BROKEN_CHART), "HelmChart flux-system/shop-page: ChartPack", 5,
    ),
    "a release whose chart waits for its source": (
        released(release("False", "SourceNotReady"), WAITING_CHART), "", 0,
    ),
    "a release that failed with the chart before": (
        released(release("False", "UpgradeFailed", version="0.9.0"), chart()), "", 0,
    ),
    "a release whose values are missing": (
        released(release("False", "ValuesError", version=""), chart()), "page: ValuesError", 0,
    ),
    "a repository that cannot be reached": ({CHARTS: {"shop/charts": REPOSITORY}}, "no such host", 5),
}  # fmt: skip


@pytest.mark.parametrize(("world", "words", "seconds"), CASES.values(), ids=CASES)
def test_what_is_final(world: World, words: str, seconds: float) -> None:
    if not words:
        assert not any(trouble.final for trouble in tree.troubles(source(NEW), ROOT, world))
        final.require_curable(world, source(NEW), ROOT)
        return
    with pytest.raises(final.NotHealing) as caught:
        final.require_curable(world, source(NEW), ROOT)
    assert words in caught.value.evidence.splitlines()[0]
    assert caught.value.seconds == seconds


def test_any_other_object_says_what_it_lacks() -> None:
    root = flux("lab", entries=("shop_data__PersistentVolumeClaim", "_shop__Namespace", "shop_db_example.com_Policy"))
    claims, policies = "/api/v1/namespaces/shop/persistentvolumeclaims", "/apis/example.com/v1/namespaces/shop/policies"
    assert tree.followed(root, {}) == {claims, policies, health.EVENTS.format(namespace="shop")}
    ready: Json = {"type": "Ready", "status": "False", "reason": "NoBackup", "message": "there is none"}
    event: Json = {"type": "Warning", "reason": "ProvisioningFailed", "message": "no such class"}
    event["involvedObject"] = {"uid": "data"}
    world: World = {
        claims: {"shop/data": {"metadata": {"uid": "data"}, "status": {"phase": "Pending"}}},
        health.EVENTS.format(namespace="shop"): {"shop/one": event},
        policies: {"shop/db": {"metadata": {}, "status": {"conditions": [ready]}}},
    }
    assert tree.voices(source(NEW), root, world) == [
        "PersistentVolumeClaim shop/data: it is pending; ProvisioningFailed: no such class",
        "Policy shop/db: NoBackup: there is none",
    ]


def test_what_may_pass_is_final_after_its_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    error = final.NotHealing("the repository is not ready", evidence="no such host")
    error.seconds = 5.0

    def judge(_: World) -> Any:
        raise error

    judged = final.patient(judge)
    assert judged({}) == ["the repository is not ready: no such host"]
    now += 4
    assert judged({})
    now += 1
    with pytest.raises(final.NotHealing):
        judged({})


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (NO_PATH, ".sourceignore"),
        ("accumulating resources: open /tmp/k/logo.png: no such file or directory", ".png"),
        ("yaml: line 2: did not find expected ',' or ']'", "correct what it names"),
    ],
)
def test_the_advice_fits_the_words(words: str, hint: str) -> None:
    assert hint in final.advice(words)


def test_a_suspended_object_is_resumed() -> None:
    with pytest.raises(final.NotHealing) as caught:
        final.require_curable(child(conditions=[], spec={"suspend": True}), source(NEW), ROOT)
    assert caught.value.fix == "./run invoke flux.resume --object kustomization/apps --namespace flux-system"
