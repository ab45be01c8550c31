"""API versions that newer Flux releases no longer have, and the gate that hurts in the first 2.8."""

from __future__ import annotations

import re
from typing import Any

import pytest

from threezone.flux import removed_apis
from threezone.flux.removed_apis import PATTERN, REMOVED

HELM = "helm.toolkit.fluxcd.io/v2beta2"


@pytest.mark.parametrize(
    ("line", "since"),
    [
        ("apps/a.yaml:apiVersion: source.toolkit.fluxcd.io/v1beta2", "2.8"),
        ("apps/a.yaml:- apiVersion: 'kustomize.toolkit.fluxcd.io/v1beta1'", "2.7"),
        (f'a.yml:    apiVersion: "{HELM}" # old', "2.8"),
        ("a.yml:apiVersion: notification.toolkit.fluxcd.io/v1beta2", "2.9"),
        ("a.yml:apiVersion: notification.toolkit.fluxcd.io/v1beta3", ""),
        ("a.yml:apiVersion: source.toolkit.fluxcd.io/v1", ""),
        ("a.yml:apiVersion: image.toolkit.fluxcd.io/v1beta2", ""),
    ],
)
def test_a_file_with_a_version_that_is_gone(line: str, since: str) -> None:
    told = removed_apis.in_files([line], "2.9.5")
    assert [f"is gone since Flux {since}" in sentence for sentence in told] == ([True] if since else [])
    assert all(sentence.startswith(line.partition(":")[0]) for sentence in told)
    if since:
        major, minor = map(int, since.split("."))
        assert removed_apis.in_files([line], f"{major}.{minor - 1}.9") == (), "the Flux before had it"
        assert removed_apis.in_files([line], f"{since}.0") != ()


def test_files_of_one_version_are_one_sentence() -> None:
    lines = [f"{name}.yaml:apiVersion: {HELM}" for name in ("b", "a", "b", "c")]
    (sentence,) = removed_apis.in_files(lines, "v2.8.8")
    assert sentence.startswith(f"a.yaml and 2 more: {HELM} is gone")


def test_the_pattern_for_git_finds_every_version_of_the_table() -> None:
    expression = PATTERN.replace("[[:space:]]", r"\s").replace("[[:space:]-]", r"[\s-]")
    for version in REMOVED:
        assert re.search(expression, f"- apiVersion: {version}")
    assert not re.search(expression, "apiVersion: kustomize.toolkit.fluxcd.io/v1")
    assert not re.search(expression, "# see kustomize.toolkit.fluxcd.io/v1beta2")


def definition(group: str, kind: str, *stored: str) -> dict[str, Any]:
    return {"spec": {"group": group, "names": {"kind": kind}}, "status": {"storedVersions": list(stored)}}


def test_objects_that_are_stored_in_a_version_that_is_gone() -> None:
    found = [definition("helm.toolkit.fluxcd.io", "HelmRelease", "v2beta2", "v2"),
             definition("source.toolkit.fluxcd.io", "GitRepository", "v1"),
             {"spec": {"group": "source.toolkit.fluxcd.io", "names": {"kind": "Bucket"}}}]  # fmt: skip
    (sentence,) = removed_apis.in_cluster(found, "2.9.5")
    assert sentence.startswith(f"the cluster stores HelmRelease objects as {HELM}")
    assert "flux migrate" in sentence
    assert removed_apis.in_cluster(found, "2.7.3") == ()


def deployment(name: str, *arguments: str) -> dict[str, Any]:
    pod = {"spec": {"containers": [{"name": "manager", "args": list(arguments)}]}}
    return {"metadata": {"name": name}, "spec": {"template": pod}}


@pytest.mark.parametrize(
    ("flux", "hurts"),
    [("v2.7.3", False), ("v2.8.0", True), ("v2.8.1", True), ("v2.8.2", False), ("v2.9.5", False), ("", False)],
)
def test_the_gate_hurts_in_the_first_patches_of_2_8(flux: str, hurts: bool) -> None:
    on = deployment("helm-controller", "--events-addr=", "--feature-gates=A=true,CancelHealthCheckOnNewRevision=true")
    off = [deployment("a", "--feature-gates=CancelHealthCheckOnNewRevision=false"), deployment("b")]
    told = removed_apis.gates([on, *off], flux)
    assert [sentence.startswith("helm-controller has CancelHealthCheckOnNewRevision=true") for sentence in told] == (
        [True] if hurts else []
    )
    assert removed_apis.gate_hurts(flux) is hurts
