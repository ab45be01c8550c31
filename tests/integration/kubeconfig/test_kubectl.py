"""Our rewrites as the real kubectl and the Python client read them."""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from threezone.core.errors import UsageError
from threezone.core.process import run
from threezone.kubeconfig import document, store
from threezone.kubeconfig.document import Document

View = Callable[..., dict[str, Any]]

KIND = document.parse(b"""
clusters: [{name: kind-kind, cluster: {certificate-authority-data: Q0E=, server: 'https://127.0.0.1:6443'}}]
contexts: [{name: kind-kind, context: {cluster: kind-kind, user: kind-kind}}]
users: [{name: kind-kind, user: {client-certificate-data: Q0VSVA==, client-key-data: S0VZ}}]
current-context: kind-kind
""")
NAMES = [
    "1e3", "433e40", "0o17", "017", "0x1F", "1_000", "on", "y", "null", "~", "true", ".inf", "2001-01-01", "190:20:30",
    "😀", 'quo"te', "back\\slash", "a: b", "a #b", "- a", "é", "=", "<<", " space ", "tab\t", "line\nline", "\u2028",
]  # fmt: skip


def crowded() -> Document:
    """A kubeconfig with every kind of name and of value that is easily spoiled, written in the most careful way."""
    made = document.with_current_context(Document({"preferences": {"colors": True}}), NAMES[0])
    for name in NAMES:
        note = {"name": name, "extension": {name: [name, 1, 1.5, True, None, {}, []], "k" * 1500: {"deep": [[name]]}}}
        cluster = {
            "server": f"https://{name}",
            "tls-server-name": name,
            "proxy-url": "socks5://[::1]:1",
            "extensions": [note],
        }
        made = document.put(made, "clusters", name, cluster)
        made = document.put(made, "contexts", name, {"cluster": name, "user": name, "namespace": name})
        made = document.put(
            made, "users", name, {"token": name, "exec": {"apiVersion": name, "command": name, "env": None}}
        )
    return made


def setting(cluster: str, server: str) -> Callable[[Document], Document]:
    return lambda old: document.put(old, "clusters", cluster, {"server": server})


def without(seen: dict[str, Any], name: str) -> dict[str, Any]:
    sections = {
        key: [item for item in seen[key] or [] if item["name"] != name] for key in ("clusters", "contexts", "users")
    }
    return {**seen, **sections}


def test_kubectl_reads_our_writing_as_the_names_it_was_given(tmp_path: Path, view: View) -> None:
    path = tmp_path / "config"
    path.write_bytes(document.dump(crowded()))
    seen = view(path)
    for section in document.BODY:
        assert sorted(item["name"] for item in seen[section]) == sorted(NAMES)
    by_name = {item["name"]: item["cluster"] for item in seen["clusters"]}
    for name in NAMES:
        assert by_name[name]["extensions"][0]["extension"][name] == [name, 1, 1.5, True, None, {}, []]


def test_kubectl_and_python_agree_on_our_writing(tmp_path: Path, view: View) -> None:
    path = tmp_path / "config"
    path.write_bytes(document.dump(crowded()))
    seen, ours = view(path), yaml.safe_load(path.read_bytes())
    for section in document.BODY:
        expected = {item["name"]: item for item in seen[section]}
        assert {item["name"] for item in ours[section]} == set(expected)
    clusters = {item["name"]: item["cluster"] for item in ours["clusters"]}
    assert all(item["cluster"] == clusters[item["name"]] for item in seen["clusters"])


def test_connecting_and_disconnecting_leave_a_foreign_file_as_kubectl_reads_it(tmp_path: Path, view: View) -> None:
    path = tmp_path / "config"
    path.write_bytes(document.dump(crowded()))
    before, env = view(path), {"KUBECONFIG": str(path)}
    assert store.update(lambda old: document.adopt(old, KIND, "kind-kind"), env=env)
    connected = view(path)
    assert connected["current-context"] == "kind-kind"
    assert without({**connected, "current-context": before["current-context"]}, "kind-kind") == before
    entry = next(item for item in connected["clusters"] if item["name"] == "kind-kind")
    assert entry["cluster"] == {"server": "https://127.0.0.1:6443", "certificate-authority-data": "Q0E="}
    assert store.update(lambda old: document.disown(old, "kind-kind"), env=env)
    assert view(path) == before


def test_an_unquoted_file_means_the_same_after_our_rewrite(tmp_path: Path, view: View) -> None:
    path = tmp_path / "config"
    values = (
        "1e3 0o17 017 08 0x1F 0b11 1_000 190:20:30 oN on y N ~ null .5 5. 1e400 2001-01-01 +1 -0b11 0o8 1e22 = TRUE"
    )
    lines = [f"        k{number}: {value}" for number, value in enumerate(values.split())]
    path.write_text(
        "\n".join(
            ["clusters:", "- name: a", "  cluster:", "    extensions:", "    - name: e", "      extension:", *lines,
             "        0x10: hex", "        on: true", "- &x {name: b, cluster: {server: !mine s}}", "users: null", ""]
        )
    )  # fmt: skip
    before = view(path)
    env = {"KUBECONFIG": str(path)}
    assert store.update(lambda old: document.adopt(old, KIND, "kind-kind"), env=env)
    assert store.update(lambda old: document.disown(old, "kind-kind"), env=env)
    assert view(path) == before


@pytest.mark.parametrize(
    "text",
    [
        "", "\n", "null", "- a", "word", "kind: Pod", "apiVersion: v2", "current-context: 1", "clusters: {}",
        "clusters: [a]", "clusters: [null, null]", "users: [{name: 433e40}]", "users: [{name: on}]",
        "users: [{name: '1'}, {name: !!str 1}]", "users: [{name: a, user: 1}]", "users: [{name: a, user: {token: 1}}]",
        "users: [{name: 2001-01-01}]", "users: [{name: a, x: y}]", "clusters: [{cluster: {server: 1}}]",
        "clusters: [{cluster: {insecure-skip-tls-verify: 'yes'}}]", "clusters: [{cluster: {disable-compression: on}}]",
        "a: 1\n---\nb: [", "a: [", "a: &x [*x]", "~: 1", "[a]: 1", "a: .nan", r'"\ud83d\ude00": 1', r'a: "\x41"',
        "a: b: c", "clusters: [{cluster: {certificate-authority-data: '*'}}]", "users: [{user: {client-key-data: QQ}}]",
        'users: [{user: {client-key-data: "QU\\nE="}}]', "users: [{user: {client-key-data: 1}}]",
        "users: [{user: {exec: a}}]", "users: [{user: {exec: {args: a}}}]", "users: [{user: {exec: {args: [1]}}}]",
        "users: [{user: {exec: {args: [null]}}}]", "users: [{user: {exec: {env: [{name: 1}]}}}]",
        "users: [{user: {exec: {provideClusterInfo: 1}}}]", "users: [{user: {exec: {command: ./a, unknown: 1}}}]",
        "users: [{user: {as-groups: [a, 1]}}]", "users: [{user: {as-user-extra: {a: b}}}]",
        "users: [{user: {auth-provider: {name: a, config: {b: 1}}}}]", "contexts: [{context: {extensions: {}}}]",
        "contexts: [{context: {extensions: [{name: a}, {name: a}]}}]",
        "contexts: [{context: {extensions: [{name: a, extension: 1}, {name: a}]}}]",
        "contexts: [{context: {extensions: [{name: a, extension: null}, {name: a, extension: {}}]}}]",
        "contexts: [{context: {extensions: [null]}}]",
        "contexts: [{context: {extensions: [{name: 1}]}}]", "extensions: [{name: a, extension: 1}]", "extensions: a",
        "preferences: a", "preferences: {colors: 1}", "preferences: null", "users: [{user: {'': 1, '*': 2}}]",
        "clusters: [{cluster: {proxy-url: '::', server: '[::1'}}]", "users: [{user: {token: a, username: b}}]",
    ],
)  # fmt: skip
def test_we_read_what_kubectl_reads_and_refuse_what_it_refuses(tmp_path: Path, kubectl: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    seen = run([kubectl, "config", "view", "--raw"], timeout=30, env={"KUBECONFIG": str(path)}, check=False)
    try:
        store.read({"KUBECONFIG": str(path)})
        refused = False
    except UsageError:
        refused = True
    assert refused == (seen.exit_code != 0), seen.stderr


def test_kubectl_changes_our_entry_and_we_keep_its_change(tmp_path: Path, kubectl: Path, view: View) -> None:
    path = tmp_path / "config"
    env = {"KUBECONFIG": str(path)}
    store.update(lambda old: document.adopt(old, KIND, "kind-kind"), env=env)
    run([kubectl, "config", "set-context", "kind-kind", "--namespace=mine"], timeout=30, env={"KUBECONFIG": str(path)})
    run(
        [kubectl, "config", "set-cluster", "kind-kind", "--server=https://wrong"],
        timeout=30,
        env={"KUBECONFIG": str(path)},
    )
    assert store.update(lambda old: document.adopt(old, KIND, "kind-kind"), env=env)
    seen = view(path)
    assert seen["contexts"][0]["context"]["namespace"] == "mine"
    assert seen["clusters"][0]["cluster"]["server"] == "https://127.0.0.1:6443"


def test_kubectl_and_we_choose_the_same_file_of_a_list(tmp_path: Path, kubectl: Path) -> None:
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    for directory in (theirs, ours):
        directory.mkdir()
        (directory / "b").write_bytes(
            document.dump(document.put(Document(), "clusters", "defined-in-b", {"server": "https://1"}))
        )
        (directory / "c").write_bytes(
            document.dump(document.put(Document(), "clusters", "defined-in-c", {"server": "https://1"}))
        )

    def listed(directory: Path) -> str:
        return f"{directory}/a::{directory}/b:{directory}/c:{directory}/b"

    for name in ("defined-in-b", "defined-in-c", "new"):
        # The empty element makes kubectl lock ./.lock, so it gets a directory of its own.
        run(
            [kubectl, "config", "set-cluster", name, "--server=https://2"],
            timeout=30,
            cwd=tmp_path,
            env={"KUBECONFIG": listed(theirs)},
        )
        store.update(setting(name, "https://2"), env={"KUBECONFIG": listed(ours)})
    for name in ("a", "b", "c"):
        one, two = theirs / name, ours / name
        assert one.exists() == two.exists()
        if one.exists():
            parsed = [document.items(document.parse(path.read_bytes()), "clusters") for path in (one, two)]
            assert parsed[0] == parsed[1]


def test_kubectl_refuses_while_we_hold_the_lock(tmp_path: Path, kubectl: Path) -> None:
    path = tmp_path / "config"
    seen = []

    def change(old: Document) -> Document:
        if (tmp_path / "config.lock").exists():
            argv: list[str | Path] = [kubectl, "config", "set-cluster", "x", "--server=https://x"]
            seen.append(run(argv, timeout=30, env={"KUBECONFIG": str(path)}, check=False))
        return document.adopt(old, KIND, "kind-kind")

    assert store.update(change, env={"KUBECONFIG": str(path)})
    assert [attempt.exit_code for attempt in seen] == [1]
    assert f"open {path}.lock: file exists" in seen[0].stderr
    assert not (tmp_path / "config.lock").exists()
    run([kubectl, "config", "set-cluster", "x", "--server=https://x"], timeout=30, env={"KUBECONFIG": str(path)})


def test_the_python_client_loads_an_entry_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "config"
    env = {"KUBECONFIG": str(path)}
    path.write_bytes(b"users: null\n")
    store.update(
        lambda old: document.with_route(
            document.adopt(old, KIND, "kind-kind"), "kind-kind", "https://h:6443", "localhost"
        ),
        env=env,
    )
    kubernetes: Any = importlib.import_module("kubernetes")  # its functions carry no types
    importlib.import_module("kubernetes.config")
    importlib.import_module("kubernetes.client")
    configuration = kubernetes.client.Configuration()
    kubernetes.config.load_kube_config(str(path), "kind-kind", client_configuration=configuration)
    assert (configuration.host, configuration.tls_server_name) == ("https://h:6443", "localhost")
    assert configuration.verify_ssl
