"""Each field that can be declared: unchanged, changed, and what a change needs."""

from dataclasses import replace
from typing import Any

import pytest
from tests.unit.cluster.drift.samples import EVERYWHERE, KUBERNETES, copied, made

from threezone.cluster.drift.fields import compare
from threezone.cluster.drift.live import LiveCluster
from threezone.cluster.drift.nodes import Labels, label_changes
from threezone.cluster.drift.rows import NOT_RECORDED, PORTS, Row

KUBELET = "kind: KubeletConfiguration\nfailCgroupV1: false\n"
REGISTRY = '[plugins."io.containerd.grpc.v1.cri".registry]\n  config_path = "/etc/containerd/certs.d"\n'
SIMPLE: dict[str, Any] = {"kind": "Cluster", "name": "lab", "networking": {"apiServerPort": 6443}}
RICH: dict[str, Any] = {
    "kind": "Cluster",
    "name": "lab",
    "networking": {"apiServerPort": 6443, "podSubnet": "10.10.0.0/16", "dnsSearch": ["a.invalid"]},
    "featureGates": {"Some": True},
    "runtimeConfig": {"api/alpha": "true"},
    "kubeadmConfigPatches": [KUBELET],
    "containerdConfigPatches": [REGISTRY],
    "nodes": [
        {
            "role": "control-plane",
            "labels": {"tier": "front"},
            "extraPortMappings": [{"containerPort": 80, "hostPort": 8080, "listenAddress": "127.0.0.1"}],
        },
        {
            "role": "worker",
            "extraMounts": [{"hostPath": "/data", "containerPath": "/mnt", "readOnly": True}],
            "kubeadmConfigPatches": ["kind: JoinConfiguration\nnodeRegistration: {}\n"],
        },
        {"role": "worker"},
    ],
}
HA = {**SIMPLE, "nodes": [{"role": "control-plane"}] * 3 + [{"role": "worker"}]}
IPV6 = {**SIMPLE, "networking": {"ipFamily": "ipv6"}}


def off(rows: tuple[Row, ...]) -> dict[str, str]:
    return {row.field: row.verdict for row in rows if row.verdict != "same"}


def the(rows: tuple[Row, ...], field: str) -> Row:
    return next(row for row in rows if row.field == field)


def changed(config: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    result = copied(config)
    at: Any = result
    for part in path[:-1]:
        at = at.setdefault(part, {}) if isinstance(at, dict) else at[part]
    at[path[-1]] = to
    return result


@pytest.mark.parametrize("config", [SIMPLE, RICH, HA, {"kind": "Cluster"}], ids=["simple", "rich", "ha", "defaults"])
def test_a_new_cluster_has_no_drift(config: dict[str, Any]) -> None:
    assert off(compare(config, KUBERNETES, made(config))) == {}


@pytest.mark.parametrize("host_port", [30443, 0], ids=["fixed", "random"])
@pytest.mark.parametrize("config", [SIMPLE, HA, {"kind": "Cluster"}], ids=["fixed API", "several", "random API"])
def test_a_mapping_to_the_port_of_the_api_server_is_no_drift(config: dict[str, Any], host_port: int) -> None:
    mapping = {"containerPort": 6443, "hostPort": host_port, "listenAddress": "127.0.0.1"}
    plane = {"role": "control-plane", "extraPortMappings": [mapping]}
    mapped = {**config, "nodes": [plane, *config.get("nodes", [])[1:]]}
    assert off(compare(mapped, KUBERNETES, made(mapped))) == {}
    assert off(compare(mapped, KUBERNETES, made(config))) == {"nodes[0].extraPortMappings": "new cluster"}


@pytest.mark.parametrize(
    ("spelled", "plain"),
    [
        ({"networking": {"apiServerPort": 6443, "ipFamily": "ipv4"}}, SIMPLE),
        ({"networking": {"apiServerPort": 6443, "apiServerAddress": "127.0.0.1"}}, SIMPLE),
        ({"networking": {"apiServerPort": 6443, "podSubnet": "10.244.0.0/16", "kubeProxyMode": "iptables"}}, SIMPLE),
        ({"networking": {"apiServerPort": 6443, "disableDefaultCNI": False}}, SIMPLE),
        ({**SIMPLE, "nodes": [{"role": "control-plane"}]}, SIMPLE),
        ({**SIMPLE, "nodes": [{}]}, SIMPLE),
        ({**SIMPLE, "featureGates": {}, "kubeadmConfigPatches": None}, SIMPLE),
        (changed(RICH, "kubeadmConfigPatches", to=["# a comment\n" + KUBELET.replace(": ", ":  ")]), RICH),
        (changed(RICH, "nodes", 0, "extraPortMappings", 0, "protocol", to="TCP"), RICH),
        (changed(RICH, "nodes", 1, "extraMounts", 0, "propagation", to="None"), RICH),
    ],
)
def test_an_explicit_default_is_not_drift(spelled: dict[str, Any], plain: dict[str, Any]) -> None:
    assert off(compare(spelled, KUBERNETES, made(plain))) == {}


@pytest.mark.parametrize(
    ("path", "to", "expected"),
    [
        (["networking", "apiServerPort"], 6444, {"networking.apiServerPort"}),
        (["networking", "apiServerAddress"], "172.17.0.1", {"networking.apiServerAddress"}),
        (["networking", "podSubnet"], "10.11.0.0/16", {"networking.podSubnet"}),
        (["networking", "serviceSubnet"], "10.97.0.0/16", {"networking.serviceSubnet"}),
        (["networking", "kubeProxyMode"], "nftables", {"networking.kubeProxyMode"}),
        (["networking", "kubeProxyMode"], "none", {"networking.kubeProxyMode"}),
        (["networking", "disableDefaultCNI"], True, {"networking.disableDefaultCNI"}),
        (["networking", "dnsSearch"], ["b.invalid"], {"networking.dnsSearch"}),
        (["featureGates"], {"Some": False}, {"featureGates"}),
        (["featureGates"], {}, {"featureGates"}),
        (["runtimeConfig"], {"api/beta": "true"}, {"runtimeConfig"}),
        (["kubeadmConfigPatches"], [KUBELET, "kind: ClusterConfiguration\netcd: {}\n"], {"kubeadmConfigPatches"}),
        (["kubeadmConfigPatches"], [], {"kubeadmConfigPatches"}),
        (["kubeadmConfigPatches"], [KUBELET.replace("false", "true")], {"kubeadmConfigPatches"}),
        (["kubeadmConfigPatchesJSON6902"],
         [{"group": "kubeadm.k8s.io", "version": "v1beta3", "kind": "ClusterConfiguration", "patch": "[]"}],
         {"kubeadmConfigPatchesJSON6902"}),
        (["containerdConfigPatches"], [], {"containerdConfigPatches"}),
        (["containerdConfigPatches"], [REGISTRY.replace("certs.d", "other")], {"containerdConfigPatches"}),
        (["containerdConfigPatchesJSON6902"], ["[]"], {"containerdConfigPatchesJSON6902"}),
        (["nodes", 0, "extraPortMappings"], [], {"nodes[0].extraPortMappings"}),
        (["nodes", 0, "extraPortMappings", 0, "hostPort"], 8081, {"nodes[0].extraPortMappings"}),
        (["nodes", 0, "extraPortMappings", 0, "listenAddress"], EVERYWHERE, {"nodes[0].extraPortMappings"}),
        (["nodes", 0, "extraPortMappings", 0, "protocol"], "UDP", {"nodes[0].extraPortMappings"}),
        (["nodes", 1, "extraMounts"], [], {"nodes[1].extraMounts"}),
        (["nodes", 1, "extraMounts", 0, "readOnly"], False, {"nodes[1].extraMounts"}),
        (["nodes", 1, "extraMounts", 0, "propagation"], "Bidirectional", {"nodes[1].extraMounts"}),
        (["nodes", 2, "extraMounts"], [{"hostPath": "/a", "containerPath": "/b"}], {"nodes[2].extraMounts"}),
        (["nodes", 1, "kubeadmConfigPatches"], [], {"nodes[1].kubeadmConfigPatches"}),
        (["nodes", 2, "kubeadmConfigPatches"], [KUBELET], {"nodes[2].kubeadmConfigPatches"}),
        (["nodes"], RICH["nodes"][:2], {"nodes"}),
        (["nodes"], [*RICH["nodes"], {"role": "worker"}], {"nodes", "nodes[3]"}),
    ],
)  # fmt: skip
def test_fields_that_need_a_new_cluster(path: list[Any], to: Any, expected: set[str]) -> None:
    rows = compare(changed(RICH, *path, to=to), KUBERNETES, made(RICH))
    assert off(rows) == dict.fromkeys(expected, "new cluster")
    assert all(the(rows, field).why for field in expected)
    assert all(the(rows, field).running != the(rows, field).declared for field in expected)


def test_the_reason_for_a_port_is_kinds_own() -> None:
    row = the(compare(changed(SIMPLE, "networking", "apiServerPort", to=6444), KUBERNETES, made(SIMPLE)),
              "networking.apiServerPort")  # fmt: skip
    assert row == Row("networking.apiServerPort", "6444", "6443", "new cluster", PORTS)
    assert "kind#2720" in row.why


def test_another_version_takes_a_new_cluster_and_mixed_nodes_are_named() -> None:
    running = made(RICH)
    assert the(compare(RICH, "v1.36.0", running), "kubernetes").verdict == "new cluster"
    *others, last = running.nodes
    assert last.files is not None
    mixed = LiveCluster("lab", (*others, replace(last, files=replace(last.files, version="v1.34.4"))))
    assert the(compare(RICH, KUBERNETES, mixed), "kubernetes").running == "v1.35.0 and v1.34.4"


def test_a_random_port_matches_any_live_port() -> None:
    config = changed(RICH, "nodes", 0, "extraPortMappings", 0, "hostPort", to=0)
    config["networking"]["apiServerPort"] = 0
    rows = compare(config, KUBERNETES, made(config))
    assert off(rows) == {}
    assert the(rows, "networking.apiServerPort").declared == "any (40000)"


def test_several_control_planes_are_published_by_their_balancer() -> None:
    running = made(HA)
    assert off(compare(HA, KUBERNETES, running)) == {}
    moved = compare(changed(HA, "networking", "apiServerPort", to=7000), KUBERNETES, running)
    assert off(moved) == {"networking.apiServerPort": "new cluster"}
    assert the(moved, "networking.apiServerPort").running == "6443"


def test_the_ip_family_follows_from_the_subnets() -> None:
    rows = compare(changed(SIMPLE, "networking", "ipFamily", to="dual"), KUBERNETES, made(SIMPLE))
    assert off(rows) == dict.fromkeys(
        ["networking.ipFamily", "networking.podSubnet", "networking.serviceSubnet"], "new cluster"
    )
    assert the(compare(SIMPLE, KUBERNETES, made(IPV6)), "networking.ipFamily").running == "ipv6"


def test_labels_change_in_place_and_formerly_declared_ones_are_removed() -> None:
    wanted = changed(RICH, "nodes", 0, "labels", to={"rack": "1", "spare": "yes"})
    running = made(RICH)
    assert off(compare(wanted, KUBERNETES, running)) == {"nodes[0].labels": "in place"}
    (change,) = label_changes(wanted, running)
    assert change == Labels("lab-control-plane", {"rack": "1", "spare": "yes"}, ("tier",))
    assert change.command == "kubectl label node lab-control-plane --overwrite rack=1 spare=yes tier-"


def test_labels_of_other_owners_are_kept() -> None:
    bare = changed(RICH, "nodes", 0, "labels", to={})
    first, *others = made(RICH).nodes
    by_hand = LiveCluster("lab", (replace(first, labels={"tier": "back", "mine": "x"}), *others))
    assert label_changes(bare, by_hand) == ()
    assert label_changes(RICH, by_hand) == (Labels("lab-control-plane", {"tier": "front"}),)


def test_without_the_api_server_labels_are_unknown() -> None:
    silent = made(RICH, api=False)
    assert off(compare(RICH, KUBERNETES, silent)) == {f"nodes[{number}].labels": "unknown" for number in range(3)}
    assert label_changes(RICH, silent) == ()


def test_live_state_overrules_last_applied() -> None:
    running = made(RICH)
    rows = []
    for node in running.nodes:
        assert node.files is not None
        documents = tuple(
            {**each, "failCgroupV1": True} if each["kind"] == "KubeletConfiguration" else each
            for each in node.files.kubeadm
        )
        rows.append(replace(node, files=replace(node.files, kubeadm=documents, containerd={"version": 2})))
    rows_off = compare(RICH, KUBERNETES, LiveCluster("lab", tuple(rows)))
    assert off(rows_off)["kubeadmConfigPatches"] == "new cluster"
    assert off(rows_off)["containerdConfigPatches"] == "new cluster"
    assert the(rows_off, "kubeadmConfigPatches").running == "not in force"


def test_a_cluster_without_a_last_applied_configuration_is_compared_by_its_files() -> None:
    old = made(RICH, recorded=False)
    assert off(compare(RICH, KUBERNETES, old)) == dict.fromkeys(
        ["networking.disableDefaultCNI", "kubeadmConfigPatchesJSON6902", "containerdConfigPatchesJSON6902"], "unknown"
    )
    other = changed(RICH, "kubeadmConfigPatches", to=[KUBELET.replace("false", "true")])
    assert off(compare(other, KUBERNETES, old))["kubeadmConfigPatches"] == "new cluster"
    without = changed(RICH, "kubeadmConfigPatches", to=[])
    row = the(compare(without, KUBERNETES, old), "kubeadmConfigPatches")
    assert (row.verdict, row.why) == ("unknown", NOT_RECORDED)


def test_a_patch_may_override_a_field_of_the_file() -> None:
    """kind writes the declared mode, then the patch: that is no difference. Another declared mode is hidden by it."""
    patch = "kind: KubeProxyConfiguration\nmode: ipvs\n"
    gates = "kind: KubeletConfiguration\nfeatureGates: {Other: true}\n"
    config = {**SIMPLE, "featureGates": {"Some": True}, "kubeadmConfigPatches": [patch, gates]}
    assert off(compare(config, KUBERNETES, made(config))) == {}
    assert off(compare({**config, "featureGates": {}}, KUBERNETES, made(config))) == {"featureGates": "new cluster"}


def test_json_patches_are_compared_with_last_applied() -> None:
    patch = {"group": "kubelet.config.k8s.io", "version": "v1beta1", "kind": "KubeletConfiguration",
             "patch": "[{op: add, path: /maxPods, value: 20}]"}  # fmt: skip
    config = {**RICH, "kubeadmConfigPatchesJSON6902": [patch]}
    assert off(compare(config, KUBERNETES, made(config))) == {}
    same_again = {**patch, "patch": "- op: add\n  path: /maxPods\n  value: 20\n"}
    row = the(compare({**config, "kubeadmConfigPatchesJSON6902": [same_again]}, KUBERNETES, made(config)),
              "kubeadmConfigPatchesJSON6902")  # fmt: skip
    assert row.verdict == "same", "the same patch in block style"
    assert off(compare(config, KUBERNETES, made(config, recorded=False)))["featureGates"] == "unknown"


def test_the_feature_gate_of_a_rootless_engine_is_not_drift() -> None:
    running = made({**SIMPLE, "featureGates": {"KubeletInUserNamespace": True}})
    record = made(SIMPLE).nodes[0].files
    assert record is not None
    (node,) = running.nodes
    assert node.files is not None
    rootless = LiveCluster("lab", (replace(node, files=replace(node.files, last_applied=record.last_applied)),))
    assert off(compare(SIMPLE, KUBERNETES, rootless)) == {}


def test_a_stopped_cluster_is_compared_by_its_containers() -> None:
    running = made(RICH, api=False)
    stopped = LiveCluster("lab", tuple(replace(node, state="exited", files=None) for node in running.nodes))
    found = off(compare(changed(RICH, "networking", "apiServerPort", to=6444), KUBERNETES, stopped))
    assert found["nodes[0]"] == "in place"
    assert found["networking.apiServerPort"] == "new cluster"
    assert found["kubernetes"] == found["featureGates"] == "unknown"


def test_a_node_that_left_the_network_and_an_api_that_is_published_nowhere() -> None:
    (node,) = made(SIMPLE).nodes
    gone = LiveCluster("lab", (replace(node, networks=("bridge",), ports=()),))
    found = off(compare(SIMPLE, KUBERNETES, gone))
    assert found == {"networking.apiServerPort": "new cluster", "nodes[0].network": "new cluster"}
    assert off(compare(SIMPLE, KUBERNETES, made(SIMPLE), network="other"))["nodes[0].network"] == "new cluster"
