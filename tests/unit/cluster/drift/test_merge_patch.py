"""Patches applied as in RFC 7386, and their digests."""

from typing import Any

import pytest

from threezone.cluster.drift.merge_patch import containerd, digest_of, documents, kubeadm, merged


@pytest.mark.parametrize(
    ("target", "patch", "result"),  # the appendix of RFC 7386
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        (["a", "b"], ["c", "d"], ["c", "d"]),
        ({"a": "b"}, ["c"], ["c"]),
        ({"a": "foo"}, None, None),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
def test_a_merge_patch(target: Any, patch: Any, result: Any) -> None:
    assert merged(target, patch) == result
    assert merged(result, patch) == result, "once it is in force, it changes nothing"


def test_a_patch_is_for_the_documents_of_its_kind_and_version() -> None:
    found = [{"kind": "A", "apiVersion": "v1"}, {"kind": "B", "apiVersion": "v1"}]
    assert kubeadm(found, ["kind: A\nx: 1\n"])[0]["x"] == 1
    assert kubeadm(found, ["kind: A\napiVersion: v2\nx: 1\n"]) == found
    assert kubeadm(found, ["kind: A\nx: 1\n---\nkind: B\nz: 2\n"]) == [{**found[0], "x": 1}, {**found[1], "z": 2}]
    assert kubeadm(found, ["kind: A\nx: n\nz: {k: 1, <<: {k: 2}}\n"])[0] == {**found[0], "x": False, "z": {"k": 2}}
    assert kubeadm(found, ["kind: A\nmetadata: {name: config}\n"]) == found
    assert kubeadm(found, ["{", "- a list\n"]) == found


def test_containerds_patches_are_toml() -> None:
    assert containerd({"a": {"b": 1}}, ["[a]\nc = 2\n", "[a"]) == {"a": {"b": 1, "c": 2}}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("kind: A\nx: 1\n", "# words\nx: 1\nkind: A\n"),
        ("[a]\nb = 1\n", "[a]\n  b = 1 # words\n"),
        (
            {"kind": "A", "patch": '[{"op": "remove", "path": "/x"}]'},
            {"patch": "- op: remove\n  path: /x\n", "kind": "A"},
        ),
    ],
)
def test_equal_patches_have_equal_digests(one: Any, other: Any) -> None:
    assert digest_of(one) == digest_of(other)


def test_a_digest_names_what_the_patch_is_about() -> None:
    assert digest_of("kind: A\n---\nkind: B\n")["about"] == "A, B"
    assert digest_of({"kind": "A", "patch": "[]"})["about"] == "A (6902)"
    assert digest_of("[plugins.x]\n")["about"] == "plugins"
    assert digest_of("neither { nor [")["about"] == "text"
    assert digest_of("kind: A\n")["sha256"] != digest_of("kind: B\n")["sha256"]
    assert documents("{") == []
