"""A live node from its container and its own files."""

import json
from typing import Any

import pytest
from tests.unit.cluster.drift.samples import EVERYWHERE

from threezone.clients.kind import Node
from threezone.cluster.containers import Container
from threezone.cluster.drift import last_applied
from threezone.cluster.drift.live import CONTAINERD, KUBEADM, VERSION, Files, live_node, mount, parse
from threezone.cluster.marks import MARK

NODE = Node("0", "lab-control-plane", "lab", "control-plane", "running", "image", ours=True)
INSPECTED: dict[str, Any] = {
    "Name": "/lab-control-plane",
    "State": {"Status": "running"},
    "Config": {"Image": "threezone/node:v1.35.0-lab", "Env": ["A=b", "KIND_DNS_SEARCH=a.invalid b.invalid"]},
    "HostConfig": {
        "Binds": ["/lib/modules:/lib/modules:ro", "/data:/mnt:Z,ro", "/plain:/plain:rw"],
        "PortBindings": {
            "6443/tcp": [{"HostIp": "127.0.0.1", "HostPort": "6443"}],
            "80/tcp": [{"HostIp": "", "HostPort": "8080"}, {"HostIp": "::1", "HostPort": "0"}],
            "53/udp": None,
        },
    },
    "NetworkSettings": {
        "Networks": {"kind": {}},
        "Ports": {"80/tcp": [{"HostIp": EVERYWHERE, "HostPort": "8080"}, {"HostIp": "::1", "HostPort": "32768"}]},
    },
}


def test_a_live_node_is_read_from_docker_inspect() -> None:
    seen = live_node(Container(NODE, INSPECTED), Files("v1.35.0"), {"tier": "front"})
    assert (seen.name, seen.role, seen.state) == ("lab-control-plane", "control-plane", "running")
    assert seen.ports == ("0.0.0.0:8080->80/tcp", "127.0.0.1:6443->6443/tcp", "[::1]:32768->80/tcp")
    assert seen.mounts == ("/data:/mnt:Z,ro", "/lib/modules:/lib/modules:ro", "/plain:/plain")
    assert (seen.networks, seen.dns_search, seen.labels) == (("kind",), "a.invalid b.invalid", {"tier": "front"})


def test_a_stopped_container_keeps_its_configuration() -> None:
    stopped = {**INSPECTED, "State": {"Status": "exited"}, "NetworkSettings": {"Ports": {}, "Networks": None}}
    seen = live_node(Container(NODE, stopped), None, None)
    assert "[::1]:?->80/tcp" in seen.ports
    assert seen.networks == ()


def test_mount_options_have_one_order() -> None:
    assert mount("/a:/b:ro,Z") == mount("/a:/b:Z,ro") == "/a:/b:Z,ro"
    assert mount("/a:/b") == "/a:/b"


def answer(**files: str) -> str:
    names = {"version": VERSION, "kubeadm": KUBEADM, "containerd": CONTAINERD, "mark": MARK}
    return "".join(f"\nabc {names[key]}\n{text}" for key, text in files.items())


def test_a_nodes_files_are_parsed_from_one_output() -> None:
    text = last_applied.write({"name": "lab"}, "v1.35.0")
    seen = parse(answer(version="v1.35.0", kubeadm="kind: A\n---\nkind: B\n", containerd="version = 2\n", mark=text),
                 "abc")  # fmt: skip
    assert seen == Files("v1.35.0", ({"kind": "A"}, {"kind": "B"}), {"version": 2},
                         last_applied.LastApplied({"name": "lab"}, "v1.35.0"), marked=True)  # fmt: skip
    assert "KubeadmToken" not in repr(parse(answer(kubeadm="token: KubeadmToken\n"), "abc")), "it holds a token"


@pytest.mark.parametrize("files", [{}, {"kubeadm": "{", "containerd": "[", "version": "v1"}])
def test_missing_and_broken_files_are_unknown(files: dict[str, str]) -> None:
    seen = parse(answer(**files), "abc")
    assert (seen.kubeadm, seen.containerd, seen.last_applied, seen.marked) == ((), None, None, False)


def test_an_empty_mark_has_no_last_applied_configuration() -> None:
    seen = parse(answer(version="v1.35.0", mark=""), "abc")
    assert (seen.last_applied, seen.marked) == (None, True)


def test_last_applied_contains_no_text_of_a_patch() -> None:
    secret = '[plugins."io.containerd.grpc.v1.cri".registry.configs."x".auth]\n  password = "hunter2"\n'
    own = {"role": "worker", "kubeadmConfigPatches": ["kind: JoinConfiguration\nx: hunter2\n"]}
    config = {"name": "lab", "containerdConfigPatches": [secret], "nodes": [own]}
    text = last_applied.write(config, "v1.35.0")
    assert "hunter2" not in text
    kept = last_applied.parse(text)
    assert kept is not None
    assert kept.config["containerdConfigPatches"][0]["about"] == "plugins"
    assert kept.config["nodes"][0]["kubeadmConfigPatches"][0]["about"] == "JoinConfiguration"


@pytest.mark.parametrize("text", ["", "touched", "[]", json.dumps({"version": 2, "config": {}}), '{"version": 1}'])
def test_other_texts_are_not_last_applied_configurations(text: str) -> None:
    assert last_applied.parse(text) is None


def node(name: str, digest: str | None, *, plane: bool = True) -> dict[str, Any]:
    labels = {"node-role.kubernetes.io/control-plane": ""} if plane else {}
    annotations = {} if digest is None else {last_applied.ANNOTATION: digest}
    return {"metadata": {"name": name, "labels": labels, "annotations": annotations}}


def test_the_nodes_carry_one_digest_or_none() -> None:
    assert last_applied.annotated([node("a", "x"), node("b", "x"), node("w", None, plane=False)]) == "x"
    assert last_applied.annotated([node("a", "x"), node("b", "y")]) == ""
    assert last_applied.annotated([node("a", None)]) == last_applied.annotated([]) == ""
