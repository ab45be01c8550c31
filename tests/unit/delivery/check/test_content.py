"""Rules about objects: duplicates, Secrets, sources, charts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tests.unit.delivery.check.trees import config, flux, group, nothing, rendering, thing, unknown

from threezone.clients.kubernetes.api import Json
from threezone.delivery.check import content
from threezone.delivery.check.model import MASK, MASK_BASE64
from threezone.delivery.check.source import Tree


def secret(**rest: Any) -> Json:
    return thing("Secret", "one", "app", **rest)


@pytest.mark.parametrize(
    ("other", "more", "expected"),
    [
        (config("one", a="b"), {}, ["warning"]),
        (config("one", a="c"), {}, ["error"]),
        (config("two", a="b"), {}, []),
        (config("one", "other", a="b"), {}, []),
        (config("one", a="c"), {"kubeConfig": {}}, []),
    ],
)
def test_an_object_in_two_kustomizations(other: Json, more: Json, expected: list[str]) -> None:
    owned = [
        {**each, "metadata": {**each["metadata"], "labels": {"kustomize.toolkit.fluxcd.io/name": name}}}
        for name, each in (("a", config("one", a="b")), ("b", other))
    ]
    found = content.duplicates(rendering(group("a", owned[0]), group("b", owned[1], **more)))
    assert [finding.severity for finding in found] == expected


ALLOWED = {"name": "one", "namespace": "app", "annotations": {content.CLEAR_TEXT: "allowed"}}
SECRETS = [
    ({}, {}, []),
    ({"data": {}}, {}, []),
    ({"data": {"a": ""}}, {}, []),
    ({"data": {"a": "YQ=="}}, {}, ["secret"]),
    ({"stringData": {"a": "b"}}, {}, ["secret"]),
    ({"stringData": {"a": "b"}, "metadata": ALLOWED}, {}, []),
    ({"type": "kubernetes.io/service-account-token"}, {}, []),
    ({"stringData": {"a": MASK}}, {}, ["sops"]),
    ({"data": {"a": MASK_BASE64}}, {"decryption": {"provider": "sops"}}, []),
    ({"data": {"a": MASK_BASE64, "b": "YQ=="}}, {"decryption": {"provider": "sops"}}, ["secret"]),
    ({"stringData": {".dockerconfigjson": '{"mask":"**SOPS**"}'}}, {"decryption": {}}, []),
]


@pytest.mark.parametrize(("fields", "spec", "expected"), SECRETS)
def test_secrets(fields: Json, spec: Json, expected: list[str]) -> None:
    found = list(content.secrets(rendering(group("lab", {**secret(), **fields}, **spec))))
    assert [finding.rule for finding in found] == expected
    assert all(finding.severity == "error" for finding in found)


def test_a_config_map_is_no_secret() -> None:
    assert list(content.secrets(rendering(group("lab", config("one", a="b"))))) == []


def release(**chart: Any) -> Json:
    spec = {
        "chart": "./chart",
        "sourceRef": {"kind": "GitRepository", "name": "lab", "namespace": "flux-system"},
        **chart,
    }
    return thing("HelmRelease", "web", "app", "helm.toolkit.fluxcd.io/v2", spec={"chart": {"spec": spec}})


OCI = thing("OCIRepository", "oci", "app", "source.toolkit.fluxcd.io/v1")
SOURCES = [
    (flux("a"), [], []),
    (flux("a", sourceRef={"kind": "GitRepository", "name": "other"}), [], ["source"]),
    (flux("a", sourceRef={"kind": "OCIRepository", "name": "oci", "namespace": "app"}), [OCI], []),
    (flux("a", sourceRef={"kind": "OCIRepository", "name": "oci"}), [OCI], ["source"]),
    (release(), [], []),
    (release(sourceRef={"kind": "HelmRepository", "name": "none"}), [], ["source"]),
    (thing("HelmRelease", "web", "app", "helm.toolkit.fluxcd.io/v2",
           spec={"chartRef": {"kind": "OCIRepository", "name": "oci"}}), [OCI], []),
    (config("a"), [], []),
]  # fmt: skip


@pytest.mark.parametrize(("item", "others", "expected"), SOURCES)
def test_sources(item: Json, others: list[Json], expected: list[str]) -> None:
    made = rendering(group("lab", item, *others))
    assert [finding.rule for finding in content.sources(made, nothing)] == expected
    assert list(content.sources(made, unknown)) == []
    assert list(content.sources(made, lambda _: {})) == []


@pytest.mark.parametrize(
    ("chart", "expected"),
    [
        ({}, []),
        ({"chart": "chart"}, []),
        ({"chart": "./none"}, ["none"]),
        ({"valuesFiles": ["chart/values.yaml"]}, []),
        ({"valuesFiles": ["chart/lab.yaml"]}, ["chart/lab.yaml"]),
        ({"valuesFiles": ["chart/lab.yaml"], "ignoreMissingValuesFiles": True}, []),
        ({"chart": "podinfo", "sourceRef": {"kind": "HelmRepository", "name": "x"}}, []),
    ],
)
def test_charts_of_the_repository(tmp_path: Path, chart: Json, expected: list[str]) -> None:
    (tmp_path / "chart").mkdir()
    for name in ("Chart.yaml", "values.yaml"):
        (tmp_path / "chart" / name).write_text("name: web\n")
    found = list(content.charts(rendering(group("lab", release(**chart))), Tree(tmp_path, "lab", "")))
    assert len(found) == len(expected)
    assert all(name in finding.message for name, finding in zip(expected, found, strict=True))
    assert "HelmRelease app/web" in content.not_rendered(rendering(group("lab", release())))[0]
