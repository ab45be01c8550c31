"""What is offered for another zone, and the file that goes there: plain data."""

import base64
from pathlib import Path

import pytest

from threezone.core.errors import UsageError
from threezone.kubeconfig import document
from threezone.kubeconfig.document import Document, Entry
from threezone.zones.export import picker, tokens
from threezone.zones.export.content import any_file, file, identity
from threezone.zones.export.targets import TARGETS, Site, offer
from threezone.zones.locate import EngineKind
from threezone.zones.routes import Route

PKI = Path(__file__).parents[3] / "integration" / "zones" / "pki" / "kind"
CLUSTER = {"certificate-authority-data": "Q0E="}
USER = {"token": "hunter2"}


def site(server: str = "https://127.0.0.1:6443", engine: EngineKind = "native", gateway: str = "172.17.0.1") -> Site:
    return Site("lab", server, engine, "kind", gateway)


def ways(target: str, at: Site) -> list[tuple[str, str]]:
    chosen = next(known for known in TARGETS if known == target)
    return [(route.server, route.tls_server_name) for route in offer(chosen, at).routes]


def test_the_host_s_file_has_what_kind_declares() -> None:
    assert ways("host", site("https://127.0.0.1:16443")) == [("https://127.0.0.1:16443", "")]
    assert "127.0.0.1 of their own" in offer("host", site()).fails


def test_a_container_s_file_is_the_documents_answer() -> None:
    made = offer("container", site("https://127.0.0.1:16443", "desktop"))
    assert [(route.server, route.tls_server_name) for route in made.routes] == [
        ("https://host.docker.internal:16443", "localhost")
    ]
    assert (made.network, made.mapped, made.obstacle) == ("bridge", True, "")


@pytest.mark.parametrize("target", ["container", "ci"])
def test_on_a_linux_engine_the_loopback_port_is_named_as_the_trap(target: str) -> None:
    chosen = next(known for known in TARGETS if known == target)
    assert "publishes the API on 127.0.0.1:6443" in offer(chosen, site()).obstacle
    assert "threezone.cluster.api: gateway" in offer(chosen, site()).fix
    assert "threezone.cluster.api" not in offer(chosen, site(engine="rootless")).fix, "there, it is refused"
    assert (offer(chosen, site("https://172.17.0.1:6443")).obstacle, offer(chosen, site(engine="desktop")).fix) == (
        "",
        "",
    )


def test_a_job_s_file_needs_no_name_where_an_address_is_published() -> None:
    assert ways("ci", site("https://172.17.0.1:6443")) == [("https://172.17.0.1:6443", "")]
    assert ways("ci", site("https://0.0.0.0:6443")) == [("https://172.17.0.1:6443", "localhost")]
    assert ways("ci", site("https://127.0.0.1:6443", "desktop")) == [("https://host.docker.internal:6443", "localhost")]
    assert ways("ci", site(gateway="")) == [("https://host.docker.internal:6443", "localhost")]
    assert not offer("ci", site("https://172.17.0.1:6443")).mapped
    assert "without name resolution" in offer("ci", site("https://172.17.0.1:6443")).works


def test_on_the_network_the_node_is_named_or_the_balancer() -> None:
    assert ways("network", site()) == [("https://lab-control-plane:6443", "")]
    balanced = Site("lab", "https://127.0.0.1:6443", "native", "other", balanced=True)
    assert ways("network", balanced) == [("https://lab-external-load-balancer:6443", "")]
    assert offer("network", balanced).network == "other"


def test_an_address_given_by_hand_is_offered_as_it_is_and_as_localhost() -> None:
    made = offer("ci", site(), "https://lab.example:6443")
    assert [(route.server, route.tls_server_name) for route in made.routes] == [
        ("https://lab.example:6443", ""),
        ("https://lab.example:6443", "localhost"),
    ]


def test_an_ipv6_loopback_is_the_same_trap() -> None:
    assert "[::1]:6443" in offer("ci", site("https://[::1]:6443")).obstacle


def entry(user: dict[str, object], cluster: dict[str, object] | None = None) -> Entry:
    found = {"certificate-authority": str(PKI / "ca.crt"), "server": "https://x"} if cluster is None else cluster
    return Entry("kind-lab", "kind-lab", "kind-lab", "", found, user)


def test_files_become_inline_and_nothing_else_comes_along() -> None:
    certificate, key = str(PKI / "client.crt"), str(PKI / "client.key")
    cluster, user = identity(
        entry({"client-certificate": certificate, "client-key": key, "as": "somebody", "extensions": []})
    )
    assert base64.b64decode(cluster.pop("certificate-authority-data")) == (PKI / "ca.crt").read_bytes()
    assert base64.b64decode(user.pop("client-certificate-data")) == (PKI / "client.crt").read_bytes()
    assert base64.b64decode(user.pop("client-key-data")) == (PKI / "client.key").read_bytes()
    assert (cluster, user) == ({}, {})


@pytest.mark.parametrize("user", [{"exec": {"command": "aws"}}, {"username": "a", "password": "b"}, {}])
def test_a_login_that_stays_here_is_not_exported(user: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="cannot be exported") as refused:
        identity(entry(user))
    assert "--token" in refused.value.fix


def test_without_a_ca_nothing_is_exported() -> None:
    with pytest.raises(UsageError, match="no certificate authority"):
        identity(entry({"token": "x"}, {"server": "https://x", "insecure-skip-tls-verify": True}))


def test_a_file_holds_one_context_and_nothing_more() -> None:
    made = file("kind-lab", CLUSTER, USER, Route("x", "https://host.docker.internal:6443", "localhost"))
    assert made.data == {
        "clusters": [
            {
                "name": "kind-lab",
                "cluster": {
                    "certificate-authority-data": "Q0E=",
                    "server": "https://host.docker.internal:6443",
                    "tls-server-name": "localhost",
                },
            }
        ],
        "users": [{"name": "kind-lab", "user": {"token": "hunter2"}}],
        "contexts": [{"name": "kind-lab", "context": {"cluster": "kind-lab", "user": "kind-lab"}}],
        "current-context": "kind-lab",
    }


def anywhere() -> Document:
    return any_file(
        "kind-lab",
        CLUSTER,
        USER,
        [("host", Route("", "https://127.0.0.1:6443")), ("network", Route("", "https://lab-control-plane:6443"))],
    )


def test_a_file_for_any_zone_means_the_same_cluster_by_its_own_name() -> None:
    made = anywhere()
    assert list(document.items(made, "contexts")) == ["kind-lab@host", "kind-lab@network", "kind-lab"]
    found = document.entry(made, "kind-lab")
    assert found is not None
    assert (found.server, found.user_name, document.current_context(made)) == (
        "https://127.0.0.1:6443",
        "kind-lab",
        "kind-lab",
    )
    other = document.entry(picker.with_cluster_of(made, "kind-lab", "kind-lab@network"), "kind-lab")
    assert other is not None
    assert (other.server, other.user) == ("https://lab-control-plane:6443", USER)


def test_the_script_names_the_ways_and_quotes_the_file() -> None:
    beside, text = picker.script(Path("/x/it's $HOME.yaml"), anywhere(), "kind-lab")
    assert beside == Path("/x/it's $HOME-pick.sh")
    assert "for context in kind-lab@host kind-lab@network; do" in text
    assert """name='it'"'"'s $HOME.yaml'""" in text
    assert "hunter2" not in text
    assert "insecure" not in text


class Cluster:
    """What `tokens.request` asks of an API server; the real one is asked end to end."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, object]] = {}
        self.asked: list[tuple[str, dict[str, object]]] = []

    def get(self, path: str) -> dict[str, object] | None:
        return {} if path.endswith(("/cluster-admin", "/view")) else None

    def apply(self, path: str, wanted: dict[str, object]) -> dict[str, object]:
        self.objects[path] = wanted
        return wanted

    def send(self, method: str, path: str, body: dict[str, object]) -> dict[str, object]:
        self.asked.append((f"{method} {path}", body))
        return {"status": {"token": f"token-of-{path.split('/')[-2]}", "expirationTimestamp": "2030-01-01T00:00:00Z"}}


def test_a_token_is_asked_for_an_account_that_has_that_role_alone() -> None:
    cluster = Cluster()
    made = tokens.request(cluster, "view", 2)  # type: ignore[arg-type]
    assert (made.account, made.ends) == ("kube-system/threezone-export-view", "2030-01-01T00:00:00Z")
    assert made.value not in repr(made)
    assert cluster.asked[0][0].endswith("/serviceaccounts/threezone-export-view/token")
    assert cluster.asked[0][1]["spec"] == {"expirationSeconds": 7200}
    binding = cluster.objects["/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/threezone-export-view"]
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "threezone-export-view", "namespace": "kube-system"}
    ]


@pytest.mark.parametrize(("role", "hours"), [("nobody", 1), ("../view", 1), ("view", 0), ("view", -1)])
def test_no_account_is_made_for_what_cannot_be_given(role: str, hours: int) -> None:
    cluster = Cluster()
    with pytest.raises(UsageError):
        tokens.request(cluster, role, hours)  # type: ignore[arg-type]
    assert cluster.objects == {}


def test_a_job_s_file_names_its_namespace_wherever_it_leads() -> None:
    route = Route("declared", "https://127.0.0.1:6443")
    for made in (
        file("kind-lab", CLUSTER, USER, route, "prod"),
        any_file("kind-lab", CLUSTER, USER, [("host", route), ("container", route)], "prod"),
    ):
        assert {each["context"]["namespace"] for each in document.items(made, "contexts").values()} == {"prod"}
