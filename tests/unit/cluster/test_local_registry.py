"""The local registry in clusters: which clusters are configured, and with which files."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from threezone.cluster import local_registry
from threezone.cluster.lab import Lab
from threezone.core.settings import Settings
from threezone.images import registry
from threezone.images.registry import Instance, LiveInstance

NAME = "threezone-registry"
IMAGE = "docker.io/library/registry:3.1.2"
LAB = Lab(Path("/project"), Settings(), "lab", requested_channel="source")


@pytest.fixture
def configured(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Instance]]:
    """What the nodes are configured, and nothing else happens."""
    found: list[Sequence[Instance]] = []
    monkeypatch.setattr(local_registry, "running_nodes", lambda _: ())
    monkeypatch.setattr(local_registry, "configure", lambda _, instances: found.append(instances))
    monkeypatch.setattr(local_registry, "network", lambda: "kind")
    return found


@pytest.mark.parametrize("seen", [{}, {NAME: LiveInstance(NAME, "exited", IMAGE, "", 5001)}])
def test_nothing_is_configured_without_a_running_registry(
    configured: list[Sequence[Instance]], seen: dict[str, LiveInstance], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "observe", lambda _: seen)
    local_registry.connect(LAB)
    assert configured == []


def test_a_cluster_is_configured_for_the_running_registry_whatever_its_settings(
    configured: list[Sequence[Instance]], monkeypatch: pytest.MonkeyPatch
) -> None:
    running = registry.instances(NAME, 6001, ["ghcr.io"])  # started from another project
    seen = {
        each.name: LiveInstance(
            each.name, "running", IMAGE, registry.recipe(each, IMAGE, "kind"), each.port, each.upstream
        )
        for each in running
    }
    monkeypatch.setattr(registry, "observe", lambda _: seen)
    local_registry.connect(LAB)
    assert configured == [running]


def test_a_registry_from_before_the_first_cluster_moves_to_its_network(
    configured: list[Sequence[Instance]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (only,) = registry.instances(NAME, 5001)
    before = LiveInstance(NAME, "running", IMAGE, registry.recipe(only, IMAGE, "bridge"), 5001)
    moved: list[str] = []
    monkeypatch.setattr(registry, "observe", lambda _: {NAME: before})
    monkeypatch.setattr(registry, "apply", lambda actions, *_: moved.extend(action.target for action in actions))
    local_registry.connect(LAB)
    assert moved == [NAME]
    assert configured == [(only,)]


def test_an_image_has_the_same_name_on_the_host_and_in_a_pod() -> None:
    files = local_registry.hosts_files(registry.instances("threezone-registry", 5001), "dXNlcjpwdw==")
    assert sorted(files) == [
        "etc/containerd/certs.d/localhost:5001/hosts.toml",
        "etc/containerd/certs.d/threezone-registry:5001/hosts.toml",
    ]
    for text in files.values():
        read = tomllib.loads(text)
        assert read["server"] == "http://threezone-registry:5001"
        assert read["host"] == {"http://threezone-registry:5001": {"header": {"Authorization": "Basic dXNlcjpwdw=="}}}


def test_a_mirror_precedes_its_registry() -> None:
    files = local_registry.hosts_files(registry.instances("threezone-registry", 5001, ["docker.io"]), "")
    read = tomllib.loads(files["etc/containerd/certs.d/docker.io/hosts.toml"])
    assert read["server"] == "https://registry-1.docker.io"
    assert read["host"] == {"http://threezone-registry-docker-io:5001": {"capabilities": ["pull", "resolve"]}}


def test_tools_find_it_by_the_documented_config_map() -> None:
    made = local_registry.config_map(registry.instances("threezone-registry", 5001)[0])
    assert (made["metadata"]["namespace"], made["metadata"]["name"]) == ("kube-public", "local-registry-hosting")
    assert yaml.safe_load(made["data"]["localRegistryHosting.v1"]) == {
        "host": "localhost:5001",
        "hostFromContainerRuntime": "threezone-registry:5001",
        "hostFromClusterNetwork": "threezone-registry:5001",
        "help": "https://kind.sigs.k8s.io/docs/user/local-registry/",
    }
