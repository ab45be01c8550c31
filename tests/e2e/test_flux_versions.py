"""Another version of Flux by the setting: `up` upgrades and downgrades it in place, and the workloads stay.

In the channel source the controllers are built from Go modules. The module proxy of the machines that run these tests
lacks github.com/fluxcd/pkg/artifact v0.18.3, which source-controller 1.9.5 asks for: there, the test builds that
controller with v0.18.0, and removes the images after it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml
from tests.e2e.project import Project, free_port

from threezone.clients.docker import images as docker_images
from threezone.core.errors import Declined
from threezone.images import build, debian_base, engine_images, programs
from threezone.images.versions import images
from threezone.toolchain import channel, golang

pytestmark = pytest.mark.timeout(5400)

NAME, PORT = "threezone-flux-version", free_port(26843, 36843)
CONTEXT = f"kind-{NAME}"
OWN, NEWER = "2.7.3", "2.9.5"
REPLACED = {"source-controller": (("github.com/fluxcd/pkg/artifact", "github.com/fluxcd/pkg/artifact@v0.18.0"),)}


def ask_for(project: Project, version: str) -> None:
    """Write threezone.flux.version, without a commit: the delivered commit stays the same."""
    path = project.root / "invoke.yaml"
    settings = yaml.safe_load(path.read_text())
    settings["threezone"]["flux"]["version"] = version
    path.write_text(yaml.safe_dump(settings))


def provide(project: Project) -> tuple[str, ...]:
    """Build the images of the Flux that the settings ask for; the names of those that were missing."""
    with contextlib.chdir(project.root):
        if channel.resolve_channel("auto") == "release" or build.has_all(["flux"], "source"):
            return ()
        inputs, base = build.made_from("flux", "source"), debian_base.ensure()
        made = build.references("flux", "source")
        for program, reference in zip(programs.flux_controllers(images().flux), made, strict=True):
            program = dataclasses.replace(program, replace=REPLACED.get(program.name, ()))  # noqa: PLW2901
            files = {f"bin/{program.name}": golang.build(program)}
            engine_images.build(reference, "flux", made_from=inputs, base=base, target=program.name, files=files)
        return made


@pytest.fixture(scope="module")
def lab_of_ours(
    project: Project,  # noqa: ARG001  its engine works
    make_project: Callable[[str, int], Project],
) -> Iterator[Project]:
    """A lab with the pinned Flux, in which the images of the newer one can be had."""
    made = make_project(NAME, PORT)
    made.invoke("down", "--yes")
    ask_for(made, NEWER)
    built = provide(made)
    ask_for(made, "")
    made.invoke("up", "--yes", timeout=5400)
    yield made
    made.invoke("down", "--yes")
    docker_images.remove(*built)


def flux(project: Project) -> dict[str, Any]:
    return dict(json.loads(project.invoke("flux.status", "--json").stdout))


def workloads(project: Project) -> set[str]:
    """The pods outside Flux's namespace, each with the time of its start."""
    pods = project.json("get", "pods", "--all-namespaces", context=CONTEXT)["items"]
    named = [(pod["metadata"], pod["status"]["startTime"]) for pod in pods]
    return {
        f"{meta['namespace']}/{meta['name']} {meta['uid']} {started}"
        for meta, started in named
        if meta["namespace"] != "flux-system"
    }


def planned(project: Project) -> list[str]:
    """The sentences of `up --dry-run`: its steps, without their commands."""
    lines = project.invoke("up", "--dry-run").stdout.splitlines()
    return [line for line in lines if line.startswith(("+ ", "! "))]


def test_the_setting_changes_the_version_of_flux_and_the_workloads_stay(lab_of_ours: Project) -> None:
    lab = lab_of_ours
    assert (flux(lab)["version"], flux(lab)["ready"]) == (f"v{OWN}", True)
    assert "nothing to do" in lab.invoke("up", "--yes").stdout
    before = workloads(lab)
    assert any(line.startswith("hello/") for line in before)

    ask_for(lab, NEWER)
    upgrade = f"upgrade Flux from v{OWN} to v{NEWER}"
    steps = planned(lab)
    assert steps[:2] == [f"+ {upgrade}", "+ wait until its controllers serve"]
    assert not any("cluster" in line or "push" in line for line in steps), "only Flux changes"
    assert flux(lab)["version"] == f"v{OWN}", "a dry run changes nothing"
    lab.invoke("up", "--yes", timeout=1200)
    newer = flux(lab)
    assert (newer["version"], newer["installer"], newer["ready"]) == (f"v{NEWER}", "threezone", True)
    assert {part["image"].rpartition(":")[2] for part in newer["components"]} == {"v1.9.5", "v1.6.4"}
    assert json.loads(lab.invoke("flux.check", "--json").stdout)["ok"] is True
    assert workloads(lab) == before
    assert "nothing to do" in lab.invoke("up", "--yes").stdout

    # The new controllers deliver a commit.
    lab.write("local/gitops/apps/hello/NOTE", "a file that no kustomization names\n")
    revision = lab.commit("Another commit")
    lab.invoke("up", "--yes")
    status = json.loads(lab.invoke("status", "--json").stdout)
    assert status["gitops"]["revision"] == f"main@sha1:{revision}"
    assert workloads(lab) == before

    # Back again, after a question.
    ask_for(lab, "")
    downgrade = f"downgrade Flux from v{NEWER} to v{OWN}"
    assert planned(lab)[0] == f"! {downgrade}"
    declined = lab.invoke("up", check=False)
    assert declined.exit_code == Declined.exit_code
    assert downgrade in declined.stderr
    assert flux(lab)["version"] == f"v{NEWER}"
    lab.invoke("up", "--yes", timeout=1200)
    assert (flux(lab)["version"], flux(lab)["ready"]) == (f"v{OWN}", True)
    assert workloads(lab) == before


def test_a_delivered_file_of_a_removed_api_is_named_in_the_plan(lab_of_ours: Project) -> None:
    lab = lab_of_ours
    old = "apiVersion: helm.toolkit.fluxcd.io/v2beta2\nkind: HelmRelease\nmetadata: {name: old}\n"
    lab.write("local/gitops/apps/old.yaml", old)
    lab.commit("A release of an API that Flux 2.8 no longer has")
    assert "v2beta2" not in lab.invoke("up", "--dry-run").stdout
    ask_for(lab, NEWER)
    told = lab.invoke("up", "--dry-run").stdout
    assert "local/gitops/apps/old.yaml: helm.toolkit.fluxcd.io/v2beta2 is gone since Flux 2.8" in told
