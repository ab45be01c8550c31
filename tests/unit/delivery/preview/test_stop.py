"""The end of a preview: why, in which order, and what a watch does."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from threezone.clients.git.command import Answer
from threezone.clients.git.own import Own
from threezone.clients.kubernetes.api import Json
from threezone.cluster.lab import Lab
from threezone.core.errors import ClusterError, DeliveryError, UsageError
from threezone.core.labels import PREVIEW
from threezone.core.settings import GitOps, Settings
from threezone.delivery import git_server
from threezone.delivery.preview import cluster, follow, model, start, stop
from threezone.delivery.preview.layout import Layout
from threezone.delivery.preview.model import Preview
from threezone.delivery.sync import Target
from threezone.flux import deletion

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHA = "0123456789" * 4
X = Preview("x", "deploy", SHA, {"hello": "preview-x"}, applied=f"x@sha1:{SHA}")
TARGET = Target("preview-x")
LAB = Lab(Path("/project"), Settings(), "lab")
ENTRY = {"id": "preview-x_page__ConfigMap", "v": "v1"}


@pytest.mark.parametrize(
    ("served", "deleted", "expires", "words"),
    [
        ({"x"}, False, None, ""),
        ({"x"}, False, NOW + timedelta(seconds=1), ""),
        ({"x"}, False, NOW, "its time ended"),
        ({"x"}, True, None, "its branch is deleted"),
        ({"main"}, False, None, "not on the lab's Git server"),
        (None, False, None, ""),
    ],
)
def test_a_preview_ends_with_its_time_or_its_branch(
    served: set[str] | None, expires: datetime | None, words: str, *, deleted: bool
) -> None:
    preview = Preview("x", expires=expires, applied="x@sha1:abc")
    found = stop.reason(preview, NOW, served, deleted=deleted)
    assert (words in found) if words else found == ""
    assert stop.reason(Preview("x"), NOW, {"main"}, deleted=False) == "", "it is being started"


class Cluster:
    """The API server with a preview. What is deleted is gone; `dies` ends the program before a deletion."""

    def __init__(self) -> None:
        labels = {PREVIEW: "x"}
        root = {
            "kind": "Kustomization",
            "metadata": {"name": "preview-x", "namespace": "flux-system", "labels": labels},
        }
        root["status"] = {"inventory": {"entries": [ENTRY]}}
        self.items: dict[str, Json] = {
            TARGET.paths[0]: model.source(X, TARGET, "http://git/lab.git"),
            TARGET.paths[1]: root,
            "/api/v1/namespaces/preview-x": {"metadata": {"name": "preview-x", "labels": labels}},
            cluster.account_path(TARGET): {"metadata": {"name": "preview-x", "labels": labels}},
        }
        self.done: list[str] = []
        self.dies = ""

    def get(self, path: str, labelSelector: str = "") -> Any:  # noqa: N803  the API's own name
        if not labelSelector:
            return self.items.get(path)
        return {"items": [each for name, each in self.items.items() if name.rpartition("/")[0] == path]}

    def merge(self, path: str, change: Json) -> None:
        self.items[path]["metadata"]["annotations"] |= change["metadata"]["annotations"]

    def delete(self, path: str) -> None:
        if self.dies and self.dies in path:
            raise KeyboardInterrupt
        if self.items.pop(path, None):
            self.done.append(path.split("/")[-2])


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setattr(Lab, "api", made)
    monkeypatch.setattr(deletion, "delete", lambda _, path: made.delete(path))

    def waited(_api: object, wanted: dict[str, list[str]], *_: object) -> None:
        made.done.extend(f"{path} gone" for path in wanted if "config" in path)

    monkeypatch.setattr(deletion, "wait_gone", waited)
    monkeypatch.setattr(stop, "_delete_branch", lambda *_: made.done.append("branch"))
    return made


ORDER = [
    "kustomizations", "/api/v1/namespaces/preview-x/configmaps gone", "namespaces", "serviceaccounts", "branch",
    "gitrepositories",
]  # fmt: skip


def test_the_record_goes_last(api: Cluster) -> None:
    stop.stop(LAB, X)
    assert (api.done, api.items) == (ORDER, {})
    stop.stop(LAB, X)
    assert api.done == [*ORDER, "branch"], "safe to repeat"


@pytest.mark.parametrize("dies", ["kustomizations/", "namespaces/preview-x", "serviceaccounts/", "gitrepositories/"])
def test_what_a_killed_stop_has_left_ends_by_itself_and_can_be_stopped_again(api: Cluster, dies: str) -> None:
    api.dies = dies
    with pytest.raises(KeyboardInterrupt):
        stop.stop(LAB, X)
    (left,) = cluster.observe(LAB)
    assert left.is_expired(datetime.now(UTC)), "a watch does not start it again"
    api.dies = ""
    stop.stop(LAB, left)
    assert api.items == {}


def answer(code: int, text: str) -> Answer:
    return Answer(code, text, text)


@pytest.mark.parametrize(
    ("listed", "pushed", "fails", "pushes"),
    [
        (answer(0, ""), answer(0, ""), False, 0),
        (answer(0, f"{SHA}\trefs/heads/x\n"), answer(0, ""), False, 1),
        (answer(0, f"{SHA}\trefs/heads/x\n"), answer(1, "[remote rejected] deletion of the current branch"), False, 1),
        (answer(0, f"{SHA}\trefs/heads/x\n"), answer(1, "fatal"), True, 1),
        (answer(128, "fatal"), answer(0, ""), True, 0),
    ],
)
def test_the_branch_is_deleted_on_the_git_server(
    listed: Answer, pushed: Answer, fails: bool, pushes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    @contextmanager
    def forwarded(_: object) -> Iterator[object]:
        yield SimpleNamespace(address="127.0.0.1:1")

    refspecs: list[Any] = []
    monkeypatch.setattr(Lab, "api", None)
    monkeypatch.setattr(git_server, "is_installed", lambda _: True)
    monkeypatch.setattr(git_server, "password", lambda *_: "secret")
    monkeypatch.setattr(git_server, "forwarded", forwarded)
    monkeypatch.setattr(Own, "init", lambda _: None)
    monkeypatch.setattr(Own, "remote_refs", lambda *_: listed)

    def push(_self: Own, _url: str, refspec: list[str], **_: object) -> Answer:
        refspecs.append(refspec)
        return pushed

    monkeypatch.setattr(Own, "push", push)
    if fails:
        with pytest.raises(DeliveryError, match="could not be deleted"):
            stop._delete_branch(LAB, X)
    else:
        stop._delete_branch(LAB, X)
    assert refspecs == [[":refs/heads/x"]] * pushes
    stop._delete_branch(LAB, Preview("main"))
    assert len(refspecs) == pushes, "never the branch of main"


def test_a_name_that_something_else_has_is_not_taken(api: Cluster) -> None:
    layout = Layout({"hello": "preview-x"})
    cluster.require_free(LAB.api, X, TARGET, layout)
    api.items["/api/v1/namespaces/preview-x"]["metadata"]["labels"] = {}
    with pytest.raises(UsageError, match="something else has"):
        cluster.require_free(LAB.api, X, TARGET, layout)


@pytest.mark.parametrize(("gitops", "branch"), [(GitOps(), "main"), (GitOps(url="https://git.example/x"), "x")])
def test_the_branch_of_main_and_another_source_are_refused(gitops: GitOps, branch: str) -> None:
    with pytest.raises(UsageError):
        start.observe(Lab(Path("/project"), Settings(gitops=gitops), "lab"), branch)


class Tip:
    def __init__(self, _root: Path, branch: str) -> None:
        self.sha = {"x": "f" * 40, "same": SHA}.get(branch, "")


def test_a_watch_delivers_each_new_commit_once_and_ends_what_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    same, old = Preview("same", applied=f"same@sha1:{SHA}"), Preview("old", expires=NOW)
    stopped: list[str] = []
    outcomes: list[Exception | str] = [ClusterError("away"), DeliveryError("broken", evidence="words"), "applied"]

    def delivered(_lab: object, preview: Preview, *_: object, **__: object) -> str:
        assert preview.branch == "x"
        if isinstance(outcome := outcomes.pop(0), Exception):
            raise outcome
        return outcome

    monkeypatch.setattr(cluster, "observe", lambda _: (X, same, old))
    monkeypatch.setattr(follow, "Tip", Tip)
    monkeypatch.setattr(follow, "stop", lambda _, preview: stopped.append(preview.branch))
    monkeypatch.setattr(follow, "_delivered", delivered)
    tried: dict[str, str] = {}
    lines: list[str] = []
    for _ in range(3):
        follow.look(LAB, tried, lines.append)
    assert len(outcomes) == 1, "it tried again after the outage, but not after the failure"
    assert stopped == ["old"] * 3
    assert [line for line in lines if line.startswith("x")] == ["x: was not delivered: broken\n  | words"]
