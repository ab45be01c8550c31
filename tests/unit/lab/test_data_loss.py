"""What would go with a cluster, as it is listed."""

from typing import Any

from threezone.clients.git import command
from threezone.delivery.git_backup import refspecs
from threezone.lab.data_loss import Branch, DataLoss, loaded_later, undelivered, volumes


def item(name: str, **metadata: Any) -> dict[str, Any]:
    namespace, _, name = name.rpartition("/")
    return {"metadata": {"namespace": namespace or "default", "name": name, **metadata}}


def applied(manager: str, operation: str = "Apply") -> dict[str, Any]:
    return {"managedFields": [{"manager": manager, "operation": operation}]}


def test_only_what_nobody_brings_back_is_counted() -> None:
    inventory = {"entries": [{"id": "hello_web_apps_Deployment"}, {"id": "_hello__Namespace"}]}
    found = undelivered(
        {
            "Kustomization": [
                {**item("flux-system/lab", **applied("threezone")), "status": {"inventory": inventory}},
                item("team/theirs"),
                item("team/reconciled-by-us", **applied("threezone", "Update")),
            ],
            "Deployment": [
                item("hello/web"),
                item("hello/by-hand"),
                item("kube-system/coredns"),
                item("kube-system/metrics"),
                item("flux-system/source-controller", labels={"app.kubernetes.io/part-of": "flux"}),
                item("threezone/git"),
                item("team/chart", labels={"helm.toolkit.fluxcd.io/name": "chart"}),
            ],
            "Pod": [item("hello/web-1", ownerReferences=[{}]), item("default/debug")],
            "Job": [],
        }
    )
    assert found == (("Deployment", 2), ("Kustomization", 2), ("Pod", 1))


def test_volumes_have_their_sizes_and_ours_is_left_out_when_it_is_backed_up() -> None:
    def claim(name: str, asked: str, has: str = "") -> dict[str, Any]:
        status = {"capacity": {"storage": has}} if has else {}
        return {**item(name), "spec": {"resources": {"requests": {"storage": asked}}}, "status": status}

    claims = [claim("threezone/git", "1Gi", "1Gi"), claim("default/data", "1Gi", "2Gi"), claim("team/waits", "5Gi")]
    assert volumes(claims, "threezone/git") == ("default/data (2Gi)", "team/waits (5Gi)")
    assert "threezone/git (1Gi)" in volumes(claims, ""), "without a server that could be asked, it is lost"


def test_images_that_came_later_and_that_up_does_not_bring() -> None:
    came = "registry.k8s.io/pause:3.10\nsha256:aa\n"
    now = (
        "docker.io/library/mine:1\ndocker.io/library/mine@sha256:bb\nexample.invalid/only@sha256:cc\nsha256:dd\n"
        "docker.io/threezone/hello:lab\nghcr.io/fluxcd/source-controller:v1\nimport-2026-01-01@sha256:ee\n"
    )
    plane, worker = f"{came}---\n{came}{now}", f"---\n{came}other.invalid/on-one-node:2\n"
    assert loaded_later([plane, worker]) == (
        "docker.io/library/mine:1",
        "example.invalid/only@sha256:cc",
        "other.invalid/on-one-node:2",
    )
    assert loaded_later([]) == ()


def test_the_losses_are_a_plan_that_asks() -> None:
    lost = DataLoss(
        volumes=tuple(f"a/{number} (1Gi)" for number in range(8)),
        images=("mine:1",),
        objects=(("Deployment", 2), ("Pod", 1)),
        repositories=("lab", "second"),
        commits=(Branch("second", "refs/heads/main", 1), Branch("lab", "refs/tags/v1", None)),
    )
    assert all(action.asks for action in lost.steps)
    assert [action.sentence for action in lost.steps] == [
        "lose 8 volumes: a/0 (1Gi), a/1 (1Gi), a/2 (1Gi), a/3 (1Gi), a/4 (1Gi), a/5 (1Gi) and 2 more",
        "lose 1 image that the node image does not have: mine:1",
        "lose what Flux does not deliver: 2 Deployments, 1 Pod",
    ]
    (backup,) = lost.backup_steps
    assert not backup.asks, "nothing is lost by it"
    assert "lab, second; only there: second main: 1 commit, lab tags/v1: commits that cannot be counted" in (
        backup.sentence
    )
    assert DataLoss().steps == DataLoss().backup_steps == ()


def test_what_is_put_back_never_overwrites() -> None:
    line = "abcd"  # each follows from the ones before it

    def follows(newer: str, older: str) -> bool:
        return newer in line and older in line and line.index(older) <= line.index(newer)

    main = "refs/heads/main"
    assert refspecs({main: "b"}, {}, follows) == {main: "b"}
    assert refspecs({main: "b"}, {main: "b"}, follows) == {}
    assert refspecs({main: "b"}, {main: "a"}, follows) == {main: "b"}
    assert refspecs({main: "b"}, {main: "c"}, follows) == {}
    assert refspecs({main: "b"}, {main: "x"}, follows) == {"refs/heads/rescued/main": "b"}
    there = {main: "x", "refs/heads/rescued/main": "b"}
    assert refspecs({main: "b"}, there, follows) == {}, "it was put there before"
    taken = {main: "x", "refs/heads/rescued/main": "y"}
    assert refspecs({main: "b"}, taken, follows) == {"refs/heads/rescued1/main": "b"}
    assert refspecs({main: "b"}, {}, follows, [main]) == {"refs/heads/rescued/main": "b"}, "another project's"
    tag = "refs/tags/v1"
    assert refspecs({tag: "b"}, {tag: "a"}, follows) == {"refs/tags/rescued/v1": "b"}, "a tag does not move"


def test_gits_lines_of_refs() -> None:
    assert command.refs("aa\trefs/heads/main\nbb\trefs/tags/v 1\n") == {"refs/heads/main": "aa", "refs/tags/v 1": "bb"}
    assert command.refs("") == {}
