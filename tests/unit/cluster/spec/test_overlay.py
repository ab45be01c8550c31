"""The changes of settings and flags to kind's file, and their places in the plan."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from threezone.cluster.lifecycle import Observed, plan
from threezone.cluster.spec.declared import Declared, Overlay, parse
from threezone.cluster.spec.overlay import Options, settings_overlay
from threezone.core.errors import UsageError
from threezone.core.settings import ClusterOptions

FILE = Path("kind.yaml")
HEAD = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
NODES = HEAD + "nodes:\n- role: control-plane\n  labels: {tier: front}\n- role: worker\n- role: worker\n"
SETTINGS = "invoke.yaml: threezone.cluster.{}"


def laid(text: str = HEAD, *, base: Path = Path(), **options: Any) -> Declared:
    return parse(text, FILE, [Options(ClusterOptions(**options), base=base)])


def test_a_port_is_published_on_loopback_at_the_first_control_plane() -> None:
    seen = laid(NODES, ports=("8080:30080", "5353:30053/udp", "127.0.0.2:8080:80", "0:81"))
    assert [node.get("extraPortMappings") for node in seen.nodes[1:]] == [None, None]
    assert seen.nodes[0]["extraPortMappings"] == [
        {"containerPort": 30080, "hostPort": 8080, "listenAddress": "127.0.0.1"},
        {"containerPort": 30053, "hostPort": 5353, "listenAddress": "127.0.0.1", "protocol": "UDP"},
        {"containerPort": 80, "hostPort": 8080, "listenAddress": "127.0.0.2"},
        {"containerPort": 81, "hostPort": 0, "listenAddress": "127.0.0.1"},
    ]
    assert "127.0.0.1:8080 leads to port 30080 of the node (--port 8080:30080)" in seen.changes[0]


def test_a_port_of_an_ipv6_cluster_is_published_on_its_loopback() -> None:
    seen = laid(sets=("networking.ipFamily=ipv6",), ports=("8080:80",))
    assert seen.nodes[0]["extraPortMappings"][0]["listenAddress"] == "::1"
    assert seen.api_address == "::1"


def test_a_mount_is_in_every_node_and_starts_from_where_it_was_typed() -> None:
    seen = laid(NODES, mounts=("data:/data:ro", "/srv:/srv"), base=Path("/project"))
    for node in seen.nodes:
        assert node["extraMounts"] == [
            {"hostPath": "/project/data", "containerPath": "/data", "readOnly": True},
            {"hostPath": "/srv", "containerPath": "/srv"},
        ]
    assert seen.changes[0] == "extraMounts of every node: /project/data at /data, read-only (--mount data:/data:ro)"


def test_counts_add_bare_nodes_and_take_the_last_ones_away() -> None:
    roles = [node["role"] for node in laid(NODES, control_planes=3, workers=1).nodes]
    assert roles == ["control-plane", "worker", "control-plane", "control-plane"]
    assert laid(NODES, control_planes=3).nodes[0]["labels"] == {"tier": "front"}
    assert laid(NODES, workers=2).changes == (), "as the file says"
    assert laid(workers=1).changes == ("nodes: 1 of role worker instead of 0 (--workers 1)",)


def test_flags_come_after_settings() -> None:
    settings, flags = Options(ClusterOptions(workers=3), SETTINGS), Options(ClusterOptions(workers=1))
    seen = parse(HEAD, FILE, [settings, flags])
    assert len(seen.nodes) == 2
    assert seen.changes == (
        "nodes: 3 of role worker instead of 0 (invoke.yaml: threezone.cluster.workers 3)",
        "nodes: 1 of role worker instead of 3 (--workers 1)",
    )


@pytest.mark.parametrize(
    ("text", "keys", "value"),
    [
        ("networking.ipFamily=dual", ("networking", "ipFamily"), "dual"),
        ("networking.disableDefaultCNI=yes", ("networking", "disableDefaultCNI"), True),
        ("networking.apiServerPort=0", ("networking", "apiServerPort"), 0),
        ("networking.apiServerAddress=::1", ("networking", "apiServerAddress"), "::1"),
        ("featureGates.AllAlpha=true", ("featureGates", "AllAlpha"), True),
        ("runtimeConfig.api/alpha=false", ("runtimeConfig", "api/alpha"), "false"),
        ("nodes[1].labels.topology.kubernetes.io/zone=a", ("nodes", 1, "labels", "topology.kubernetes.io/zone"), "a"),
        ("nodes[2].role=control-plane", ("nodes", 2, "role"), "control-plane"),
    ],
)
def test_any_single_value_can_be_set_by_its_field(text: str, keys: tuple[Any, ...], value: Any) -> None:
    seen: Any = laid(NODES, sets=(text,)).content
    for key in keys:
        seen = seen[key]
    assert seen == value


def test_the_former_value_is_shown() -> None:
    text = HEAD + "networking:\n  apiServerPort: 6443\n"
    assert laid(text, sets=("networking.apiServerPort=7443",)).changes == (
        "networking.apiServerPort: 7443 instead of 6443 (--set networking.apiServerPort=7443)",
    )


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ports": ("80",)}, "--port 80: expected HOST:NODE, such as 8080:80"),
        ({"ports": ("0.0.0.0:80:80",)}, "--port 0.0.0.0:80:80: expected one address, but 0.0.0.0 is every address"),
        ({"ports": ("[::]:80:80",)}, "--port [::]:80:80: expected one address, but :: is every address"),
        ({"ports": ("80:80/dns",)}, "--port 80:80/dns: expected HOST:NODE, such as"),
        ({"ports": ("80:99999",)}, "--port 80:99999: nodes[0].extraPortMappings[0].containerPort: expected a port"),
        ({"ports": ("80:80", "80:81")}, "--port 80:81: nodes[0].extraPortMappings[1].hostPort: port 80/TCP is taken"),
        ({"mounts": ("/a",)}, "--mount /a: expected HOST:NODE or HOST:NODE:ro"),
        ({"mounts": ("/a:b",)}, "--mount /a:b: nodes[0].extraMounts[0].containerPath: expected an absolute path"),
        ({"mounts": ("/a:/b:rx",)}, "--mount /a:/b:rx: expected HOST:NODE or HOST:NODE:ro"),
        ({"feature_gates": ("AllAlpha",)}, "--feature-gate AllAlpha: expected a name and true or false"),
        ({"feature_gates": ("A B=true",)}, "--feature-gate A B=true: featureGates.A B: expected a feature gate's name"),
        ({"workers": -1}, "--workers -1: expected a number of nodes"),
        ({"sets": ("networking",)}, "--set networking: expected FIELD=VALUE"),
        ({"sets": ("networking=x",)}, "--set networking=x: networking: expected a mapping"),
        ({"sets": ("netwroking.ipFamily=ipv6",)}, "unknown field netwroking; did you mean networking?"),
        ({"sets": ("networking.ipFamly=ipv6",)}, "unknown field networking.ipFamly; did you mean ipFamily?"),
        (
            {"sets": ("networking.ipFamily=ipv5",)},
            "networking.ipFamily: expected one of ipv4, ipv6, dual, found 'ipv5'",
        ),
        ({"sets": ("networking.apiServerPort=x",)}, "networking.apiServerPort: expected a number, found 'x'"),
        ({"sets": ("networking.ipFamily=",)}, "--set networking.ipFamily=: expected FIELD=VALUE"),
        ({"sets": ("nodes=x",)}, "--set nodes=x: nodes: expected a list; threezone.cluster.overlay"),
        ({"feature_gates": ("AllAlpha=maybe",)}, "featureGates.AllAlpha: expected true or false, found 'maybe'"),
        ({"sets": ("nodes[3].role=worker",)}, "there are 1 nodes, and the first is nodes[0]"),
        ({"sets": ("networking.apiServerAddress=0.0.0.0",)}, "would open the API server to the network"),
        ({"sets": ("kind=Klaster",)}, "--set kind=Klaster: expected kind: Cluster"),
    ],
)
def test_a_mistake_in_a_flag_names_the_flag(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        laid(**options)
    assert sentence in caught.value.message
    assert caught.value.message.startswith("--")
    assert "\n" not in caught.value.message


OVERLAY = """\
threezone:
  cluster:
    name: lab
    overlay:
      networking:
        kubeProxyMode: nftables
      nodes:
      - role: worker
        labels: {tier: back}
      kubeadmConfigPatches:
      - |
        kind: KubeletConfiguration
        maxPods: 50
"""


def test_a_piece_of_kinds_configuration_in_the_settings_is_merged_with_its_places() -> None:
    over = settings_overlay(OVERLAY, Path("invoke.yaml"))
    text = HEAD + "networking:\n  apiServerPort: 6443\nkubeadmConfigPatches:\n- 'kind: InitConfiguration'\n"
    seen = parse(text, FILE, over=over)
    assert seen.content["networking"] == {"apiServerPort": 6443, "kubeProxyMode": "nftables"}
    assert seen.content["kubeadmConfigPatches"] == [
        "kind: InitConfiguration",
        "kind: KubeletConfiguration\nmaxPods: 50\n",
    ]
    assert seen.nodes == [{"role": "control-plane"}, {"role": "worker", "labels": {"tier": "back"}}]
    assert seen.changes == (
        "networking.kubeProxyMode: nftables (invoke.yaml:6)",
        "nodes: {role: worker, labels: {tier: back}} is added (invoke.yaml:8)",
        "kubeadmConfigPatches: kind: KubeletConfiguration maxPods: 50 is added (invoke.yaml:11)",
    )
    assert str(seen.spots.at("kubeadmConfigPatches", 0)) == "kind.yaml:6"
    assert str(seen.spots.at("kubeadmConfigPatches", 1).within(1)) == "invoke.yaml:13"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ("labels:", "lables:", "invoke.yaml:9: unknown field threezone.cluster.overlay.nodes[0].lables; did you mean"),
        ("nftables", "nft", "invoke.yaml:6: threezone.cluster.overlay.networking.kubeProxyMode: expected one of"),
        ("kind: Kubelet", "kind: Kublet", "invoke.yaml:12: kubeadmConfigPatches[0]: kind: expected one of"),
        ("maxPods: 50", "maxPods: [", "not valid YAML"),
    ],
)
def test_a_mistake_in_the_settings_overlay_names_the_settings_file_and_its_line(
    old: str, new: str, sentence: str
) -> None:
    with pytest.raises(UsageError) as caught:
        parse(HEAD, FILE, over=settings_overlay(OVERLAY.replace(old, new), Path("invoke.yaml")))
    assert sentence in caught.value.message


@pytest.mark.parametrize("text", ["", "threezone:\n", "threezone:\n  cluster:\n    overlay:\n", "other: 1\n"])
def test_settings_without_an_overlay_have_none(text: str) -> None:
    assert settings_overlay(text, Path("invoke.yaml")) is None


PORT = "nodes:\n- role: control-plane\n  extraPortMappings:\n  - containerPort: 80\n    hostPort: 8080\n"


def test_a_port_of_the_file_without_an_address_stays_on_loopback_and_that_is_said() -> None:
    seen = parse(HEAD + PORT, FILE)
    assert seen.nodes[0]["extraPortMappings"][0]["listenAddress"] == "127.0.0.1"
    assert "names no listenAddress (kind.yaml:6): it is published on 127.0.0.1, and not on every" in seen.changes[0]


def test_a_port_that_the_file_opens_is_open_and_the_plan_says_to_whom() -> None:
    seen = parse(HEAD + PORT + "    listenAddress: '::'\n", FILE)
    assert seen.nodes[0]["extraPortMappings"][0]["listenAddress"] == "::"
    assert "port 8080/TCP is open to everybody who reaches this machine" in seen.changes[0]


def test_mounts_of_the_file_start_from_the_projects_root() -> None:
    text = HEAD + "nodes:\n- extraMounts:\n  - {hostPath: ./data, containerPath: /data}\n"
    assert parse(text, FILE, root=Path("/project")).nodes[0]["extraMounts"][0]["hostPath"] == "/project/data"


def test_the_plan_has_a_line_for_everything_and_the_hosts_needs_last() -> None:
    seen = parse(HEAD + "name: theirs\n", FILE, [Options(ClusterOptions(workers=1))])
    sentences = [action.sentence for action in plan(Observed("lab", "absent"), seen, [Overlay("cgroup v1")], "image")]
    assert sentences[0].startswith("the file names the cluster theirs; it is lab here")
    assert sentences[1:3] == ["nodes: 1 of role worker instead of 0 (--workers 1)", "cgroup v1"]
    assert "2 nodes" in sentences[3]


@pytest.mark.parametrize(
    ("images", "version"),
    [
        (["kindest/node:v1.34.0@sha256:ab"], "1.34.0"),
        (["kindest/node:v1.34.0", "kindest/node:v1.34.0"], "1.34.0"),
        (["registry.example.com:5000/mirror/kindest-node:1.34.3"], "1.34.3"),
        (["kindest/node:v1.34.3-slim@sha256:ab"], "1.34.3"),
        (["kindest/node:latest"], ""),
        (["kindest/node:v1.34.0", ""], "1.34.0"),
        (["kindest/node:v1.34.0", "kindest/node:latest"], "1.34.0"),
        ([""], ""),
    ],
)
def test_the_kubernetes_version_comes_from_the_nodes_images(images: list[str], version: str) -> None:
    text = HEAD + "nodes:\n" + "".join(f"- image: {image}\n" for image in images)
    seen = parse(text, FILE)
    assert seen.kubernetes == version
    assert all("is not used itself" in sentence for sentence in seen.changes)


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (["kindest/node:v1.34.0", "kindest/node:v1.33.1"], r"1\.34\.0 .*kind\.yaml:4.* and 1\.33\.1 .*kind\.yaml:5"),
        (["kindest/node:v1.36.0-rc.1"], r"kind\.yaml:4: .*pre-release 1\.36\.0-rc\.1"),
        (["kindest/node:v1.36.0-alpha.2@sha256:ab"], "pre-release"),
    ],
)
def test_versions_that_cannot_be_made_are_refused_and_not_replaced(images: list[str], words: str) -> None:
    text = HEAD + "nodes:\n" + "".join(f"- image: {image}\n" for image in images)
    with pytest.raises(UsageError, match=words):
        _ = parse(text, FILE).kubernetes
