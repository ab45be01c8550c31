"""Whether a delivery is well: recorded sequences of conditions, a model of the controller, and the tree below it."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.delivery.flux_model import NEW, OLD, OUTCOMES, Controller, source

from threezone.clients.kubernetes.api import Forbidden, Json
from threezone.clients.kubernetes.watch import Overdue, World
from threezone.core.errors import DeliveryError
from threezone.delivery import tree, verdict, wait
from threezone.delivery.sync import KUSTOMIZATIONS, SOURCES, Target
from threezone.flux.objects import is_ready

WHOLE = 99  # a run that is not cut off
# The writes of a run, counted: two for each patch. The health check begins with the seventh.
FETCHING, CHECKING, CHECKED, READY_SAID = 2, 8, 10, 11
BEGUN = (NEW, "succeeded", WHOLE)
# What was recorded, as runs (revision, how it ends, how many of its writes are seen) → whether the lab is well, and
# whether a moment's wait tells.
RECORDED: dict[str, tuple[list[tuple[str, str, int]], bool, bool]] = {
    "applied and healthy": ([BEGUN], True, False),
    "the first health check runs": ([(NEW, "succeeded", CHECKING)], False, True),
    "healthy, and not said yet": ([(NEW, "succeeded", CHECKED)], False, True),
    "Ready is written, the applied revision is not": ([(NEW, "succeeded", READY_SAID)], False, True),
    "the health check of the next commit runs": (
        [(OLD, "succeeded", WHOLE), (NEW, "succeeded", CHECKING)], False, True,
    ),
    "the interval is over": ([BEGUN, (NEW, "succeeded", FETCHING)], False, True),
    "the health check is repeated": ([BEGUN, (NEW, "succeeded", CHECKING)], False, True),
    "the interval was over": ([BEGUN, BEGUN], True, False),
    "the health check failed": ([(NEW, "HealthCheckFailed", WHOLE)], False, False),
    "it failed, and Flux begins again": (
        [(NEW, "HealthCheckFailed", WHOLE), (NEW, "succeeded", FETCHING)], False, False,
    ),
    "it failed, and is repeated": ([(NEW, "HealthCheckFailed", WHOLE), (NEW, "succeeded", CHECKING)], False, False),
    "it failed after it had been well": ([BEGUN, (NEW, "HealthCheckFailed", WHOLE)], False, False),
    "it failed so, and Flux begins again": (
        [BEGUN, (NEW, "HealthCheckFailed", WHOLE), (NEW, "succeeded", FETCHING)], False, False,
    ),
    "the build failed": ([(NEW, "BuildFailed", WHOLE)], False, False),
    "the build failed without a trace, and Flux begins again": (
        [BEGUN, (NEW, "BuildFailed", WHOLE), (NEW, "succeeded", FETCHING)], False, True,
    ),
    "it failed and has healed": ([(NEW, "HealthCheckFailed", WHOLE), BEGUN], True, False),
    "killed while it checked": ([(NEW, "HealthCheckFailed", CHECKING)], False, True),
    "back at the last commit, after a failed one": (
        [BEGUN, (OLD, "HealthCheckFailed", WHOLE), (NEW, "succeeded", FETCHING)], False, False,
    ),
}  # fmt: skip


def played(runs: list[tuple[str, str, int]]) -> Controller:
    model = Controller()
    for revision, outcome, writes in runs:
        model.source = source(revision)
        list(islice(model.run(outcome), writes))
    return model


@pytest.mark.parametrize(("runs", "well", "busy"), RECORDED.values(), ids=RECORDED)
def test_recorded_conditions(runs: list[tuple[str, str, int]], well: bool, busy: bool) -> None:
    model = played(runs)
    seen = verdict.read(model.source, model.stored, {})
    assert (seen.ready, seen.busy) == (well, busy), seen.message
    assert well or seen.message


def test_the_message_of_the_failure_is_kept_while_flux_tries_again() -> None:
    model = played(RECORDED["it failed, and Flux begins again"][0])
    assert "Job/shop/migrate" in verdict.read(model.source, model.stored, {}).message


STEPS = st.one_of(
    st.tuples(st.just("run"), st.sampled_from(OUTCOMES)),  # whatever runs then is killed
    st.tuples(st.just("write"), st.one_of(st.just(WHOLE), st.integers(1, 13))),
    st.tuples(st.just("fetch"), st.sampled_from((OLD, NEW))),
    st.tuples(st.just("change"), st.just("")),
)


@settings(max_examples=400)
@given(st.lists(STEPS, max_size=14))
def test_no_order_of_patches_gives_a_false_well(steps: list[tuple[str, Any]]) -> None:
    """After each write: what is called well has been applied at this revision and generation, by the last verdict."""
    model = Controller()
    run: Iterator[str] = iter(())

    def check() -> None:
        seen = verdict.read(model.source, model.stored, {})
        well = model.last == ("succeeded", model.revision, model.stored["metadata"]["generation"])
        assert not seen.ready or well
        assert not (seen.busy and seen.ready)
        assert seen.ready or seen.message

    for step, what in steps:
        if step == "run":
            run = model.run(what)
        elif step == "fetch":
            model.source = source(what)
        elif step == "change":
            model.stored["metadata"]["generation"] += 1
        for _ in islice(run, what) if step == "write" else ():
            check()
        check()
    list(model.run("succeeded"))
    assert verdict.read(model.source, model.stored, {}).ready, "a run that ends well is seen"


def flux(
    name: str,
    applied: str = NEW,
    ready: str = "True",
    *,
    reason: str = "ReconciliationSucceeded",
    entries: tuple[str, ...] = (),
    spec: dict[str, Any] | None = None,
    **status: object,
) -> Json:
    return {
        "metadata": {"name": name, "namespace": "flux-system", "generation": 1},
        "spec": {"sourceRef": {"kind": "GitRepository", "name": "lab"}, **(spec or {})},
        "status": {
            "observedGeneration": 1,
            "lastAppliedRevision": applied,
            "lastAttemptedRevision": applied,
            "conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": f"{name}: {reason}"}],
            "inventory": {"entries": [{"id": entry, "v": _version(entry)} for entry in entries]},
            **status,
        },
    }


def _version(entry: str) -> str:
    return "v2" if entry.endswith("HelmRelease") else "v1"


CHILD = "flux-system_apps_kustomize.toolkit.fluxcd.io_Kustomization"
RELEASE = "shop_page_helm.toolkit.fluxcd.io_HelmRelease"
OTHER = "flux-system_other_source.toolkit.fluxcd.io_GitRepository"
JOB = "shop_migrate_batch_Job"
WEB = "shop_web_apps_Deployment"
CHILDREN = "/apis/kustomize.toolkit.fluxcd.io/v1/kustomizations"
RELEASES = "/apis/helm.toolkit.fluxcd.io/v2/helmreleases"
GIT = "/apis/source.toolkit.fluxcd.io/v1/gitrepositories"
JOBS = "/apis/batch/v1/namespaces/shop/jobs"
DEPLOYMENTS = "/apis/apps/v1/namespaces/shop/deployments"
DAEMONSETS = "/apis/apps/v1/namespaces/shop/daemonsets"
WELL = flux("lab", entries=(CHILD,))


def workload(name: str, kind: str, status: str, message: str = "") -> Json:
    return {
        "metadata": {"name": name, "namespace": "shop", "generation": 1, "uid": name},
        "spec": {},
        "status": {"conditions": [{"type": kind, "status": status, "reason": "Said", "message": message}]},
    }


def release(ready: str = "True", reason: str = "InstallSucceeded", version: str = "1.0.0+b") -> Json:
    made = flux("page", version, ready, reason=reason, helmChart="flux-system/shop-page")
    made["metadata"]["namespace"] = "shop"
    return made


def chart(observed: str = NEW) -> Json:
    return flux("shop-page", artifact={"revision": "1.0.0+b"}, observedSourceArtifactRevision=observed)


def released(page: Json, its_chart: Json) -> World:
    return {RELEASES: {"shop/page": page}, tree.CHARTS: {"flux-system/shop-page": its_chart}}


def child(**more: Any) -> World:
    return {CHILDREN: {"flux-system/apps": flux("apps", **more)}}


CASES: dict[str, tuple[World, str]] = {
    "a child at the revision": (child(), ""),
    "a child at the one before": (child(applied=OLD), "Kustomization flux-system/apps: it is at main@sha1:aaaaaaa"),
    "a child that failed": (child(ready="False", reason="HealthCheckFailed"), "apps: HealthCheckFailed"),
    "a child that is stalled": (
        child(conditions=[
            {"type": "Stalled", "status": "True", "reason": "AccessDenied", "message": "no"},
            {"type": "Ready", "status": "True"},
        ]),
        "AccessDenied: no",
    ),
    "a child that is gone": ({CHILDREN: {}}, "Kustomization flux-system/apps: it does not exist"),
    "a child of which nothing is known": (child(conditions=[]), "not reconciled yet"),
    "a child whose spec was changed": (child(observedGeneration=0), "its latest change"),
    "a suspended child at the revision": (child(spec={"suspend": True}), ""),
    "a suspended child behind": (child(applied=OLD, spec={"suspend": True}), "it is suspended"),
    "a child's Job that failed": (
        child(entries=(JOB,)) | {JOBS: {"shop/migrate": workload("migrate", "Failed", "True", "no database")}},
        "Job shop/migrate: Said: no database",
    ),
    "a child's Job that is done and gone": (child(entries=(JOB,)) | {JOBS: {}}, ""),
    "a child's Deployment that is gone": (child(entries=(WEB,)) | {DEPLOYMENTS: {}}, "shop/web: it does not exist"),
    "a child's Deployment that is not available": (
        child(entries=(WEB,)) | {DEPLOYMENTS: {"shop/web": workload("web", "Available", "False", "no replicas")}},
        "Deployment shop/web: no replicas",
    ),
    "a child's DaemonSet that its controller has not taken up": (
        child(entries=("shop_log_apps_DaemonSet",)) | {DAEMONSETS: {"shop/log": {"metadata": {"generation": 1}}}},
        "DaemonSet shop/log: its latest change",
    ),
    "a child's release that failed": (
        child(entries=(RELEASE,)) | {RELEASES: {"shop/page": release("False", "UpgradeFailed")}},
        "HelmRelease shop/page: UpgradeFailed",
    ),
    "a release with a chart of the revision before": (
        child(entries=(RELEASE,)) | released(release(), chart(OLD)),
        "its chart is not built",
    ),
    "a release that has not taken up its chart": (
        child(entries=(RELEASE,)) | released(release(version="0.9.0"), chart()),
        "it has 0.9.0, not 1.0.0+b",
    ),
    "a release with its chart": (
        child(entries=(RELEASE,)) | released(release(), chart()),
        "",
    ),
    "another source of the same repository behind": (
        child(entries=(OTHER,)) | {GIT: {"flux-system/other": source(OLD)}},
        "GitRepository flux-system/other: it holds main@sha1:aaaaaaa",
    ),
    "a child that applies to another cluster": (child(entries=(WEB,), spec={"kubeConfig": {}}) | {DEPLOYMENTS: {}}, ""),
    "a Deployment that has not taken up its change": (
        child(entries=(WEB,))
        | {DEPLOYMENTS: {"shop/web": workload("web", "Available", "True") | {"status": {"observedGeneration": 0}}}},
        "not taken up",
    ),
    "a child of that source": (
        child(entries=(OTHER,), spec={"sourceRef": {"kind": "GitRepository", "name": "other"}}, applied=OLD)
        | {GIT: {"flux-system/other": source(NEW)}},
        "it is at main@sha1:aaaaaaa",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("world", "words"), CASES.values(), ids=CASES)
def test_the_tree_below_the_kustomization(world: World, words: str) -> None:
    seen = verdict.read(source(NEW), WELL, world)
    assert seen.ready is not bool(words), seen.message
    assert words in seen.message or not words


def test_a_child_of_the_roots_oci_repository_is_compared_with_it() -> None:
    spec = {"sourceRef": {"kind": "OCIRepository", "name": "lab"}}
    root, behind = flux("lab", entries=(CHILD,), spec=spec), child(applied=OLD, spec=spec)
    assert [trouble.what for trouble in tree.troubles(source(NEW), root, behind)] == ["Kustomization flux-system/apps"]


def test_suspended_objects_are_named() -> None:
    root = flux("lab", entries=(CHILD,), spec={"suspend": True})
    seen = verdict.read(source(NEW), root, child(spec={"suspend": True}))
    assert seen.suspended == ("Kustomization flux-system/lab", "Kustomization flux-system/apps")
    behind = verdict.read(source(NEW), flux("lab", OLD, spec={"suspend": True}), {})
    assert (behind.ready, behind.busy) == (False, False)
    assert "suspended" in behind.message


def test_the_leaf_is_named_before_flux_has_given_up() -> None:
    root = played([(NEW, "HealthCheckFailed", CHECKING)]).stored
    failed = {JOBS: {"shop/migrate": workload("migrate", "Failed", "True", "no database")}}
    seen = verdict.read(source(NEW), root, failed)
    assert seen.message.startswith("Job shop/migrate")
    assert not seen.busy


GENERATIONS = [
    # metadata, status, the condition's own → ready
    (2, 2, None, True),
    (2, 2, 2, True),
    (2, 1, None, False),
    (2, 1, 2, False),
    (2, 2, 1, False),
    (2, -1, None, False),
    (2, None, 2, True),
    (2, None, 1, False),
    (2, None, None, False),
    (None, None, None, True),
]


@pytest.mark.parametrize(("generation", "observed", "said", "ready"), GENERATIONS)
def test_one_rule_for_the_generation(
    generation: int | None, observed: int | None, said: int | None, ready: bool
) -> None:
    item: Json = {"metadata": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    if generation is not None:
        item["metadata"]["generation"] = generation
    if observed is not None:
        item["status"]["observedGeneration"] = observed
    if said is not None:
        item["status"]["conditions"][0]["observedGeneration"] = said
    assert is_ready(item) is ready
    # To suspend an object is a change that its controller does not reconcile.
    assert is_ready({**item, "spec": {"suspend": True}})


class Server:
    """An API server that holds these paths, and notes what it is asked."""

    def __init__(self, held: dict[str, Any]) -> None:
        self.held = held
        self.asked: list[str] = []
        self.merged: list[str] = []

    def get(self, path: str) -> Any:
        self.asked.append(path)
        return self.held.get(path)

    def merge(self, path: str, change: Json) -> None:
        self.merged.append(path)
        for listed in self.held.values():
            for item in listed.get("items", []):
                if path.endswith(f"/{item['metadata']['name']}"):
                    item["metadata"].setdefault("annotations", {}).update(change["metadata"]["annotations"])


def server(root: Json, world: World) -> Server:
    lists = {path: {"items": list(items.values())} for path, items in world.items()}
    return Server({f"{SOURCES}/lab": source(NEW), f"{KUSTOMIZATIONS}/lab": root, **lists})


def test_a_lab_without_children_costs_no_extra_request() -> None:
    api: Any = server(flux("lab", entries=(WEB,)), {})
    seen = verdict.observe(api, Target("lab"), [workload("web", "Available", "True")])
    assert seen is not None
    assert seen.ready
    assert api.asked == [f"{SOURCES}/lab", f"{KUSTOMIZATIONS}/lab"]


def test_each_level_of_the_tree_is_listed_once() -> None:
    world = child(entries=(RELEASE, JOB)) | {RELEASES: {"shop/page": release()}, JOBS: {}, tree.CHARTS: {}}
    api: Any = server(WELL, world)
    seen = verdict.observe(api, Target("lab"), [])
    assert seen is not None
    assert seen.ready, seen.message
    assert sorted(api.asked[2:]) == sorted([CHILDREN, RELEASES, tree.CHARTS, JOBS])


def refusing(api: Server, forbidden: str) -> Any:
    """The server's `get`, where one path may not be listed."""
    get = api.get

    def refused(path: str) -> Any:
        if path == forbidden:
            raise Forbidden("no", dict.fromkeys(("user", "verb", "resource", "group", "namespace"), ""))
        return get(path)

    return refused


def test_what_a_login_may_not_list_is_left_out() -> None:
    api: Any = server(WELL, {})
    api.get = refusing(api, CHILDREN)
    seen = verdict.observe(api, Target("lab"), [])
    assert seen is not None
    assert seen.ready


@pytest.mark.parametrize(("outcome", "well"), [("succeeded", True), ("HealthCheckFailed", False), ("", False)])
def test_observe_waits_for_a_verdict_that_is_about_to_come(
    monkeypatch: pytest.MonkeyPatch, outcome: str, well: bool
) -> None:
    model = played([BEGUN])
    run = model.run(outcome or "succeeded")
    list(islice(run, FETCHING))
    api: Any = server(copy.deepcopy(model.stored), {JOBS: {}})

    def watched(_api: object, paths: list[str], judge: Any, **_: object) -> World:
        assert paths == [SOURCES, KUSTOMIZATIONS]
        for _write in run if outcome else ():
            world = {SOURCES: {"flux-system/lab": model.source}, KUSTOMIZATIONS: {"flux-system/lab": model.stored}}
            if not judge(world):
                return world
        raise Overdue("no verdict within 8 s")

    monkeypatch.setattr(verdict, "wait_for", watched)
    seen = verdict.observe(api, Target("lab"), [])
    assert seen is not None
    assert seen.ready is well
    hasty = verdict.observe(api, Target("lab"), [], patient=False)
    assert hasty is not None
    assert (hasty.ready, hasty.busy) == (False, True)


def waiting(monkeypatch: pytest.MonkeyPatch, root: Json, world: World) -> tuple[Server, list[list[str]]]:
    """The server after `wait_delivered`, and what each wait found missing when it judged that world once."""
    api, judged = server(root, world), list[list[str]]()
    whole = {SOURCES: {"flux-system/lab": source(NEW)}, KUSTOMIZATIONS: {"flux-system/lab": root}, **world}

    def once(_api: object, _paths: object, judge: Any, **_: object) -> World:
        judged.append(judge(whole))
        return whole

    monkeypatch.setattr(wait, "wait_for", once)
    assert wait.wait_delivered(api, Target("lab"), NEW, "", 1) == NEW  # type: ignore[arg-type]
    return api, judged


def test_a_delivery_waits_for_the_whole_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    api, judged = waiting(monkeypatch, WELL, child(applied=OLD))
    assert judged == [[], ["Kustomization flux-system/apps: it is at main@sha1:aaaaaaa, not at main@sha1:bbbbbbb"]]
    assert api.merged == ["/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/flux-system/kustomizations/apps"]
    assert waiting(monkeypatch, WELL, child())[1] == [[]], "nothing more is waited for"


def test_a_failed_job_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = child(entries=(JOB,)) | {JOBS: {"shop/migrate": workload("migrate", "Failed", "True", "no database")}}
    with pytest.raises(DeliveryError, match="Job shop/migrate is not ready") as caught:
        waiting(monkeypatch, WELL, failed)
    assert "no database" in caught.value.evidence


def test_a_failure_from_before_the_request_may_have_healed(monkeypatch: pytest.MonkeyPatch) -> None:
    _, judged = waiting(monkeypatch, WELL, child(ready="False", reason="HealthCheckFailed"))
    assert "HealthCheckFailed" in judged[1][0]


def test_a_tree_that_is_not_ready_in_time_ends_with_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    api: Any = server(WELL, child(applied=OLD))

    def late(*_: object, **__: object) -> World:
        raise Overdue("not ready within 1 s", evidence="Kustomization flux-system/apps")

    monkeypatch.setattr(wait, "wait_for", late)
    with pytest.raises(DeliveryError) as caught:
        wait.wait_for_tree(api, Target("lab"), 1)
    assert "in time" in caught.value.message
    assert caught.value.evidence == "Kustomization flux-system/apps"


def test_what_a_login_may_not_list_is_named_and_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    notes: list[str] = []
    api: Any = server(WELL, {})
    api.get = refusing(api, CHILDREN)
    monkeypatch.setattr(wait, "wait_for", lambda *_, **__: pytest.fail("nothing is left to wait for"))
    monkeypatch.setattr(wait, "note", notes.append)
    wait.wait_for_tree(api, Target("lab"), 1)
    assert [CHILDREN in line for line in notes] == [True]
