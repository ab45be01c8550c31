from datetime import UTC, datetime
from pathlib import Path

from threezone.clients.kind import Node
from threezone.cluster.containers import Container
from threezone.cluster.inspect import (
    Certificate,
    Inspected,
    InspectedNode,
    StaticPod,
    page,
    published,
    read_certificate,
    redacted,
    static_pod,
)

PKI = Path(__file__).parents[2] / "integration/zones/pki"
NODE = Node("0123456789abcdef", "lab-control-plane", "lab", "control-plane", "exited", "threezone/node:1", ours=True)
CONF = """\
bootstrapTokens:
- token: abcdef.0123456789abcdef
certificateKey: 5aa2ed2d
discovery:
  bootstrapToken:
    token: "abcdef.0123456789abcdef"
    unsafeSkipCAVerification: true
  tlsBootstrapToken: abcdef.0123456789abcdef
kubernetesVersion: v1.35.0
"""


def test_kubeadm_s_configuration_is_shown_without_what_lets_somebody_in() -> None:
    shown = redacted(CONF)
    assert "0123456789abcdef" not in shown
    assert "5aa2ed2d" not in shown
    assert "kubernetesVersion: v1.35.0" in shown
    assert "unsafeSkipCAVerification: true" in shown


def test_a_static_pod_is_read_from_its_manifest() -> None:
    manifest = "spec:\n  containers:\n  - command: [etcd]\n    image: registry.k8s.io/etcd:3.6.6-0\n    name: etcd\n"
    assert static_pod("etcd", manifest) == StaticPod("etcd", "registry.k8s.io/etcd:3.6.6-0")
    assert static_pod("etcd", "") is None


def test_read_certificate_returns_names_and_expiry() -> None:
    seen = read_certificate((PKI / "expired/server.crt").read_bytes())
    assert seen == Certificate(("localhost", "kind-control-plane", "127.0.0.1"), "2021-01-01 00:00:00 UTC")
    assert read_certificate(b"no certificate") == Certificate((), "")


def test_ports_are_those_that_a_container_was_made_with() -> None:
    bound = {"6443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "6443"}], "80/tcp": None}
    assert published(Container(NODE, {"HostConfig": {"PortBindings": bound}})) == ("127.0.0.1:6443 -> 6443/tcp",)


def test_the_page_tells_days_balancer_and_configuration() -> None:
    node = InspectedNode(
        name="lab-control-plane",
        role="control-plane",
        state="exited",
        image="threezone/node:1",
        container="0123456789ab",
        started="",
        addresses=(),
        ports=("127.0.0.1:6443 -> 6443/tcp",),
        kubernetes="v1.35.0",
        static_pods=(StaticPod("etcd", "registry.k8s.io/etcd:3.6.6-0"),),
        certificate=Certificate(("localhost",), "2027-11-21 15:14:09 UTC"),
        kubeadm=redacted(CONF),
    )
    shown = page(
        Inspected("lab", False, (node,), "/usr/local/etc/haproxy/haproxy.cfg", "global\n  daemon\n"),
        datetime(2027, 11, 20, tzinfo=UTC),
    )
    assert shown.startswith("cluster lab (not made by threezone)\n\nlab-control-plane  control-plane, exited\n")
    assert "valid until 2027-11-21 15:14:09 UTC (1 days)" in shown
    assert "addresses   none while it is stopped" in shown
    assert "the balancer's /usr/local/etc/haproxy/haproxy.cfg\n  global\n    daemon" in shown
    assert "/kind/kubeadm.conf of lab-control-plane" in shown
    late = page(Inspected("lab", True, (node,)), datetime(2028, 1, 1, tzinfo=UTC))
    assert "(EXPIRED)" in late
