"""Deliveries of earlier settings: what is said of them, and what is deleted."""

from pathlib import Path
from typing import Any

import pytest

from threezone.clients.kubernetes.api import MANAGER, Json
from threezone.cluster.lab import Lab
from threezone.core.errors import DeliveryError
from threezone.core.labels import PREVIEW
from threezone.core.plan import StepKind
from threezone.core.settings import GitOps, Settings
from threezone.delivery import git_server, handover, push, repository, sync, wait
from threezone.delivery.handover import Declared
from threezone.delivery.repository import Commit
from threezone.delivery.sync import Target
from threezone.flux import deletion
from threezone.flux.objects import KUSTOMIZE

PATH = "local/gitops/clusters/local"
COMMIT = Commit("b" * 40, PATH)
OLD, NEW = Target("lab"), Target("team")


def lab(foreign: str = "", **gitops: str) -> Lab:
    return Lab(Path("/project"), Settings(gitops=GitOps(**gitops)), "lab", foreign=foreign)  # type: ignore[arg-type]


def item(kind: str, name: str, *, by: str = "", ours: bool = True, applied: tuple[str, ...] = (), **spec: Any) -> Json:
    """A Flux object; `by` is the Kustomization that brought it, `applied` are the ConfigMaps of its inventory."""
    labels = {f"{KUSTOMIZE}/name": by, f"{KUSTOMIZE}/namespace": "flux-system"} if by else {}
    fields = [{"manager": MANAGER if ours and not by else "kubectl", "operation": "Apply"}]
    entries = [{"id": f"hello_{each}__ConfigMap", "v": "v1"} for each in applied]
    return {
        "kind": kind,
        "metadata": {"name": name, "namespace": "flux-system", "labels": labels, "managedFields": fields},
        "spec": spec,
        "status": {"inventory": {"entries": entries}},
    }


def source(name: str, *, ours: bool = True) -> Json:
    return item("GitRepository", name, ours=ours, url=git_server.url(name), ref={"branch": "main"})


def kustomization(name: str, of: str = "", *, by: str = "", ours: bool = True, applied: tuple[str, ...] = ()) -> Json:
    ref = {"kind": "GitRepository", "name": of or name}
    return item("Kustomization", name, by=by, ours=ours, applied=applied, sourceRef=ref, path=f"./{PATH}", prune=True)


class Cluster:
    """The API server with Flux's objects; deletions and patches in their order."""

    def __init__(self, *items: Json) -> None:
        self.items = {self.path(each): each for each in items}
        self.done: list[tuple[str, str]] = []

    @staticmethod
    def path(each: Json) -> str:
        collection = sync.SOURCES if each["kind"] == "GitRepository" else sync.KUSTOMIZATIONS
        return f"{collection}/{each['metadata']['name']}"

    def get(self, path: str) -> Json | None:
        if path in (sync.SOURCES, sync.KUSTOMIZATIONS, handover.ALL_KUSTOMIZATIONS):
            last = path.rpartition("/")[2]
            return {"items": [each for where, each in self.items.items() if where.split("/")[-2] == last]}
        return self.items.get(path)

    def merge(self, path: str, change: Json) -> None:
        self.items[path]["spec"] |= change["spec"]

    def apply(self, path: str, wanted: Json) -> None:
        self.done.append(("apply", path.rpartition("/")[2]))
        self.items.setdefault(path, item(wanted["kind"], wanted["metadata"]["name"]) | {"spec": wanted["spec"]})

    def delete(self, path: str) -> None:
        gone = self.items.pop(path)
        if gone["kind"] == "Kustomization":
            assert (gone["spec"]["suspend"], gone["spec"]["prune"]) == (True, False), "it would prune"
        self.done.append(("delete", f"{gone['kind']} {gone['metadata']['name']}"))

    @property
    def names(self) -> set[str]:
        return {f"{each['kind']} {each['metadata']['name']}" for each in self.items.values()}


@pytest.fixture
def notes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(deletion, "delete", lambda api, path: api.delete(path))
    monkeypatch.setattr(deletion, "wait_gone", lambda *_: None)
    texts: list[str] = []
    monkeypatch.setattr(handover, "note", texts.append)
    return texts


def deliver(monkeypatch: pytest.MonkeyPatch, cluster: Cluster, brought: tuple[Json, ...] = ()) -> None:
    """Deliver to the repository team; Flux then has applied what the commit brings."""

    def delivered(*_: object, **__: object) -> str:
        cluster.done.append(("delivered", "team"))
        cluster.items |= {Cluster.path(each): each for each in brought}
        return "main@sha1:" + COMMIT.sha

    monkeypatch.setattr(Lab, "api", cluster)
    monkeypatch.setattr(sync, "request", lambda *_: "stamp")
    monkeypatch.setattr(wait, "wait_delivered", delivered)
    monkeypatch.setattr(repository, "history", lambda *_: None)
    push.reconcile(lab(repository="team"), COMMIT)


def test_a_renamed_repository_hands_over_without_pruning(monkeypatch: pytest.MonkeyPatch, notes: list[str]) -> None:
    cluster = Cluster(source("lab"), kustomization("lab", applied=("both", "old")))
    deliver(monkeypatch, cluster, (kustomization("team", applied=("both", "new")),))
    assert cluster.names == {"GitRepository team", "Kustomization team"}
    assert cluster.done == [
        ("delete", "Kustomization lab"),  # before the new one applies: it would apply its old commit over it
        ("apply", "team"),
        ("apply", "team"),
        ("delivered", "team"),
        ("delete", "GitRepository lab"),
    ]
    (note,) = notes
    assert "hello/old" in note


def test_objects_of_others_are_not_touched(monkeypatch: pytest.MonkeyPatch, notes: list[str]) -> None:
    others = (
        source("theirs", ours=False),
        kustomization("theirs", ours=False),
        kustomization("reads", "lab", ours=False),
    )
    cluster = Cluster(*others, source("lab"), kustomization("lab"))
    deliver(monkeypatch, cluster)
    assert {"GitRepository theirs", "Kustomization theirs", "Kustomization reads", "GitRepository lab"} < cluster.names
    assert "Kustomization lab" not in cluster.names
    assert any("flux-system/reads" in note for note in notes)
    declared = handover.observe(cluster, NEW)  # type: ignore[arg-type]
    assert [each.target for each in declared] == [NEW], "a source that others read is no delivery of ours"


def test_children_that_only_the_old_delivery_had_do_not_go_on_applying(
    monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    child = kustomization("child", "lab", by="lab", applied=("kept",))
    cluster = Cluster(source("lab"), kustomization("lab"), child)
    deliver(monkeypatch, cluster)
    assert cluster.names == {"GitRepository team", "Kustomization team"}
    assert any("hello/kept" in note for note in notes)


def test_a_commit_that_still_reads_the_old_source_is_an_error(
    monkeypatch: pytest.MonkeyPatch, notes: list[str]
) -> None:
    cluster = Cluster(source("lab"), kustomization("lab"), kustomization("child", "lab", by="lab"))
    with pytest.raises(DeliveryError, match="flux-system/child"):
        deliver(monkeypatch, cluster, (kustomization("child", "lab", by="team"),))
    assert {"GitRepository lab", "Kustomization child"} < cluster.names
    declared = handover.observe(cluster, NEW)  # type: ignore[arg-type]
    assert [each.target for each in handover.former(declared, NEW)] == [OLD]
    assert notes == []


HELD = Declared(OLD, git_server.url("lab"), "main", PATH)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({}, ()),
        ({"repository": "team"}, ("lab.git", "team.git")),
        ({"branch": "next"}, ("main", "next")),
        ({"url": "https://example.com/team.git"}, ("lab.git", "https://example.com/team.git")),
    ],
)
def test_a_changed_setting_is_a_step_with_old_and_new(settings: dict[str, str], words: tuple[str, ...]) -> None:
    steps = handover.plan(lab(**settings), [HELD], COMMIT)
    assert [step.kind for step in steps] == [StepKind.REPLACE_DELIVERY] * bool(words)
    assert all(word in step.sentence for step in steps for word in words)


def test_a_changed_path_counts_where_the_commit_is_known() -> None:
    (step,) = handover.plan(lab(), [HELD], Commit(COMMIT.sha, "elsewhere"))
    assert PATH in step.sentence
    assert "elsewhere" in step.sentence
    assert handover.plan(lab(), [HELD], None) == ()


def test_a_delivery_on_a_cluster_of_others_is_replaced_only_after_a_yes() -> None:
    (step,) = handover.plan(lab("theirs", repository="team"), [HELD], COMMIT)
    assert step.asks


def test_own_kustomizations_are_read_with_their_source() -> None:
    cluster = Cluster(source("lab"), kustomization("lab"), source("x", ours=False), kustomization("y", "x", ours=False))
    assert handover.observe(cluster, NEW) == (HELD,)  # type: ignore[arg-type]


def test_a_preview_is_no_delivery_of_earlier_settings() -> None:
    objects = [source("preview-x"), kustomization("preview-x")]
    assert [each.target.name for each in handover.read(objects[:1], objects[1:], NEW)] == ["preview-x"]
    for each in objects:
        each["metadata"]["labels"] = {PREVIEW: "x"}
    assert handover.read(objects[:1], objects[1:], NEW) == ()
