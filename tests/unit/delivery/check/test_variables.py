"""Where the values of variables come from."""

from __future__ import annotations

from typing import Any

import pytest
from tests.unit.delivery.check.trees import config, flux, group, nothing, thing, unknown

from threezone.clients.kubernetes.api import Json
from threezone.delivery.check import variables
from threezone.delivery.check.model import MASK, MASK_BASE64, id_of, staying

FROM = [{"kind": "ConfigMap", "name": "set"}]
SET = config("set", "flux-system", a="1", b="2")
LATER = config("later", "flux-system", b="3")
PASSWORD = thing("Secret", "set", "flux-system", data={"p": "aHVudGVyMg=="}, stringData={"q": "plain"})


def resolved(own: Any, references: Any, *objects: Json, lookup: Any = nothing) -> variables.Values:
    item = flux("a", postBuild={"substitute": own, "substituteFrom": references})
    return variables.resolve(item, {id_of(each): [each] for each in objects}, lookup)


@pytest.mark.parametrize(
    ("own", "references", "expected"),
    [
        ({"a": "x"}, [], {"a": "x"}),
        ({}, FROM, {"a": "1", "b": "2"}),
        ({"a": "own"}, FROM, {"a": "own", "b": "2"}),
        ({}, [*FROM, {"kind": "ConfigMap", "name": "later"}], {"a": "1", "b": "3"}),
        ({}, [{"kind": "ConfigMap", "name": "none", "optional": True}], {}),
        ({}, [{"kind": "Secret", "name": "set"}], {"p": "hunter2", "q": "plain"}),
    ],
)
def test_values(own: Json, references: Json, expected: Json) -> None:
    found = resolved(own, references, SET, LATER, PASSWORD)
    assert (found.values, found.missing, found.unknown) == (expected, (), ())


def test_values_of_secrets_are_known_as_such_and_not_shown() -> None:
    found = resolved({}, [*FROM, {"kind": "Secret", "name": "set"}], SET, PASSWORD)
    assert found.secrets == {"hunter2", "plain"}
    assert "hunter2" not in repr(found)


def test_what_is_missing_and_what_is_not_known() -> None:
    assert resolved({}, FROM).missing == ("ConfigMap flux-system/set",)
    assert resolved({}, FROM, lookup=unknown).unknown == ("ConfigMap flux-system/set",)
    assert resolved({}, FROM, lookup=lambda _: SET).values == {"a": "1", "b": "2"}
    assert resolved({}, FROM, config("set", "other")).missing == ("ConfigMap flux-system/set",)


@pytest.mark.parametrize("values", [{"data": {"p": MASK_BASE64}}, {"stringData": {"p": MASK}}])
def test_encrypted_values_are_not_known(values: Json) -> None:
    found = resolved({}, [{"kind": "Secret", "name": "s"}], thing("Secret", "s", "flux-system", **values))
    assert found.unknown == ("Secret flux-system/s",)


def test_values_are_written_into_the_kustomization() -> None:
    item = flux("a", postBuild={"substituteFrom": FROM}, path="./a")
    spec = variables.with_values(item, {"a": "one\ntwo"})["spec"]
    assert spec["postBuild"] == {"substitute": {"a": "onetwo"}}, "as Flux does it, without line ends"
    assert item["spec"]["postBuild"] == {"substituteFrom": FROM}
    assert "postBuild" not in variables.with_values(flux("a"), {})["spec"]


@pytest.mark.parametrize(
    ("owner", "prune", "brought", "stays"),
    [("lab", True, False, False), ("lab", False, False, True), ("lab", True, True, True), ("other", True, False, True)],
)
def test_a_live_object_that_flux_will_delete_does_not_count(
    owner: str, prune: bool, brought: bool, stays: bool
) -> None:
    labels = {"kustomize.toolkit.fluxcd.io/name": owner, "kustomize.toolkit.fluxcd.io/namespace": "flux-system"}
    live = {**SET, "metadata": {**SET["metadata"], "labels": labels}}
    lab = group("lab", *([SET] if brought else []), prune=prune)
    assert (staying(live, {lab.key: lab}) is not None) is stays
    assert staying(None, {lab.key: lab}) is None
    assert staying(SET, {lab.key: lab}) is SET
