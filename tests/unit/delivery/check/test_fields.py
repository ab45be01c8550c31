"""What the API server's answers mean, and what is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.unit.delivery.check.trees import config, definition, group, rendering, thing

from threezone.clients.kubernetes.api import Api, Forbidden, Json, Refused, refused
from threezone.delivery.check import cluster, fields
from threezone.delivery.check.cluster import Answer, Cluster
from threezone.delivery.check.model import MASK
from threezone.delivery.check.schemas import Kept

NO_SCHEMAS = Kept({})
WEB = thing("Deployment", "web", "app", "apps/v1", spec={})
LIVE = {"metadata": {"name": "web"}}
TYPED = "failed to create typed patch object (app/web; apps/v1, Kind=Deployment): "
SELECTOR = 'Deployment.apps "web" is invalid: spec.selector: Invalid value: {"a":"b"}: field is immutable'
# The server's words, its status, whether the object exists, the Kustomization's spec, and the finding.
REFUSALS: list[tuple[str, int, Json | None, Json, tuple[str, str, str]]] = [
    (f"{TYPED}.spec.foo: field not declared in schema", 500, None, {}, ("error", "field", ".spec.foo")),
    (f"{TYPED}.spec.replicas: expected numeric, got x", 500, None, {}, ("error", "field", ".spec.replicas")),
    (SELECTOR, 422, LIVE, {}, ("error", "immutable", ".spec.selector")),
    (SELECTOR, 422, LIVE, {"force": True}, ("warning", "immutable", ".spec.selector")),
    (SELECTOR, 422, None, {"force": True}, ("error", "refused", ".spec.selector")),
    ('Service "web" is invalid: spec.ports[0].port: Invalid value: 0: must be between 1 and 65535', 422, LIVE, {},
     ("error", "refused", ".spec.ports[0].port")),
    ("admission webhook says no", 400, LIVE, {}, ("error", "refused", "")),
]  # fmt: skip


@pytest.mark.parametrize(("words", "status", "live", "spec", "expected"), REFUSALS)
def test_a_refusal(words: str, status: int, live: Json | None, spec: Json, expected: tuple[str, str, str]) -> None:
    answer = Answer(WEB, None, live, Refused(status, words))
    found, unchecked = fields.of_answers([group("lab", WEB, **spec)], [answer], {}, NO_SCHEMAS)
    assert [(finding.severity, finding.rule, path) for finding, path in found] == [expected]
    assert unchecked == []


def test_an_annotation_lets_flux_replace_an_object() -> None:
    forced = {**WEB, "metadata": {**WEB["metadata"], "annotations": {"kustomize.toolkit.fluxcd.io/force": "enabled"}}}
    answer = Answer(forced, None, LIVE, Refused(422, SELECTOR))
    ((finding, _),), _ = fields.of_answers([group("lab", forced)], [answer], {}, NO_SCHEMAS)
    assert finding.severity == "warning"


@pytest.mark.parametrize(
    "refusal",
    [
        refused(403, 'User "me" cannot patch resource "deployments" in API group "apps" in the namespace "app"'),
        Refused(400, 'admission webhook "x" does not support dry run'),
    ],
)
def test_what_the_server_does_not_tell_is_said(refusal: Refused) -> None:
    found, (said,) = fields.of_answers([group("lab", WEB)], [Answer(WEB, refusal=refusal)], {}, NO_SCHEMAS)
    assert found == []
    assert "Deployment app/web" in said
    assert isinstance(refusal, Forbidden) is ("may" in said or "cannot" in said)


def test_values_of_a_secret_are_not_in_a_finding() -> None:
    secret = thing("Secret", "one", "app", stringData={"password": "hunter2"})
    words = ".data.x: expected string, got &value.valueUnstructured{Value:hunter2}"
    ((finding, _),), _ = fields.of_answers(
        [group("lab", secret)], [Answer(secret, refusal=Refused(500, words))], {}, Kept({})
    )
    assert "hunter2" not in str(finding)


SCHEMA = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"a": {"type": "string"}}}}}
THING = thing("Thing", "one", "app", "example.com/v1", spec={"b": 1})


@pytest.mark.parametrize(
    "answer", [Answer(THING, skipped="not served"), Answer(THING, refusal=Refused(500, "old schema"))]
)
def test_a_kind_of_the_commit_is_checked_with_the_schema_of_the_commit(answer: Answer) -> None:
    brought = fields.brought_schemas(rendering(group("lab", definition("Thing", schema=SCHEMA))))
    ((finding, path),), unchecked = fields.of_answers([group("lab", THING)], [answer], brought, NO_SCHEMAS)
    assert (finding.rule, path, unchecked) == ("field", ".spec.b", [])


def test_a_kind_without_any_schema_is_said() -> None:
    _, (said,) = fields.of_answers([group("lab", THING)], [Answer(THING, skipped="not served")], {}, NO_SCHEMAS)
    assert "Thing app/one" in said
    (other,) = fields.without_lab(rendering(group("lab", THING)), NO_SCHEMAS)
    assert isinstance(other, str)


def annotated(name: str, value: str) -> Json:
    made = config("one")
    return {**made, "metadata": {**made["metadata"], "annotations": {f"kustomize.toolkit.fluxcd.io/{name}": value}}}


def test_what_flux_does_not_apply_is_not_tried() -> None:
    skipped = [annotated("reconcile", "disabled"), annotated("ssa", "Ignore")]
    made = rendering(
        group("lab", *skipped, WEB), group("b", config("b"), complete=False), group("c", config("c"), kubeConfig={})
    )
    assert [item for _, item in fields.applied(made)] == [WEB]


class Server:
    """An API server with two kinds and one namespace; `answer` is for a dry run."""

    def __init__(self, answer: Callable[[str, Json], Json], *existing: str) -> None:
        self.answer, self.existing, self.asked = answer, set(existing), list[str]()

    def get(self, path: str, **_: Any) -> Json | None:
        kinds = {
            "/api/v1": [
                ("ConfigMap", "configmaps", True),
                ("Secret", "secrets", True),
                ("Namespace", "namespaces", False),
            ]
        }
        if path in kinds:
            return {"resources": [{"kind": k, "name": n, "namespaced": s} for k, n, s in kinds[path]]}
        if path == "/api/v1/namespaces":
            going = {"name": "going", "deletionTimestamp": "now"}
            return {"items": [{"metadata": {"name": "app"}}, {"metadata": going}]}
        return {"metadata": {"name": path.rpartition("/")[2]}} if path in self.existing else None

    apply = Api.apply  # the real one, by `send`

    def send(self, method: str, path: str, body: Json, content: str, **query: Any) -> Json:  # noqa: ARG002
        assert (method, query["dryRun"], query["fieldManager"]) == ("PATCH", "All", "kustomize-controller")
        self.asked.append(path)
        return self.answer(path, body)


def test_a_dry_run_goes_to_the_object_itself() -> None:
    server = Server(lambda _, body: body)
    (answer,) = Cluster(server).dry_runs([config("one")])  # type: ignore[arg-type]
    assert server.asked == ["/api/v1/namespaces/app/configmaps/one"]
    assert answer.merged == config("one")


@pytest.mark.parametrize("namespace", ["new", "going"])
def test_an_object_of_a_namespace_that_is_not_there_yet_is_tried_elsewhere(namespace: str) -> None:
    server = Server(lambda _, body: body)
    (answer,) = Cluster(server).dry_runs([config("one", namespace)])  # type: ignore[arg-type]
    assert server.asked == ["/api/v1/namespaces/default/configmaps/one"]
    assert answer.merged == config("one", namespace)
    server = Server(lambda _, body: body, "/api/v1/namespaces/default/configmaps/one")
    (answer,) = Cluster(server).dry_runs([config("one", namespace)])  # type: ignore[arg-type]
    assert server.asked == [], "another object has its name there"
    assert answer.skipped


def test_an_object_without_a_namespace_and_one_of_an_unknown_kind() -> None:
    server = Server(lambda _, body: body)
    lacking, unknown = Cluster(server).dry_runs([config("one", ""), THING])  # type: ignore[arg-type]
    assert lacking.refusal is not None
    ((finding, _),), _ = fields.of_answers([group("lab")], [lacking], {}, NO_SCHEMAS)
    assert finding.rule == "namespace"
    assert unknown.skipped
    assert server.asked == []


def test_a_secret_is_sent_as_flux_sends_it() -> None:
    sent = cluster.normalized(
        thing("Secret", "a", "app", data={"x": "eA=="}, stringData={"y": "y", "z": MASK}, status={})
    )
    assert sent["data"] == {"x": "eA==", "y": "eQ==", "z": "KipTT1BTKio="}
    assert {"stringData", "status"} & sent.keys() == set()
    assert "status" in cluster.normalized({**definition("Thing"), "status": {}})
