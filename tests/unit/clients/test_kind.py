"""The owner of a cluster, from the labels that `docker ps` shows."""

from pathlib import Path

import pytest
from tests.fakes import fake_docker

from threezone.clients import kind


def row(name: str, role: str, owner: str = "") -> str:
    return "\t".join((f"id-{name}", name, "lab", role, owner, "running", "image", "", "Up 3 hours", "kind"))


@pytest.mark.parametrize(
    ("rows", "derived", "ours"),
    [
        ([row("lab-control-plane", "control-plane", "lab")], "", True),
        ([row("lab-control-plane", "control-plane")], "", False),
        ([row("lab-control-plane", "control-plane", "another")], "", False),
        ([row("lab-control-plane", "control-plane", "lab"), row("lab-lb", kind.BALANCER)], "", True),
        # Cut off in the middle: the balancer is all that there is.
        ([row("lab-lb", kind.BALANCER)], "sha256:1\n", True),
        ([row("lab-lb", kind.BALANCER)], "", False),
        # An image of ours does not make somebody's nodes ours.
        ([row("lab-control-plane", "control-plane"), row("lab-lb", kind.BALANCER)], "sha256:1\n", False),
    ],
)
def test_the_owner_of_a_cluster(monkeypatch: pytest.MonkeyPatch, rows: list[str], derived: str, ours: bool) -> None:
    fake_docker(monkeypatch, lambda argv: derived if argv[0] == "image" else "\n".join(rows))
    assert {node.ours for node in kind.nodes("lab")} == {ours}


@pytest.mark.real_program
def test_kind_is_not_sent_to_another_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KIND_EXPERIMENTAL_PROVIDER", "podman")
    program = tmp_path / "kind"
    program.write_text('#!/bin/sh\necho "provider=${KIND_EXPERIMENTAL_PROVIDER-none}"\n')
    program.chmod(0o755)
    assert kind.kubeconfig(program, "lab").stdout == "provider=none\n"
    assert kind.export_logs(program, "lab", tmp_path / "logs").stdout == "provider=none\n"
    with kind.load(program, "lab", "node", []) as loading:
        assert loading.wait(30).stdout == "provider=none\n"
