"""Names of clusters: what is refused wherever a name comes in, and what a new cluster's nodes allow."""

from pathlib import Path
from typing import Any

import pytest

from threezone.clients import kind
from threezone.cluster import orphans
from threezone.cluster.lifecycle import Observed, plan
from threezone.cluster.spec.declared import parse
from threezone.core import labels, names, process, settings
from threezone.core.errors import ThreezoneError, UsageError
from threezone.core.plan import StepKind
from threezone.core.process import Completed
from threezone.images import prune
from threezone.tasks.options import chosen_cluster, open_lab

HEAD = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
PLANE, WORKER = "- role: control-plane\n", "- role: worker\n"
HOSTILE = [
    ".", "..", "...", "../x", "a/b", "a/../b", "/etc", "-", "-a", "--help", ".a", "a b", "a\n", "\n", "a\tb", "a\0b",
    "A", "ä", "a_b", "a:b", "a*", "~", "$HOME", "a\\b", "٣", "context:a", "a" * 51, "a" * 5000,
]  # fmt: skip
DOTTED = ["a.b", "a..b", "a.", "a-", "1.2.3", "kind.local"]  # kind takes them


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_refused_by_every_way_in(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for read in (names.cluster, open_lab, chosen_cluster, lambda each: names.new_cluster(each, ["worker"])):
        with pytest.raises(UsageError):
            read(name)
    with pytest.raises(UsageError, match=r"threezone\.cluster\.name"):
        settings.parse({"cluster": {"name": name}}, tmp_path / "invoke.yaml")
    with pytest.raises(UsageError, match="name"):
        parse(f"{HEAD}name: {_quoted(name)}\n", Path("kind.yaml"))


def _quoted(name: str) -> str:
    import json

    return json.dumps(name)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_context_names_no_cluster(name: str) -> None:
    assert names.in_context(f"kind-{name}") == ""


@pytest.mark.parametrize("context", ["", "kind-", "kind", "docker-desktop", "KIND-a"])
def test_a_context_that_is_not_of_kind_names_no_cluster(context: str) -> None:
    assert names.in_context(context) == ""


def test_the_context_of_a_kind_cluster_names_it() -> None:
    assert names.in_context("kind-kind-1") == "kind-1"


@pytest.mark.parametrize("name", DOTTED)
def test_an_existing_cluster_may_have_a_name_that_a_new_one_may_not(name: str) -> None:
    assert names.cluster(name) == name
    declared = parse(HEAD, Path("kind.yaml"))
    for state in ("absent", "interrupted"):
        with pytest.raises(UsageError):
            plan(Observed(name, state), declared, [], "image")
    assert [step.kind for step in plan(Observed(name, "stopped"), declared, [], "image")] == [StepKind.START_NODES]
    assert plan(Observed(name, "running"), declared, [], "image") == ()


@pytest.mark.parametrize(
    ("nodes", "longest"),
    [
        ("", 49),  # NAME-control-plane
        (PLANE, 49),
        (PLANE + WORKER * 3, 49),
        (PLANE * 2, 40),  # NAME-external-load-balancer
        (PLANE * 3 + WORKER, 40),
    ],
)
def test_a_name_is_as_long_as_its_nodes_allow(nodes: str, longest: int) -> None:
    declared = parse(HEAD + (f"nodes:\n{nodes}" if nodes else ""), Path("kind.yaml"))
    (*_, create) = plan(Observed("a" * longest, "absent"), declared, [], "image")
    assert create.kind is StepKind.CREATE_CLUSTER
    with pytest.raises(UsageError, match=f"at most {longest} "):
        plan(Observed("a" * (longest + 1), "absent"), declared, [], "image")


def test_a_name_in_the_file_that_is_too_long_for_its_nodes_is_refused_there() -> None:
    nodes = f"nodes:\n{PLANE}{PLANE}"
    assert parse(f"{HEAD}name: {'a' * 40}\n{nodes}", Path("kind.yaml")).name == "a" * 40
    with pytest.raises(UsageError, match=r"kind\.yaml:3.*at most 40 "):
        parse(f"{HEAD}name: {'a' * 41}\n{nodes}", Path("kind.yaml"))


@pytest.mark.parametrize("name", ["kind", "a", "a.b.c", "a" * 50, f"{'a' * 36}-{'b' * 13}", *DOTTED])
def test_jobs_create_a_cluster_whose_name_is_valid_with_several_control_planes(name: str) -> None:
    made = names.for_jobs(name)
    assert names.new_cluster(made, ["control-plane", "control-plane"]) == made
    assert made.endswith("-ci")


def test_labels_of_somebody_elses_containers_make_nothing_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def row(of: str, role: str = "control-plane") -> str:
        return "\t".join(["id", f"{of}-node", of, role, of, "running", "image", "", "Up", "kind"])

    listed = "\n".join([row("lab"), *map(row, [*HOSTILE, "a\tb"]), row("..", kind.BALANCER)])
    images = Completed(("docker",), 0, "sha256:1\n", "", 0.1)

    def run(argv: list[str], **_: Any) -> Completed:
        return Completed(tuple(argv), 0, listed, "", 0.1) if "ps" in argv else images

    monkeypatch.setattr(process, "run", run)
    assert {node.cluster for node in kind.nodes() if node.ours} == {"lab"}
    monkeypatch.setattr(prune, "observe", tuple)
    assert orphans.owners() == ("lab",)


def test_a_cluster_without_a_name_is_not_all_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[str]] = []

    def run(argv: list[str], **_: Any) -> Completed:
        asked.append(argv)
        return Completed(tuple(argv), 0, "", "", 0.1)

    monkeypatch.setattr(process, "run", run)
    assert kind.nodes("") == ()
    assert f"label={labels.KIND_CLUSTER}=" in asked[0]


def test_an_images_label_that_is_no_name_is_not_a_cluster_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [prune.ImageName(kind.NODE_IMAGE, "1", "id", 1, owner) for owner in ("..", "", "lab")]
    monkeypatch.setattr(kind, "nodes", tuple)
    monkeypatch.setattr(prune, "observe", lambda: made)
    assert orphans.owners() == ("lab",)


@pytest.mark.parametrize("cluster", ["..", "rescued/x", ""])
def test_no_step_takes_a_name_that_nobody_has_checked(cluster: str) -> None:
    with pytest.raises(ThreezoneError):
        kind.forget(cluster)
    with pytest.raises(ThreezoneError), kind.private(cluster, "create"):
        pass
