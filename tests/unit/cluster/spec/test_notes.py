"""Sentences of the plan on settings whose effect few expect."""

from pathlib import Path

import pytest

from threezone.cluster.spec import declared

HEAD = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
MOUNT = "nodes:\n- extraMounts:\n  - {{hostPath: /data, containerPath: {}}}\n"
ETCD = "kubeadmConfigPatches:\n- |\n  kind: {}\n  etcd: {{local: {{dataDir: {}}}}}\n"
MIRRORS = 'containerdConfigPatches:\n- |-\n  [plugins."io.containerd.grpc.v1.cri".registry.{}."docker.io"]\n    a = 1\n'


def notes(text: str) -> list[str]:
    return [each for each in declared.parse(HEAD + text, Path("kind.yaml")).changes if "listenAddress" not in each]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (MOUNT.format("/var/lib/containerd"), ["kind.yaml:5", "/var/lib/containerd", "images"]),
        (MOUNT.format("//var/./lib/etcd/"), ["kind.yaml:5", "/var/lib/etcd"]),
        (MOUNT.format("/etc/kubernetes"), ["/etc/kubernetes", "keys"]),
        (ETCD.format("ClusterConfiguration", "/run/etcd"), ["kind.yaml:", "/run/etcd", "lost when its node stops"]),
        (ETCD.format("ClusterConfiguration", "/run"), ["/run", "memory"]),
        (MIRRORS.format("mirrors"), ["kind.yaml:4", "registry.mirrors", "hosts.toml"]),
    ],
)
def test_what_few_expect_is_told_with_its_line(text: str, words: list[str]) -> None:
    (sentence,) = notes(text)
    assert [word for word in words if word not in sentence] == []


@pytest.mark.parametrize(
    "text",
    [
        MOUNT.format("/data"),
        MOUNT.format("/var/lib/containerd-cache"),
        MOUNT.format("/var/local-path-provisioner"),
        ETCD.format("ClusterConfiguration", "/runs/etcd"),
        ETCD.format("InitConfiguration", "/run/etcd"),
        MIRRORS.format("configs"),
    ],
)
def test_what_everybody_expects_is_not_told(text: str) -> None:
    assert notes(text) == []
