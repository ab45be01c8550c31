"""Images that cannot be had."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.delivery.check.trees import config, group, rendering, thing

from threezone.clients.kubernetes.api import Json
from threezone.core import net
from threezone.core.errors import ToolError
from threezone.delivery.check import images


def pod(*containers: Json, **more: Any) -> Json:
    return {"containers": list(containers), **more}


def web(*containers: Json, **spec: Any) -> Json:
    return thing("Deployment", "web", "app", "apps/v1", spec={"template": {"spec": pod(*containers)}, **spec})


ONE = {"image": "one:1"}
IN_TEMPLATE = ".spec.template.spec.containers[0].image"
HELD = {"docker.io/library/one:1", "docker.io/library/two:latest"}


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        (web(ONE), [("docker.io/library/one:1", False, IN_TEMPLATE)]),
        (web({"image": "r.example.com/two"}), [("r.example.com/two:latest", True, IN_TEMPLATE)]),
        (web({**ONE, "imagePullPolicy": "Always"}), [("docker.io/library/one:1", True, IN_TEMPLATE)]),
        (web(ONE, replicas=0), []),
        (web({}), []),
        (config("a"), []),
        (
            thing("CronJob", "a", "app", "batch/v1", spec={"jobTemplate": {"spec": {"template": {"spec": pod(ONE)}}}}),
            [("docker.io/library/one:1", False, ".spec.jobTemplate.spec.template.spec.containers[0].image")],
        ),
        (
            thing("Pod", "a", "app", spec=pod(initContainers=[ONE])),
            [("docker.io/library/one:1", False, ".spec.initContainers[0].image")],
        ),
    ],
)  # fmt: skip
def test_images_of_workloads(item: Json, expected: list[tuple[str, bool, str]]) -> None:
    found = images.uses(rendering(group("lab", item)))
    assert [(use.image, use.always, use.path) for use in found] == expected
    assert images.uses(rendering(group("lab", item, kubeConfig={}))) == []


@pytest.mark.parametrize(
    ("image", "policy", "answer", "expected"),
    [
        ("one:1", "", (False, "no"), []),
        ("one:1", "Always", (False, "no"), ["error"]),
        ("two", "", (False, "no"), ["error"]),
        ("two", "IfNotPresent", (False, "no"), []),
        ("three:1", "", (False, "no"), ["error"]),
        ("three:1", "", (None, "perhaps"), ["warning"]),
        ("three:1", "", (True, ""), []),
        ("one:1", "Always", (True, ""), []),
    ],
)
def test_findings(image: str, policy: str, answer: images.Answer, expected: list[str]) -> None:
    used = images.uses(
        rendering(group("lab", web({"image": image, **({"imagePullPolicy": policy} if policy else {})})))
    )
    found = list(images.findings(used, HELD, lambda _: answer))
    assert [finding.severity for finding, _ in found] == expected


@pytest.mark.parametrize(("status", "expected"), [(200, True), (404, False), (401, None), (500, None)])
def test_a_registry_is_asked(monkeypatch: pytest.MonkeyPatch, status: int, expected: bool | None) -> None:
    asked: list[str] = []

    class Response:
        def __init__(self) -> None:
            self.status = status

        def close(self) -> None: ...

    def request(method: str, url: str, _limits: object) -> Response:
        asked.append(f"{method} {url}")
        return Response()

    monkeypatch.setattr(net, "request", request)
    assert images.served("docker.io/library/one:1")[0] is expected
    assert images.served("r.example.com:5000/a/b@sha256:123")[0] is expected
    assert asked == [
        "HEAD https://registry-1.docker.io/v2/library/one/manifests/1",
        "HEAD https://r.example.com:5000/v2/a/b/manifests/sha256:123",
    ]


def test_a_registry_that_is_not_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ToolError("no connection")

    monkeypatch.setattr(net, "request", fail)
    assert images.served("r.example.com/a:1")[0] is False
    assert images.served("r.example.com/a:1", near=False)[0] is None, "the nodes may reach it"


def test_the_registries_of_the_lab_are_not_asked() -> None:
    assert images.is_of_lab("localhost:5001/app:1", ())
    assert images.is_of_lab("ghcr.io/a/b:1", ["ghcr.io"])
    assert not images.is_of_lab("ghcr.io/a/b:1", ["docker.io"])
    assert not images.is_of_lab("localhost.example.com/a:1", ())
