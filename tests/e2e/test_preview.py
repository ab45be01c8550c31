"""preview.*: two branches beside main, in namespaces of their own; main is not touched, and nothing is left."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from tests.e2e.project import Project

from threezone.core import process

pytestmark = pytest.mark.timeout(1800)

PAGE = "local/gitops/apps/hello/index.html"
CLUSTER = "local/gitops/clusters/local/kustomization.yaml"
ROLE = "local/gitops/clusters/local/role.yaml"
FIRST, SECOND, BROKEN = "new-text", "feature/Second", "broken"
LABEL = "threezone.io/preview"
MANAGER = "kustomize-controller"
KINDS = "deployments.apps,services,configmaps"


@pytest.fixture(scope="module")
def hello(lab: Project) -> Iterator[Project]:
    """The lab, with main checked out and delivered."""
    lab.invoke("gitops.push")
    yield lab
    lab.run("git", "switch", "--quiet", "--force", "main")
    for preview in listed(lab):
        lab.invoke("preview.stop", "--branch", preview["branch"])
    for branch in lab.run("git", "branch", "--format=%(refname:short)").stdout.split():
        if branch != "main":
            lab.run("git", "branch", "--quiet", "--delete", "--force", branch)


def listed(lab: Project) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(lab.invoke("preview.list", "--json").stdout)
    return found


def switch(lab: Project, branch: str) -> None:
    """Check out a branch, which begins at main."""
    exists = lab.run("git", "rev-parse", "--verify", f"refs/heads/{branch}", check=False).exit_code == 0
    lab.run("git", "switch", "--quiet", *([branch] if exists else ["--create", branch, "main"]))


def changed(lab: Project, branch: str, text: str) -> str:
    """Commit a text on a branch, and return to main. Returns the commit."""
    switch(lab, branch)
    lab.write(PAGE, f"{text}\n")
    sha = lab.commit(text)
    lab.run("git", "switch", "--quiet", "main")
    return sha


def started(lab: Project, branch: str, *options: str) -> dict[str, Any]:
    data: dict[str, Any] = json.loads(lab.invoke("preview.start", "--branch", branch, "--json", *options).stdout)
    return data


def answer(lab: Project, namespace: str) -> str:
    return lab.kubectl("get", "--raw", f"/api/v1/namespaces/{namespace}/services/hello:80/proxy/").stdout.strip()


def main(lab: Project) -> dict[str, Any]:
    """What must not change: main's objects, and Flux's for it, without what their controllers write into the status."""
    items = lab.json("get", KINDS, "--namespace", "hello")["items"]
    items += [lab.json("get", kind, "lab", "--namespace", "flux-system") for kind in ("gitrepository", "kustomization")]
    items += [lab.json("get", "namespace", "hello")]
    metadata = [(item["kind"], item["metadata"]) for item in items]
    return {
        f"{kind} {meta['name']}": [meta["uid"], meta.get("generation"), meta.get("labels"), _versions(kind, meta)]
        for kind, meta in metadata
    }


def _versions(kind: str, meta: dict[str, Any]) -> str:
    """The version of an object that nobody writes to by itself."""
    return meta["resourceVersion"] if kind in ("Service", "ConfigMap", "Namespace") else ""


def managers(lab: Project, namespace: str) -> set[str]:
    """Who has applied the fields of the preview's own objects, except their status."""
    items = lab.json("get", KINDS, "--namespace", namespace, "--selector", LABEL, "--show-managed-fields")["items"]
    assert {item["kind"] for item in items} == {"Deployment", "Service", "ConfigMap"}
    fields = [field for item in items for field in item["metadata"]["managedFields"]]
    return {
        field["manager"] for field in fields if field.get("subresource") != "status" and field["operation"] == "Apply"
    }


def left(lab: Project) -> str:
    """The names of everything that has the label of previews, in the whole cluster."""
    kinds = f"{KINDS},namespaces,serviceaccounts,rolebindings,gitrepositories,kustomizations"
    return lab.kubectl("get", kinds, "--all-namespaces", "--selector", LABEL, "--output", "name").stdout


def server_refs(lab: Project) -> str:
    """The refs of the lab's repository, as the Git server lists them."""
    path = "/api/v1/namespaces/threezone/services/git:80/proxy/lab.git/info/refs?service=git-upload-pack"
    return lab.kubectl("get", "--raw", path).stdout


def test_two_previews_and_main_run_side_by_side(hello: Project) -> None:
    before, text = main(hello), answer(hello, "hello")
    first_sha, second_sha = changed(hello, FIRST, "the first branch"), changed(hello, SECOND, "the second branch")
    first, second = started(hello, FIRST, "--ttl", "8h"), started(hello, SECOND)
    (one,), (two,) = first["namespaces"].values(), second["namespaces"].values()
    assert (one, two != one, two.startswith("preview-feature-second-")) == ("preview-new-text", True, True)
    assert (first["revision"], second["revision"]) == (f"{FIRST}@sha1:{first_sha}", f"{SECOND}@sha1:{second_sha}")
    answers = [answer(hello, namespace) for namespace in ("hello", one, two)]
    assert answers == [text, "the first branch", "the second branch"]
    assert managers(hello, one) == managers(hello, two) == {MANAGER}
    assert main(hello) == before
    assert [(each["branch"], each["ready"]) for each in listed(hello)] == [(SECOND, True), (FIRST, True)]
    opened = hello.invoke("preview.open", "--branch", FIRST, "--once")
    assert opened.stdout.strip() == "the first branch"
    hello.invoke("gitops.push")  # main's own delivery takes no preview for an old one
    assert len(listed(hello)) == 2
    assert main(hello) == before


def test_flux_may_write_nowhere_else(hello: Project) -> None:
    account = "--as=system:serviceaccount:flux-system:preview-new-text"
    own = hello.kubectl(
        "auth", "can-i", "delete", "deployments", "--namespace", "preview-new-text", account, check=False
    )
    others = [
        hello.kubectl("auth", "can-i", *words, account, check=False).stdout.strip()
        for words in (
            ("delete", "deployments", "--namespace", "hello"),
            ("create", "configmaps", "--namespace", "flux-system"),
            ("create", "clusterroles"),
            ("create", "namespaces"),
        )
    ]
    assert (own.stdout.strip(), others) == ("yes", ["no"] * 4)


def test_a_new_commit_of_a_branch_is_delivered(hello: Project) -> None:
    before = main(hello)
    changed(hello, FIRST, "the first branch, again")
    data = started(hello, FIRST)
    assert answer(hello, "preview-new-text") == "the first branch, again"
    assert data["expires"], "the end that was set before is kept"
    assert main(hello) == before


def test_a_watch_delivers_new_commits_of_previews(hello: Project) -> None:
    lines: list[str] = []
    command = ["./run", "invoke", "gitops.watch", "--branch", "main"]
    with process.Running(command, cwd=hello.root, env=hello.env, on_line=lines.append):
        sha = changed(hello, FIRST, "the watched branch")
        deadline = time.monotonic() + 120
        while not any(f"{FIRST}@sha1:{sha} applied" in line for line in lines):
            assert time.monotonic() < deadline, lines
            time.sleep(0.2)
    assert answer(hello, "preview-new-text") == "the watched branch"


def test_what_cannot_be_there_twice_is_refused(hello: Project) -> None:
    before, previews = main(hello), listed(hello)
    switch(hello, BROKEN)
    text = (hello.root / CLUSTER).read_text()
    hello.write(CLUSTER, f"{text}  - role.yaml\n")
    hello.write(
        ROLE, "{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRole, metadata: {name: e2e}, rules: []}\n"
    )
    hello.commit("A role")
    hello.run("git", "switch", "--quiet", "main")
    refused = hello.invoke("preview.start", "--branch", BROKEN, check=False)
    own = hello.invoke("preview.start", "--branch", "main", check=False)
    assert (refused.exit_code, own.exit_code) == (2, 2)
    assert "ClusterRole e2e" in refused.stderr
    assert (main(hello), listed(hello)) == (before, previews)


def test_a_broken_preview_leaves_the_lab_healthy(hello: Project) -> None:
    switch(hello, BROKEN)
    hello.run("git", "reset", "--quiet", "--hard", "main")
    deployment = "local/gitops/apps/hello/deployment.yaml"
    text = (hello.root / deployment).read_text()
    hello.write(deployment, text.replace("image: threezone/hello:lab", "image: threezone/no-such-image:lab"))
    hello.commit("A missing image")
    hello.run("git", "switch", "--quiet", "main")
    failed = hello.invoke("preview.start", "--branch", BROKEN, check=False)
    assert failed.exit_code == 6
    assert hello.invoke("flux.status").exit_code == 0
    hello.invoke("up", "--yes")
    hello.invoke("preview.stop", "--branch", BROKEN)
    assert BROKEN not in {each["branch"] for each in listed(hello)}


def test_a_stop_that_was_killed_is_finished_by_the_next_one(hello: Project) -> None:
    hello.run("git", "branch", "--force", "killed", "main")
    started(hello, "killed")
    command = ["./run", "invoke", "preview.stop", "--branch", "killed"]
    with process.Running(command, cwd=hello.root, env=hello.env, on_line=lambda _: None):
        deadline = time.monotonic() + 60
        while hello.kubectl("get", "kustomization", "preview-killed", "-n", "flux-system", check=False).exit_code == 0:
            assert time.monotonic() < deadline
    assert "killed" in hello.invoke("preview.prune", "--dry-run").stdout or "killed" not in left(hello)
    hello.invoke("preview.stop", "--branch", "killed")
    assert "killed" not in left(hello)


def test_the_end_of_its_time_and_a_deleted_branch_are_pruned(hello: Project) -> None:
    before = main(hello)
    started(hello, FIRST, "--ttl", "1s")
    time.sleep(1.1)
    hello.run("git", "branch", "--quiet", "--delete", "--force", SECOND)
    planned = hello.invoke("preview.prune", "--dry-run").stdout
    assert "its time ended" in planned
    assert "its branch is deleted" in planned
    assert len(listed(hello)) == 2
    hello.invoke("preview.prune")
    assert hello.invoke("preview.prune").stdout.strip() == "nothing to do"
    assert listed(hello) == []
    assert left(hello) == ""
    gone = hello.kubectl("get", "namespace", "preview-new-text", check=False)
    assert "NotFound" in gone.stderr
    assert main(hello) == before


def test_the_commands_of_the_page(hello: Project) -> None:
    before = main(hello)
    hello.run("git", "branch", "--quiet", "--delete", "--force", FIRST)
    hello.run("git", "switch", "--create", FIRST)
    hello.write(PAGE, "the text of the page\n")
    hello.run("git", "commit", "--all", "--message", "A new text")
    hello.invoke("preview.start", "--ttl", "8h")
    assert hello.invoke("preview.open", "--branch", FIRST, "--once").stdout.strip() == "the text of the page"
    assert FIRST in hello.invoke("preview.list").stdout
    assert f"refs/heads/{FIRST}" in server_refs(hello)
    hello.invoke("preview.stop", "--branch", FIRST)
    hello.invoke("preview.prune")
    assert hello.invoke("preview.stop", "--branch", FIRST).stdout.startswith("there is no preview"), "safe to repeat"
    assert left(hello) == ""
    assert f"refs/heads/{FIRST}" not in server_refs(hello)
    assert main(hello) == before
