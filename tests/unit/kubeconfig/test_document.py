import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from threezone.core.errors import UsageError
from threezone.kubeconfig import document
from threezone.kubeconfig.document import BODY, Document, Section

KIND = document.parse(b"""
apiVersion: v1
kind: Config
clusters:
- {name: kind-kind, cluster: {certificate-authority-data: Q0E=, server: 'https://127.0.0.1:6443'}}
contexts:
- {name: kind-kind, context: {cluster: kind-kind, user: kind-kind}}
users:
- {name: kind-kind, user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}}
current-context: kind-kind
""")

FOREIGN = document.parse(b"""
apiVersion: v1
kind: Config
preferences: {colors: true}
mystery: {a: [1, 2]}
extensions: [{name: note, extension: {n: 1}}]
clusters:
- {name: prod, cluster: {server: 'https://prod', extensions: [{name: x, extension: {y: z}}]}, beside: kept}
contexts:
- {name: prod, context: {cluster: prod, user: me, namespace: web}}
users:
- {name: me, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: ./login}}}
current-context: prod
""")

NAMES = ["1e3", "433e40", "0o17", "on", "null", "~", "", "kind-kind", "😀", 'quo"te', "a b", "#", "-", "2001-01-01"]
names = st.one_of(st.sampled_from(NAMES), st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
free = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | names,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(names, inner, max_size=2),
    max_leaves=4,
)


def bodies(fields: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={**dict.fromkeys(fields, names), "unknown": free})


def section(word: str, fields: list[str]) -> st.SearchStrategy[list[dict[str, Any]]]:
    item = st.fixed_dictionaries({"name": names, word: bodies(fields)}, optional={"beside": free})
    return st.lists(item, max_size=4, unique_by=lambda each: str(each["name"]))


documents = st.builds(
    Document,
    st.fixed_dictionaries(
        {"current-context": names},
        optional={
            "clusters": section("cluster", ["server", "tls-server-name", "proxy-url"]),
            "contexts": section("context", ["cluster", "user", "namespace"]),
            "users": section("user", ["token", "username"]),
            "unknown": free,
        },
    ),
)


def others(of: Document, without: str) -> dict[str, Any]:
    """Everything in the document but the entries of one name and the current context."""
    kept: dict[str, Any] = {
        key: value
        for key, value in of.data.items()
        if key not in BODY and key not in ("current-context", "kind", "apiVersion")
    }
    for name in BODY:
        kept[name] = {key: item for key, item in document.items(of, name).items() if key != without}
    return kept


@pytest.mark.parametrize("text", [b"", b"\n", b"# only a comment\n", b"null\n", b"{}\n", b"clusters:\nusers: null\n"])
def test_next_to_nothing_is_an_empty_document(text: bytes) -> None:
    found = document.parse(text)
    assert [document.items(found, name) for name in BODY] == [{}, {}, {}]
    assert document.current_context(found) == ""
    assert document.dump(found).decode().splitlines() == [
        "apiVersion: v1", "kind: Config", "clusters: []", *(["users: []"] if b"users" in text else []),
        "contexts: []" , *([] if b"users" in text else ["users: []"]), 'current-context: ""',
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("- a\n", 1, "couldn't get version/kind"),
        ("word\n", 1, "couldn't get version/kind"),
        ("apiVersion: v2\n", 1, 'no kind "Config" is registered for version "v2"'),
        ("kind: Pod\n", 1, 'no kind "Pod" is registered for version "v1"'),
        ("clusters: {a: b}\n", 1, "object into Go struct field Config.clusters of type []v1.NamedCluster"),
        ("clusters: [a]\n", 1, "string into Go struct field Config.clusters of type v1.NamedCluster"),
        ("users:\n- name: a\n- name: 433e40\n", 3, "number into Go struct field NamedAuthInfo.users.name"),
        ("users:\n- name: on\n", 2, "bool into Go struct field NamedAuthInfo.users.name of type string"),
        ("users:\n- name: a\n  user: b\n", 2, "string into Go struct field NamedAuthInfo.users.user"),
        ("users:\n- name: a\n  user:\n    token: 1e3\n", 4, "field AuthInfo.users.user.token of type string"),
        ("clusters:\n- cluster:\n    insecure-skip-tls-verify: 'true'\n", 3, "string into Go struct field"),
        ("current-context: 12\n", 1, "number into Go struct field Config.current-context of type string"),
        ("contexts:\n- name: a\n- name: b\n- name: a\n", 4, 'duplicate name "a" in list'),
        ("users:\n- user:\n    exec: {args: [1]}\n", 3, "number into Go struct field ExecConfig.users.user.exec.args"),
        ("users:\n- user:\n    exec: login\n", 3, "AuthInfo.users.user.exec of type v1.ExecConfig"),
        ("users:\n- user:\n    as-user-extra: {a: b}\n", 3, "users.user.as-user-extra of type []string"),
        ("users:\n- user:\n    client-key-data: 'a b'\n", 3, "illegal base64 data in users.user.client-key-data"),
        ("preferences: {colors: 1}\n", 1, "field Preferences.preferences.colors of type bool"),
        ("extensions: [{name: a, extension: 1}, {name: a}]\n", 1, 'duplicate name "a" in list (extensions)'),
        ("clusters: [{}, null]\n", 1, 'duplicate name "" in list'),
        ("a: [\n", 2, "did not find expected node content"),
    ],
)  # fmt: skip
def test_what_kubectl_refuses_is_refused_in_its_words(text: str, line: int, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        document.parse(text.encode(), "/home/me/.kube/config")
    assert words in refused.value.evidence
    assert "/home/me/.kube/config" in refused.value.message
    found = re.search(r"line (\d+)", refused.value.message)
    assert (int(found[1]) if found else 0) == line


def test_an_error_shows_nothing_of_the_content() -> None:
    with pytest.raises(UsageError) as refused:
        document.parse(b"users:\n- {name: a, user: {token: hunter2}}\n- {name: a}\n")
    assert "hunter2" not in f"{refused.value.message}{refused.value.evidence}{refused.value.fix}"
    entry = document.entry(document.merge(FOREIGN, KIND, "kind-kind"), "kind-kind")
    assert entry is not None
    assert entry.user["client-key-data"] == "S0VZ"
    assert "S0VZ" not in repr(entry)


def test_an_entry_is_a_context_with_what_it_refers_to() -> None:
    found = document.entry(FOREIGN, "prod")
    assert found is not None
    assert (found.server, found.tls_server_name, found.namespace, found.user_name) == ("https://prod", "", "web", "me")
    assert document.entry(FOREIGN, "none") is None
    dangling = document.entry(document.parse(b"contexts: [{name: a, context: {cluster: gone, user: gone}}]"), "a")
    assert dangling is not None
    assert (dangling.server, dangling.user) == ("", {})


def test_merging_adds_an_entry_and_leaves_the_others() -> None:
    merged = document.merge(FOREIGN, KIND, "kind-kind")
    assert others(merged, "kind-kind") == others(FOREIGN, "kind-kind")
    assert document.entry(merged, "kind-kind") == document.entry(KIND, "kind-kind")
    assert document.current_context(merged) == "prod"
    assert document.merge(merged, KIND, "kind-kind") == merged


def test_merging_renews_address_trust_and_credentials_and_keeps_what_the_user_added() -> None:
    old = document.parse(b"""
clusters:
- {name: kind-kind, cluster: {server: 'https://old', certificate-authority: old.pem, insecure-skip-tls-verify: true,
   tls-server-name: old, proxy-url: 'http://proxy', extensions: [{name: mine, extension: {}}]}}
contexts: [{name: kind-kind, context: {cluster: kind-kind, user: kind-kind, namespace: mine}}]
users: [{name: kind-kind, user: {token: old, exec: {command: old}, as: somebody}}]
""")
    merged = document.merge(old, KIND, "kind-kind")
    assert document.body(merged, "clusters", "kind-kind") == {
        "server": "https://127.0.0.1:6443",
        "certificate-authority-data": "Q0E=",
        "proxy-url": "http://proxy",
        "extensions": [{"name": "mine", "extension": {}}],
    }
    assert document.body(merged, "users", "kind-kind") == {
        "client-certificate-data": "Q0VSVA==", "client-key-data": "S0VZ", "as": "somebody",
    }  # fmt: skip
    assert document.body(merged, "contexts", "kind-kind") == {
        "cluster": "kind-kind", "user": "kind-kind", "namespace": "mine",
    }  # fmt: skip


def test_only_a_complete_context_is_merged() -> None:
    for broken in (b"", b"contexts: [{name: kind-kind, context: {cluster: c, user: u}}]"):
        with pytest.raises(UsageError, match="no complete context 'kind-kind'"):
            document.merge(FOREIGN, document.parse(broken), "kind-kind")


def test_a_route_is_set_and_its_tls_name_goes_with_it() -> None:
    there = document.with_route(KIND, "kind-kind", "https://host.docker.internal:6443", "localhost")
    cluster = document.body(there, "clusters", "kind-kind") or {}
    assert (cluster["server"], cluster["tls-server-name"]) == ("https://host.docker.internal:6443", "localhost")
    back = document.with_route(there, "kind-kind", "https://127.0.0.1:6443")
    assert back.data == KIND.data
    with pytest.raises(UsageError, match="no cluster 'x'"):
        document.with_route(KIND, "x", "https://127.0.0.1:6443")


def test_removing_takes_along_what_nobody_else_uses() -> None:
    merged = document.merge(FOREIGN, KIND, "kind-kind")
    assert document.remove(merged, "kind-kind").data == FOREIGN.data
    shared = document.put(merged, "contexts", "other", {"cluster": "kind-kind", "user": "me"})
    left = document.remove(shared, "kind-kind")
    assert "kind-kind" in document.items(left, "clusters")
    assert "kind-kind" not in document.items(left, "users")
    assert document.remove(left, "kind-kind") is left


def test_a_context_that_is_gone_does_not_become_current_again() -> None:
    first = document.adopt(FOREIGN, KIND, "kind-kind")
    second = document.adopt(first, document.parse(document.dump(KIND).replace(b"kind-kind", b"kind-two")), "kind-two")
    without_first = document.disown(second, "kind-kind")
    assert document.current_context(without_first) == "kind-two"
    assert document.current_context(document.disown(without_first, "kind-two")) == ""


def test_adopting_switches_to_a_new_context_and_disowning_switches_back() -> None:
    adopted = document.adopt(FOREIGN, KIND, "kind-kind")
    assert document.current_context(adopted) == "kind-kind"
    assert document.adopt(adopted, KIND, "kind-kind") == adopted
    assert document.disown(adopted, "kind-kind").data == FOREIGN.data
    # The user's own choice afterwards is respected, both ways.
    elsewhere = document.with_current_context(adopted, "prod")
    assert document.adopt(elsewhere, KIND, "kind-kind") == elsewhere
    assert document.disown(elsewhere, "kind-kind").data == FOREIGN.data


def test_an_extract_stands_alone_with_absolute_paths() -> None:
    text = b"""
clusters: [{name: c, cluster: {server: 'https://c', certificate-authority: ca.pem}}, {name: other}]
contexts: [{name: a, context: {cluster: c, user: u}}]
users:
- {name: u, user: {client-certificate: certs/c.pem, client-key: /abs/k.pem, exec: {command: ./bin/login, args: [a/b]}}}
"""
    alone = document.extract(document.parse(text), "a", Path("/one"), Path("/two"))
    assert list(document.items(alone, "clusters")) == ["c"]
    assert document.body(alone, "clusters", "c") == {"server": "https://c", "certificate-authority": "/one/ca.pem"}
    assert document.body(alone, "users", "u") == {
        "client-certificate": "/two/certs/c.pem",
        "client-key": "/abs/k.pem",
        "exec": {"command": "/two/bin/login", "args": ["a/b"]},
    }
    assert document.current_context(alone) == "a"
    with pytest.raises(UsageError, match="no context 'b'"):
        document.extract(alone, "b", Path("/one"), Path("/two"))


@settings(max_examples=200)  # thousands, with the real kubectl, in tests/integration
@given(documents)
def test_writing_and_reading_changes_nothing(before: Document) -> None:
    written = document.dump(before)
    after = document.parse(written)
    assert others(after, "?") == others(before, "?")
    assert document.current_context(after) == document.current_context(before)
    assert document.dump(after) == written


@settings(max_examples=200)  # thousands, with the real kubectl, in tests/integration
@given(documents)
def test_connecting_is_idempotent_and_leaves_every_other_entry(before: Document) -> None:
    name = "kind-kind"

    def connect(to: Document) -> Document:
        return document.with_route(document.adopt(to, KIND, name), name, "https://n:6443", "localhost")

    once = connect(before)
    assert connect(once) == once
    assert others(once, name) == others(before, name)
    entry = document.entry(document.parse(document.dump(once)), name)
    assert entry is not None
    assert (entry.server, entry.tls_server_name) == ("https://n:6443", "localhost")


@settings(max_examples=200)  # thousands, with the real kubectl, in tests/integration
@given(documents)
def test_disconnecting_undoes_connecting(before: Document) -> None:
    name = "kind-kind"
    sections: tuple[Section, ...] = ("clusters", "contexts", "users")
    uses = [item.get("context") or {} for item in document.items(before, "contexts").values()]
    if any(name in document.items(before, each) for each in sections) or any(name in use.values() for use in uses):
        reject()  # it was there before: connecting renews it, and disconnecting removes it
    after = document.disown(document.adopt(before, KIND, name), name)
    assert others(after, name) == others(before, name)
    current = document.current_context(before)
    assert document.current_context(after) == ("" if current == name else current)


def test_what_stands_in_a_file_and_inline_is_kept_as_it_is() -> None:
    """kubectl loads such a file and refuses only to use the entry: "client-cert-data will override" (validation.go)."""
    text = b"""
clusters: [{name: c, cluster: {server: 'https://[::1]:6443', certificate-authority: ca.pem,
  certificate-authority-data: Q0E=, proxy-url: 'socks5://localhost:1', insecure-skip-tls-verify: true}}]
contexts: [{name: a, context: {cluster: c, user: u}}]
users: [{name: u, user: {client-certificate: c.pem, client-certificate-data: Q0E=, token: t, tokenFile: t}}]
"""
    before = document.parse(text)
    after = document.parse(document.dump(document.with_route(before, "c", "https://[fd00::1]:6443")))
    cluster = document.body(before, "clusters", "c") or {}
    assert document.body(after, "clusters", "c") == {**cluster, "server": "https://[fd00::1]:6443"}
    assert document.items(after, "users") == document.items(before, "users")


def test_a_context_that_is_gone_is_not_made_current_again() -> None:
    kubeconfig = b"""{
      "clusters": [{"name": "kind-lab", "cluster": {"server": "https://127.0.0.1:6443"}}],
      "users": [{"name": "kind-lab", "user": {}}],
      "contexts": [{"name": "kind-lab", "context": {"cluster": "kind-lab", "user": "kind-lab"}}],
      "current-context": "kind-lab"}"""
    source = document.parse(kubeconfig, "kind's")
    dangling = document.parse(b'{"current-context": "kind-lab"}', "somebody's")
    adopted = document.adopt(dangling, source, "kind-lab")
    assert document.current_context(document.disown(adopted, "kind-lab")) == ""
