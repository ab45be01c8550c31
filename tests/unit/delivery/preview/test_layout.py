"""Which namespaces a preview has, and what it may not bring."""

import json
from typing import Any

import pytest
from tests.unit.delivery.check.trees import config, definition, flux, thing

from threezone.clients.kubernetes.api import Json
from threezone.core.errors import UsageError
from threezone.core.labels import PREVIEW
from threezone.delivery.preview import layout
from threezone.delivery.preview.cluster import BINDING, binding, namespace
from threezone.delivery.preview.layout import decide, kustomization, require_inside
from threezone.delivery.preview.model import Preview
from threezone.delivery.sync import Target

PREVIEW_X = Preview("x")
TARGET = Target("preview-x")
SHARED = {"Namespace", "ClusterRole", "CustomResourceDefinition"}


def is_namespaced(item: Json) -> bool | None:
    return None if item["kind"] == "Unknown" else item["kind"] not in SHARED


def decided(*objects: Json) -> layout.Layout:
    return decide(PREVIEW_X, objects, is_namespaced)


def test_one_namespace_becomes_the_preview_with_its_labels() -> None:
    made = thing("Namespace", "app")
    own = {"kustomize.toolkit.fluxcd.io/name": "preview-x"}
    made["metadata"]["labels"] = {"pod-security.kubernetes.io/enforce": "restricted", **own}
    found = decided(made, config("page"), thing("Unknown", "a", "app"), config("loose", ""))
    assert (found.namespaces, found.single, found.patches) == ({"app": "preview-x"}, "preview-x", ())
    assert found.metadata["app"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    declared = namespace(PREVIEW_X, "preview-x", "app", found.metadata["app"])["metadata"]
    assert declared["labels"] == {"pod-security.kubernetes.io/enforce": "restricted", PREVIEW: "x"}


def test_without_a_namespace_there_is_one_all_the_same() -> None:
    assert decided(config("page", "")).namespaces == {"": "preview-x"}


def test_of_several_namespaces_each_gets_a_suffix() -> None:
    subjects = [{"kind": "ServiceAccount", "name": "web", "namespace": "front"}, {"kind": "User", "name": "me"}]
    bound = thing("RoleBinding", "web", "back", "rbac.authorization.k8s.io/v1", subjects=subjects)
    found = decided(config("page", "front"), thing("Namespace", "back"), bound)
    assert (found.namespaces, found.single) == ({"back": "back-x", "front": "front-x"}, "")
    moves = [(each["target"], json.loads(each["patch"])) for each in found.patches]
    assert moves == [
        (
            {"kind": "RoleBinding", "name": "web", "namespace": "back"},
            [{"op": "replace", "path": "/subjects/0/namespace", "value": "front-x"}],
        ),
        ({"namespace": "back"}, [{"op": "add", "path": "/metadata/namespace", "value": "back-x"}]),
        ({"namespace": "front"}, [{"op": "add", "path": "/metadata/namespace", "value": "front-x"}]),
    ]


RELEASE = thing("HelmRelease", "db", "app", "helm.toolkit.fluxcd.io/v2", spec={"targetNamespace": "data"})


@pytest.mark.parametrize(
    ("objects", "words", "evidence"),
    [
        ([thing("ClusterRole", "reader")], "whole cluster shares", "ClusterRole reader"),
        ([definition("Widget")], "whole cluster shares", "CustomResourceDefinition widgets.example.com"),
        ([flux("apps")], "namespaces of their own", "Kustomization flux-system/apps"),
        ([RELEASE], "namespaces of their own", "HelmRelease app/db"),
        ([config("a", "one"), config("b", "two"), config("c", "")], "name none of them", "ConfigMap c"),
        ([config("a", "one"), config("b", "one-x")], "one-x of the path", ""),
    ],
)
def test_what_only_main_may_have_is_refused(objects: list[Json], words: str, evidence: str) -> None:
    with pytest.raises(UsageError, match=words) as refused:
        decided(*objects)
    assert refused.value.evidence == evidence
    assert refused.value.fix


def test_what_would_be_applied_elsewhere_is_refused() -> None:
    found = decided(config("page"))
    require_inside(found, [config("page", "preview-x")])
    for outside in (config("page", "app"), thing("ClusterRole", "reader")):
        with pytest.raises(UsageError, match="cannot be moved"):
            require_inside(found, [config("page", "preview-x"), outside])


def test_flux_applies_it_as_an_account_without_rights_elsewhere() -> None:
    main: dict[str, Any] = {
        "decryption": {"provider": "sops"}, "path": "./main", "suspend": True,
        "postBuild": {"substitute": {"zone": "a", "branch": "main"}, "substituteFrom": [{"kind": "ConfigMap"}]},
    }  # fmt: skip
    item = kustomization(PREVIEW_X, TARGET, "deploy", main, decided(config("page")))
    spec = item["spec"]
    assert (spec["serviceAccountName"], spec["targetNamespace"], spec["prune"]) == ("preview-x", "preview-x", True)
    assert (spec["path"], spec["decryption"], "suspend" in spec) == ("./deploy", main["decryption"], False)
    assert spec["postBuild"]["substitute"] == {"zone": "a", "branch": "x", "preview": "preview-x"}
    assert spec["postBuild"]["substituteFrom"] == [{"kind": "ConfigMap"}]
    assert spec["patches"] == [layout.WITHOUT_NAMESPACES]
    assert item["metadata"]["labels"] == spec["commonMetadata"]["labels"] == {PREVIEW: "x"}
    rights = binding(PREVIEW_X, "preview-x", TARGET)
    assert (rights["kind"], rights["metadata"]["name"]) == ("RoleBinding", BINDING)
    assert rights["subjects"] == [{"kind": "ServiceAccount", "name": "preview-x", "namespace": "flux-system"}]


def test_for_the_decision_it_is_rendered_as_main_would_be() -> None:
    spec = kustomization(PREVIEW_X, TARGET, "deploy", {})["spec"]
    assert not {"targetNamespace", "serviceAccountName", "patches"} & spec.keys()
