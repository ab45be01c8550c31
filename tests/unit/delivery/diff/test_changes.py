"""What is shown of a change: a diff without values of Secrets, defaults and what the server writes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.unit.delivery.check.trees import config, group, rendering, thing

from threezone.clients.kubernetes.api import Json, Refused
from threezone.delivery.check.cluster import Answer
from threezone.delivery.check.model import MASK_BASE64, Key
from threezone.delivery.diff import changes, compare
from threezone.delivery.diff.changes import Diff, change

SERVER = {"uid": "1", "resourceVersion": "2", "generation": 3, "managedFields": [], "creationTimestamp": "now"}
OWNED = {"kustomize.toolkit.fluxcd.io/name": "lab", "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}


def secret(**data: str) -> Json:
    return thing("Secret", "one", "app", data=data)


def live(item: Json, **more: Any) -> Json:
    noted = {changes.LAST_APPLIED: json.dumps(item)}
    return {**item, **more, "metadata": {**item["metadata"], **SERVER, "labels": OWNED, "annotations": noted}}


def answered(item: Json, before: Json | None, merged: Json | None = None) -> changes.Change | None:
    return compare.of_answer(group("lab", item), Answer(item, merged or item, before), frozenset())


def test_what_the_server_and_flux_write_is_no_change() -> None:
    assert answered(config("one", a="b"), live(config("one", a="b"), status={})) is None


def test_a_change_is_shown_by_its_lines() -> None:
    found = answered(config("one", a="c"), live(config("one", a="b")))
    assert found is not None
    assert [line for line in found.lines() if line[0] in "+-"][2:] == ["-  a: b", "+  a: c"]
    assert (found.verb, str(found.what), found.by) == ("change", "ConfigMap app/one", "lab")


def test_defaults_are_hidden_and_declared_fields_are_not() -> None:
    wanted = thing("Service", "web", "app", spec={"ports": [{"port": 81}], "type": "ClusterIP"})
    defaults = {"sessionAffinity": "None", "type": "ClusterIP"}
    before = {**wanted, "spec": {**defaults, "ports": [{"port": 80, "protocol": "TCP"}]}}
    after = {**wanted, "spec": {**defaults, "ports": [{"port": 81, "protocol": "TCP"}]}}
    found = answered(wanted, before, after)
    assert found is not None
    assert found.after == {**wanted, "spec": {"ports": [{"port": 81}], "type": "ClusterIP"}}
    assert found.before == {**wanted, "spec": {"ports": [{"port": 80}], "type": "ClusterIP"}}


def test_an_object_that_flux_only_creates_stays() -> None:
    wanted = config("one", a="c")
    wanted["metadata"]["annotations"] = {"kustomize.toolkit.fluxcd.io/ssa": "IfNotPresent"}
    assert answered(wanted, live(config("one", a="b"))) is None
    created = answered(wanted, None)
    assert created is not None
    assert created.verb == "create"


SECRETS = [
    (secret(a="b2xk"), secret(a="bmV3"), ["*** (before)", "*** (after)"]),
    (secret(a="b2xk", b="c2FtZQ=="), secret(a="bmV3", b="c2FtZQ=="), ["***", "*** (after)"]),
    (None, secret(a="bmV3"), ["***"]),
    (secret(a="b2xk"), None, ["***"]),
    (secret(), secret(a="bmV3"), ["***"]),
    (thing("Secret", "one", "app", stringData={"a": "old"}), thing("Secret", "one", "app", stringData={"a": "new"}),
     ["*** (before)", "*** (after)"]),
]  # fmt: skip


@pytest.mark.parametrize(("before", "after", "shown"), SECRETS)
def test_values_of_secrets_are_never_shown(before: Json | None, after: Json | None, shown: list[str]) -> None:
    noted = live(before) if before else None
    diff = Diff("a", "b", (change("change", "lab", noted, after),))
    for text in (json.dumps(diff.data()), diff.text(), diff.markdown()):
        assert all(words in text or words in text.replace("\\", "") for words in shown)
        assert not [value for value in ("b2xk", "bmV3", "c2FtZQ", "old", "new") if value in text]


def test_an_encrypted_value_is_no_change() -> None:
    assert answered(secret(a=MASK_BASE64), live(secret(a="b2xk"))) is None
    found = answered(secret(a=MASK_BASE64, b=MASK_BASE64), live(secret(a="b2xk")))
    assert found is not None
    assert found.after is not None
    assert set(found.after["data"]) == {"a", "b"}


def test_values_of_secrets_in_other_objects_are_hidden() -> None:
    before, after = config("one", url="https://me:hunter2@x", n="1"), config("one", url="https://me:hunter3@x", n="1")
    shown = json.dumps(
        Diff("a", "b", (change("change", "lab", before, after, secrets={"hunter2", "hunter3", "1"}),)).data()
    )
    assert "hunter" not in shown
    assert '"n": "***"' in shown


def test_markdown_cannot_be_left() -> None:
    text = Diff("a", "b<script>", (change("create", "lab", None, config("one", a="```\n</details>")),)).markdown()
    assert "````diff" in text
    assert "<script>" not in text


def test_two_revisions() -> None:
    old = rendering(group("lab", config("same"), config("a", x="1"), config("gone")), group("b", config("away")))
    new = rendering(
        group("lab", config("same"), config("a", x="2"), config("new")), failed=frozenset({Key("flux-system", "b")})
    )
    found = [(each.verb, each.what.name) for each in compare.between(old, new)]
    assert found == [("change", "a"), ("create", "new"), ("delete", "gone")], (
        "what could not be rendered is not deleted"
    )


def test_a_refusal_is_no_change() -> None:
    item = config("one")
    assert (
        compare.of_answer(group("lab", item), Answer(item, None, live(item), Refused(500, "no")), frozenset()) is None
    )
