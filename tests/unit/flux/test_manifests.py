"""Flux's manifests with the authority and the proxies of a network."""

from __future__ import annotations

import base64
import copy
import json
from typing import Any

import pytest

from threezone.clients.kind import Node
from threezone.cluster.containers import Container
from threezone.core import network_ca
from threezone.flux import manifests


def objects() -> list[dict[str, Any]]:
    """A namespace and two controllers, as `flux install --export` prints them in short."""
    pod = {
        "metadata": {"annotations": {"prometheus.io/scrape": "true"}},
        "spec": {
            "containers": [{"name": "manager", "volumeMounts": [{"name": "temp", "mountPath": "/data"}]}],
            "volumes": [{"name": "temp", "emptyDir": {}}],
        },
    }
    deployments = [
        {
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "flux-system"},
            "spec": {"template": copy.deepcopy(pod)},
        }
        for name in ("source-controller", "helm-controller")
    ]
    return [{"kind": "Namespace", "metadata": {"name": "flux-system"}}, *deployments]


def test_every_controller_gets_the_certificates_as_a_file_that_go_reads() -> None:
    before = objects()
    changed = manifests.with_network_ca(before, "PEM")
    assert before == objects(), "pure"
    assert [item["kind"] for item in changed] == ["Namespace", "ConfigMap", "Deployment", "Deployment"]
    config_map = changed[1]
    assert config_map["data"] == {"ca.pem": "PEM"}
    assert config_map["metadata"]["namespace"] == "flux-system"
    assert manifests.path(config_map).endswith("/namespaces/flux-system/configmaps/threezone-network-ca")
    for deployment in changed[2:]:
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        mount = next(each for each in container["volumeMounts"] if each["mountPath"] == network_ca.FILE)
        volume = next(each for each in pod["volumes"] if each["name"] == mount["name"])
        assert volume["configMap"]["name"] == config_map["metadata"]["name"]
        assert mount["subPath"] in config_map["data"]
        assert len(container["volumeMounts"]) == len(pod["volumes"]) == 2, "the controller's own stay"


def test_other_certificates_start_the_controllers_again_and_none_change_nothing() -> None:
    def pods(pem: str) -> list[Any]:
        return [item["spec"]["template"] for item in manifests.with_network_ca(objects(), pem) if "spec" in item]

    assert pods("one") != pods("two")
    assert pods("one") == pods("one")
    assert manifests.with_network_ca(objects(), "") == objects()


PROXIES = {"HTTPS_PROXY": "http://user:secret@proxy.example:3128", "NO_PROXY": "10.96.0.0/16,kind-control-plane"}


def test_every_controller_gets_the_proxies_from_a_secret_and_goes_directly_inside() -> None:
    before = objects()
    changed = manifests.with_proxies(before, PROXIES)
    assert before == objects(), "pure"
    assert [item["kind"] for item in changed] == ["Namespace", "Secret", "Deployment", "Deployment"]
    secret, *deployments = changed[1:]
    values = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    assert values["HTTPS_PROXY"] == PROXIES["HTTPS_PROXY"]
    exceptions = values["NO_PROXY"].split(",")
    assert {"10.96.0.0/16", "kind-control-plane", ".svc", ".cluster.local", ".cluster.local."} == set(exceptions)
    assert manifests.path(secret).endswith("/namespaces/flux-system/secrets/threezone-proxies")
    for deployment in deployments:
        (container,) = deployment["spec"]["template"]["spec"]["containers"]
        assert container["envFrom"][-1]["secretRef"]["name"] == secret["metadata"]["name"]
        assert "secret@" not in json.dumps(deployment)


def test_proxies_that_are_read_from_the_secret_give_the_same_secret() -> None:
    """Where the engine is not seen, Flux keeps what it has."""
    secret = manifests.with_proxies(objects(), PROXIES)[1]
    assert manifests.with_proxies(objects(), manifests.proxies(secret))[1] == secret
    assert manifests.proxies(None) == {}


def test_without_proxies_nothing_changes() -> None:
    assert manifests.with_proxies(objects(), {}) == objects()


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        (["PATH=/bin", "HTTPS_PROXY=http://p:1", "https_proxy=http://p:1", "NO_PROXY=a,b"],
         {"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a,b"}),
        (["HTTP_PROXY=http://u:a=b@p:1"], {"HTTP_PROXY": "http://u:a=b@p:1"}),
        (["NO_PROXY=a,b", "HTTPS_PROXY="], {}),
        (["PATH=/bin"], {}),
        (None, {}),
    ],
    ids=["as kind writes them", "an equals sign", "exceptions alone", "none", "no environment"],
)  # fmt: skip
def test_the_proxies_are_those_of_the_node(environment: list[str] | None, expected: dict[str, str]) -> None:
    node = Node("id", "kind-control-plane", "kind", "control-plane", "running", "image", ours=True)
    assert Container(node, {"Config": {"Env": environment}}).proxies == expected
