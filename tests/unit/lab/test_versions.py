"""The versions that meet in a lab: what there is, and what the settings ask for."""

from pathlib import Path

import pytest

from threezone.cluster.lab import Lab
from threezone.core.plan import Step, StepKind
from threezone.core.settings import Channel, Cluster, Settings
from threezone.delivery import repository
from threezone.delivery.repository import Commit
from threezone.flux.components import Component, Flux
from threezone.lab import versions
from threezone.lab.observe import LabState, NodeState
from threezone.toolchain import install


@pytest.fixture(autouse=True)
def nothing_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the pinned kubectl is what will be there."""
    monkeypatch.setattr(install, "find", lambda *_, **__: None)


def lab(kubernetes: str = "", channel: Channel = "auto") -> Lab:
    return Lab(Path("/project"), Settings(cluster=Cluster(kubernetes=kubernetes)), "lab", requested_channel=channel)


@pytest.mark.parametrize("kubernetes", ["1.34", "1.36"])
def test_what_can_be_built_fits_the_pinned_tools(kubernetes: str) -> None:
    assert versions.planned_skew(lab(kubernetes, "source")) == ()


def test_a_plan_says_what_an_old_kubernetes_means_for_kubectl_and_flux() -> None:
    kubectl, flux = versions.planned_skew(lab("1.31", "release"))
    assert kubectl.startswith("kubectl 1.35.0 is 4 minor versions newer than the API server 1.31.14")
    assert flux.startswith("Flux 2.7.3 needs Kubernetes 1.32 or newer, and this is 1.31.14")


def test_what_runs_is_held_against_the_api_servers_own_version() -> None:
    nodes = (NodeState("a", "v1.35.0", ready=True), NodeState("b", "v1.36.1", ready=True))
    seen = LabState((), kubernetes="v1.35.0", nodes=nodes, flux=Flux("v2.7.3", (Component("c", "image", ready=True),)))
    (told,) = versions.live_skew(lab(), seen)
    assert told.startswith("the kubelet of b is 1.36.1, and the API server is 1.35.0: a kubelet may not be newer")
    assert versions.live_skew(lab(), LabState(())) == (), "nobody answered"


OLD = "apps/hello.yaml:apiVersion: helm.toolkit.fluxcd.io/v2beta2"


@pytest.mark.parametrize("kind", [StepKind.INSTALL_FLUX, StepKind.DELIVER, StepKind.WAIT_FOR_WORKLOADS])
def test_a_plan_with_flux_names_what_that_flux_no_longer_has(
    kind: StepKind, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def matching(_root: Path, sha: str, _pattern: str) -> list[str]:
        asked.append(sha)
        return [OLD]

    monkeypatch.setattr(repository, "matching", matching)
    state = LabState((), head=Commit("a" * 40, "local/gitops"))
    (tmp_path / "invoke.yaml").write_text("threezone: {flux: {version: '2.9'}}\n")
    newer = Lab(tmp_path, Settings(), "lab")
    told = versions.removed_apis(newer, state, [Step(kind, "do it")])
    if kind is StepKind.WAIT_FOR_WORKLOADS:
        assert (told, asked) == ((), [])
        return
    (sentence,) = told
    assert sentence.startswith("apps/hello.yaml: helm.toolkit.fluxcd.io/v2beta2 is gone since Flux 2.8")
    assert asked == ["a" * 40]
    assert versions.removed_apis(lab(), state, [Step(kind, "do it")]) == (), "Flux 2.7 has it"


def test_an_upgrade_asks_the_cluster_what_it_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stored = {
        "spec": {"group": "helm.toolkit.fluxcd.io", "names": {"kind": "HelmRelease"}},
        "status": {"storedVersions": ["v2beta2", "v2"]},
    }
    monkeypatch.setattr(Lab, "api", type("Api", (), {"get": lambda *_, **__: {"items": [stored]}})())
    (tmp_path / "invoke.yaml").write_text("threezone: {flux: {version: '2.9'}}\n")
    state = LabState((), kubernetes="v1.35.0", flux=Flux("v2.7.3", (Component("c", "image", ready=True),)))
    newer, install = Lab(tmp_path, Settings(), "lab"), [Step(StepKind.INSTALL_FLUX, "upgrade")]
    (sentence,) = versions.removed_apis(newer, state, install)
    assert "flux migrate" in sentence
    same = LabState((), flux=Flux("v2.9.5", state.flux.components))
    assert versions.removed_apis(newer, same, install) == (), "its definitions are not upgraded"
