"""What nodes and tools are told of the local registry."""

from __future__ import annotations

import tomllib

import yaml

from threezone.cluster import containerd_mirrors as wiring
from threezone.images import registry


def test_an_image_has_the_same_name_on_the_host_and_in_a_pod() -> None:
    files = wiring.hosts(registry.instances("threezone-registry", 5001))
    assert sorted(files) == [
        "etc/containerd/certs.d/localhost:5001/hosts.toml",
        "etc/containerd/certs.d/threezone-registry:5001/hosts.toml",
    ]
    for text in files.values():
        read = tomllib.loads(text)
        assert read["server"] == "http://threezone-registry:5001"
        assert list(read["host"]) == ["http://threezone-registry:5001"]


def test_a_mirror_is_asked_first_and_its_registry_after_it() -> None:
    files = wiring.hosts(registry.instances("threezone-registry", 5001, ["docker.io"]))
    read = tomllib.loads(files["etc/containerd/certs.d/docker.io/hosts.toml"])
    assert read["server"] == "https://registry-1.docker.io"
    assert read["host"] == {"http://threezone-registry-docker-io:5001": {"capabilities": ["pull", "resolve"]}}


def test_tools_find_it_by_the_documented_config_map() -> None:
    made = wiring.hosting(registry.instances("threezone-registry", 5001)[0])
    assert (made["metadata"]["namespace"], made["metadata"]["name"]) == ("kube-public", "local-registry-hosting")
    assert yaml.safe_load(made["data"]["localRegistryHosting.v1"]) == {
        "host": "localhost:5001",
        "hostFromContainerRuntime": "threezone-registry:5001",
        "hostFromClusterNetwork": "threezone-registry:5001",
        "help": "https://kind.sigs.k8s.io/docs/user/local-registry/",
    }
