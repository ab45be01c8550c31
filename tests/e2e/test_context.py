"""`--context`: deliver to a cluster that threezone did not make, and leave it unchanged."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from tests.e2e.project import BY_HAND, Project

pytestmark = pytest.mark.timeout(3600)

CONTEXT = f"kind-{BY_HAND}"
AT = ("--context", CONTEXT)
KINDS = "namespaces,customresourcedefinitions,clusterroles,clusterrolebindings,persistentvolumes"


def everything(project: Project) -> set[str]:
    """The namespaces and the cluster-scoped objects that could be left behind."""
    listed = project.json("get", KINDS, context=CONTEXT)["items"]
    return {f"{each['kind']} {each['metadata']['name']} {each['metadata']['uid']}" for each in listed}


def status(project: Project) -> Any:
    return json.loads(project.invoke("flux.status", "--json", *AT, check=False).stdout)


def objects(project: Project) -> list[tuple[str, str, str, bool]]:
    found = status(project)["objects"]
    return [(each["kind"], each["namespace"], each["name"], each["ready"]) for each in found]


@pytest.fixture
def foreign(lab: Project, by_hand: str) -> Project:  # noqa: ARG001  made by hand, before the lab
    """The project, whose kubeconfig also has the cluster made by hand."""
    return lab


def test_a_foreign_cluster_is_delivered_to_and_restored(foreign: Project) -> None:
    before, ours = everything(foreign), foreign.json("get", "namespaces")["items"]
    states = list(foreign.state.glob("contexts/*"))  # of other files' tests
    try:
        for task in ("flux.install", "gitops.serve", "gitops.push"):
            refused = foreign.invoke(task, *AT, check=False)
            assert refused.exit_code == 8, refused.stderr
            assert CONTEXT in refused.stderr
        assert everything(foreign) == before, "nothing is changed before the yes"

        foreign.invoke("flux.install", *AT, "--yes", timeout=1200)
        foreign.invoke("gitops.serve", *AT, "--yes", timeout=1200)
        sha = foreign.run("git", "rev-parse", "HEAD").stdout.strip()
        assert f"@sha1:{sha}" in foreign.invoke("gitops.push", *AT).stdout, "the yes is for what is ours there"
        assert sha in foreign.invoke("gitops.wait", "--revision", "HEAD", *AT).stdout
        # `gitops.wait` has asked Flux for another run, which may be under way.
        expected = [("GitRepository", "threezone", "lab", True), ("Kustomization", "threezone", "lab", True)]
        end = time.monotonic() + 60
        while (actual := objects(foreign)) != expected and time.monotonic() < end:
            time.sleep(0.5)
        assert actual == expected
        foreign.invoke("flux.suspend", "--all", *AT)
        foreign.invoke("flux.resume", "--all", *AT)
        proved = json.loads(foreign.invoke("gitops.prove", "--json", *AT, timeout=1200).stdout)
        assert (proved["ok"], proved["context"], len(proved["phases"])) == (True, CONTEXT, 7)
    finally:
        foreign.invoke("gitops.serve", "--remove", "--yes", *AT, check=False)
        foreign.invoke("flux.uninstall", "--yes", *AT, check=False)
    assert everything(foreign) == before
    assert list(foreign.state.glob("contexts/*")) == states
    assert foreign.json("get", "namespaces")["items"] == ours, "the lab is another cluster"


def test_an_existing_flux_is_used_unchanged(foreign: Project) -> None:
    before = everything(foreign)
    flux = foreign.tool("flux")
    foreign.invoke("flux.install", *AT, "--yes", timeout=1200)  # the images are in the nodes, and then:
    manifests = foreign.run(flux, "install", "--export", "--components=source-controller,kustomize-controller").stdout
    file = foreign.root.parent / "flux.yaml"
    file.write_text(manifests)
    try:
        # As if somebody else had installed it.
        foreign.kubectl("apply", "--server-side", "--force-conflicts", "--field-manager=somebody", "-f", str(file),
                        context=CONTEXT)  # fmt: skip
        foreign.invoke("gitops.serve", *AT, "--yes", timeout=1200)
        versions = foreign.json("get", "deployments", "--namespace", "flux-system", context=CONTEXT)["items"]
        foreign.invoke("gitops.push", *AT)
        after = foreign.json("get", "deployments", "--namespace", "flux-system", context=CONTEXT)["items"]
        assert [each["spec"] for each in after] == [each["spec"] for each in versions]
        in_its_namespace = [each for each in status(foreign)["objects"] if each["namespace"] == "flux-system"]
        assert in_its_namespace == []
    finally:
        foreign.invoke("gitops.serve", "--remove", "--yes", *AT, check=False)
        foreign.invoke("flux.uninstall", "--yes", *AT, check=False)
    assert everything(foreign) == before


def test_an_unknown_context_and_two_names_are_refused(foreign: Project) -> None:
    unknown = foreign.invoke("flux.status", "--context", "nowhere", check=False)
    assert (unknown.exit_code, "there is no kubeconfig entry nowhere" in unknown.stderr) == (4, True)
    both = foreign.invoke("flux.status", "--context", CONTEXT, "--name", "kind", check=False)
    assert both.exit_code == 2
