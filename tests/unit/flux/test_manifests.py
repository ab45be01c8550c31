"""Flux's manifests with the authority of a network."""

from __future__ import annotations

import copy
from typing import Any

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
