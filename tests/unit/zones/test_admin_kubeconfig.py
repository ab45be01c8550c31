"""The kubeconfig of a cluster whose first control plane does not run."""

from dataclasses import replace

import pytest
from tests.fakes import failed, fake_docker, fake_kind

from threezone.clients.kind import Node
from threezone.core.errors import ClusterError
from threezone.kubeconfig import document
from threezone.zones import admin_kubeconfig

FIRST = Node("1", "lab-control-plane", "lab", "control-plane", "exited", "image", ours=True)
SECOND = replace(FIRST, container="2", name="lab-control-plane2", state="running", ports="127.0.0.1:40001->6443/tcp")
BALANCER = replace(SECOND, container="9", role="external-load-balancer", ports="127.0.0.1:6443->6443/tcp")
ADMIN = """
apiVersion: v1
kind: Config
clusters: [{name: lab, cluster: {certificate-authority-data: QQ==, server: "https://lab-external-load-balancer:6443"}}]
contexts: [{name: kubernetes-admin@lab, context: {cluster: lab, user: kubernetes-admin}}]
users: [{name: kubernetes-admin, user: {client-certificate-data: Qg==, client-key-data: Qw==}}]
current-context: kubernetes-admin@lab
"""


def test_it_has_kinds_names_and_the_balancers_address() -> None:
    text = admin_kubeconfig.as_kind(ADMIN, "lab", "https://127.0.0.1:6443")
    entry = document.entry(document.parse(text.encode(), "here"), "kind-lab")
    assert entry is not None
    assert entry.cluster == {"certificate-authority-data": "QQ==", "server": "https://127.0.0.1:6443"}
    assert entry.user == {"client-certificate-data": "Qg==", "client-key-data": "Qw=="}


@pytest.mark.parametrize(
    ("nodes", "server"),
    [
        ((FIRST, SECOND, BALANCER), "https://127.0.0.1:6443"),
        ((FIRST, SECOND), ""),
        ((FIRST, SECOND, replace(BALANCER, ports="")), ""),
        ((replace(BALANCER, ports="[::1]:7443->6443/tcp"),), "https://[::1]:7443"),
    ],
)
def test_only_the_balancer_publishes_the_api_of_several(nodes: tuple[Node, ...], server: str) -> None:
    assert admin_kubeconfig.endpoint(nodes) == server


def test_kind_is_helped_out_where_another_control_plane_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes: tuple[Node, ...] = (FIRST, SECOND, BALANCER)
    fake_kind(monkeypatch, lambda _: failed("is not running"))
    commands = fake_docker(monkeypatch, lambda _: ADMIN)
    monkeypatch.setattr("threezone.clients.kind.nodes", lambda _: nodes)
    assert '"server": "https://127.0.0.1:6443"' in admin_kubeconfig.kubeconfig("lab", "kind")
    assert commands[-1] == ["exec", "2", "cat", "/etc/kubernetes/admin.conf"]
    nodes = (FIRST,)
    with pytest.raises(ClusterError, match="kind has no kubeconfig for the cluster lab"):
        admin_kubeconfig.kubeconfig("lab", "kind")
