"""When a cluster is marked as complete, whatever an optional step does; and why a create failed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from threezone.clients import kind
from threezone.clients.kind import Node
from threezone.cluster import containers, create, kubeadm, lifecycle, local_registry, preflight
from threezone.cluster.containers import Mount
from threezone.cluster.drift import detect
from threezone.cluster.lab import Lab
from threezone.core import events
from threezone.core.errors import ClusterError, CommandFailed, EngineError, ThreezoneError, ToolError
from threezone.core.plan import Step, StepKind
from threezone.core.settings import Settings
from threezone.images import registry
from threezone.images.engine_images import Image
from threezone.images.registry import LiveInstance
from threezone.lab import steps

pytestmark = pytest.mark.usefixtures("unleased")

NODE = Node("id-1", "lab-control-plane", "lab", "control-plane", "running", "threezone/node:v1.35.0-lab", ours=True)
RUNS = {"threezone-registry": LiveInstance("threezone-registry", "running", "image", "", 5001)}


def failing(error: BaseException) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lab:
    (tmp_path / "local/kubernetes").mkdir(parents=True)
    (tmp_path / "local/kubernetes/kind.yaml").write_text("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n")
    made = Lab(tmp_path, Settings(), "lab", requested_channel="source")
    monkeypatch.setattr(Lab, "api", None)
    made.__dict__.update(kubernetes="v1.35.0", overlays=(), tools={"kind": Path("kind")}, engine=None)
    return made


@pytest.fixture
def marked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The nodes that were marked. The cluster is Ready, and a registry runs."""
    found: list[str] = []
    monkeypatch.setattr(create, "wait_for", lambda *_, **__: {lifecycle.NODES: {}})
    monkeypatch.setattr(kind, "nodes", lambda _=None: (NODE,))
    monkeypatch.setattr(create, "mark_node", lambda node, _: found.append(node.name))
    monkeypatch.setattr(detect, "mark", lambda _: "record")
    monkeypatch.setattr(detect, "annotate", lambda *_: None)
    monkeypatch.setattr(registry, "observe", lambda _: RUNS)
    monkeypatch.setattr(registry, "apply", lambda *_: None)
    monkeypatch.setattr(local_registry, "configure", lambda *_: ())
    monkeypatch.setattr(local_registry, "network", lambda: "kind")
    return found


Failure = tuple[object, str, Exception]
FAILURES: list[Failure] = [
    (local_registry, "configure", ClusterError("the node lab-control-plane takes no files")),
    (registry, "apply", ToolError("the registry does not listen")),
    (registry, "observe", CommandFailed(["docker", "ps"], None, "", seconds=30)),
    (local_registry, "network", EngineError("the engine does not answer")),
    (detect, "annotate", ThreezoneError("the API server is away")),
]


@pytest.mark.parametrize("through", ["cluster.create", "up"])
@pytest.mark.parametrize("failure", FAILURES, ids=[name for _, name, _ in FAILURES])
def test_an_optional_step_fails_with_a_warning_in_a_marked_cluster(
    lab: Lab, marked: list[str], monkeypatch: pytest.MonkeyPatch, failure: Failure, through: str
) -> None:
    where, name, error = failure
    notes: list[str] = []
    monkeypatch.setattr(where, name, failing(error))
    with events.listening(lambda event: notes.append(event.text)):
        if through == "up":
            monkeypatch.setattr(create, "create", lambda *_, **__: create.Created("kubeconfig", frozenset()))
            steps.apply(lab, [Step(StepKind.CREATE_CLUSTER, "create"), Step(StepKind.WAIT_FOR_NODES, "ready")])
        else:
            assert create.ready(lab, new=True)
    assert marked == ["lab-control-plane"]
    assert [note for note in notes if note.startswith("warning: ") and str(error) in note]


def test_a_kill_while_the_registry_is_configured_leaves_a_marked_cluster(
    lab: Lab, marked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_registry, "configure", failing(KeyboardInterrupt()))
    with pytest.raises(KeyboardInterrupt):
        create.ready(lab, new=True)
    assert marked == ["lab-control-plane"]


@pytest.mark.parametrize("mounted", [False, True])
@pytest.mark.usefixtures("marked")
def test_a_mount_over_the_nodes_store_hides_the_images_that_are_inside(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, mounted: bool
) -> None:
    inside = frozenset({"threezone/git-server:1"})
    mounts = {"id-1": Mount("/home/me/cache", "/var/lib/containerd")} if mounted else {}
    monkeypatch.setattr(preflight, "check", lambda *_: None)
    monkeypatch.setattr(create, "run_kind", lambda *_, **__: "kubeconfig")
    monkeypatch.setattr(create, "checked_node_image", lambda _: (Image("node:1", "id", 1), inside))
    monkeypatch.setattr(create, "cluster_image", lambda *_: "node:1-lab")
    monkeypatch.setattr(containers, "mounts", lambda *_: mounts)
    monkeypatch.setattr(kubeadm, "check_created", failing(EngineError("the engine does not answer")))
    assert create.create(lab) == create.Created("kubeconfig", frozenset() if mounted else inside)


# As systemd 252 wrote it into a node's console when the host had given out its 128 instances.
EXHAUSTED = "Failed to create control group inotify object: Too many open files\nFailed to allocate manager object.\n"


def test_a_console_without_inotify_instances_is_diagnosed_with_a_fix() -> None:
    cause, fix = create.diagnosed(EXHAUSTED)
    assert "inotify" in cause
    assert "sysctl fs.inotify.max_user_instances=512" in fix


def test_other_open_files_are_not_blamed_on_inotify() -> None:
    assert create.diagnosed("accept: Too many open files\n") == ("", "")
    assert create.diagnosed("") == ("", "")
