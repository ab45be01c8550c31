"""The versions that meet in a lab: what there is, and what the settings ask for."""

from pathlib import Path

import pytest

from threezone.cluster.lab import Lab
from threezone.core.settings import Channel, Cluster, Settings
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
