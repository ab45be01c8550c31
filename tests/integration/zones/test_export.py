"""Export: real git, the real kubectl, real TLS servers on loopback. The engine is a script that runs kubectl here."""

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from tests.integration.zones.conftest import Behaviour, Pki, Serve

from threezone.clients.kind import Node
from threezone.core.errors import ClusterError, RouteError, UsageError
from threezone.core.process import run
from threezone.engine.find import Engine
from threezone.kubeconfig import document, store
from threezone.toolchain.install import ensure
from threezone.zones import kind_cluster
from threezone.zones.export import path as place
from threezone.zones.export import picker
from threezone.zones.export.content import file
from threezone.zones.export.export import ExportOptions, export
from threezone.zones.export.in_container_probe import probe
from threezone.zones.kind_cluster import KindCluster
from threezone.zones.locate import Zone
from threezone.zones.routes import Route

HOST = Zone("host", ("a test",), engine="native")
ENGINE = Engine("ok", "unix:///var/run/docker.sock")
NODE = Node("0", "kind-control-plane", "kind", "control-plane", "running", "node:image", ours=True)
CONTEXT = "kind-kind"


@pytest.fixture(scope="session")
def kubectl() -> Path:
    return ensure(("kubectl",))["kubectl"].path


@pytest.fixture
def engine(tmp_path: Path, kubectl: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `docker` that writes down what it is told, and runs the container's kubectl on this machine."""
    log, script = tmp_path / "log", tmp_path / "bin" / "docker"
    script.parent.mkdir()
    script.write_text(
        f"""#!/bin/sh
printf '%s\\n' "$*" >>{log}
if [ "$1" = network ]; then
  echo '[{{"IPAM": {{"Config": [{{"Subnet": "172.17.0.0/16", "Gateway": "127.0.0.1"}}]}}}}]'
  exit
fi
while [ "$1" != node:image ]; do shift; done
shift
exec {kubectl} "$@"
"""
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    return log


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch, pki: Pki) -> Any:
    """What the engine here knows of the cluster, by the server that kind declares."""

    def give(server: str) -> None:
        seen = KindCluster("kind", ENGINE, HOST, (NODE,), pki.kubeconfig(server))
        monkeypatch.setattr(kind_cluster, "observe", lambda _name: seen)

    return give


def reads(kubectl: Path, path: Path, *argv: str) -> str:
    return run([kubectl, "--kubeconfig", path, *argv, "get", "--raw", "/readyz"], timeout=30).stdout


def test_the_host_s_file_is_proved_private_and_minimal(
    known: Any, engine: Path, kubectl: Path, pki: Pki, serve: Serve
) -> None:
    server = f"https://127.0.0.1:{serve()}"
    known(server)
    made = export(ExportOptions("kind", "host"))
    assert made.path == place.default("kind", "host")
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700
    assert reads(kubectl, made.path) == "ok"
    view = json.loads(
        run([kubectl, "config", "view", "--raw", "-o", "json", "--kubeconfig", made.path], timeout=30).stdout
    )
    assert [len(view[section]) for section in ("clusters", "contexts", "users")] == [1, 1, 1]
    assert view["clusters"][0]["cluster"] == {"certificate-authority-data": pki.data("ca.crt"), "server": server}
    assert sorted(view["users"][0]["user"]) == ["client-certificate-data", "client-key-data"]
    told = "\n".join(made.sentences)
    assert f"host: {server} proved (from here in" in told
    assert "it does not work in containers, which have a 127.0.0.1 of their own" in told
    assert pki.data("client.key") not in told
    assert not any(line.startswith("run") for line in engine.read_text().splitlines()), "no container was needed"


def test_another_zone_s_file_is_proved_by_kubectl_over_there(known: Any, engine: Path, pki: Pki, serve: Serve) -> None:
    port = serve()
    known(f"https://127.0.0.1:{port}")
    made = export(ExportOptions("kind", "ci", server=f"https://localhost:{port}"))
    assert "ci: https://localhost" in made.sentences[0]
    assert "kubectl in a container on the network bridge in " in made.sentences[0]
    assert made.sentences[0].endswith(": ok)")
    (asked,) = [line for line in engine.read_text().splitlines() if line.startswith("run")]
    assert asked.startswith("run --rm --network=bridge --interactive --pull=never ")
    assert "--entrypoint=kubectl --label=io.threezone.managed=true node:image" in asked
    assert pki.data("client.key") not in asked


def test_what_is_not_proved_is_not_written_and_the_trap_is_named(
    known: Any, engine: Path, closed: int, pki: Pki
) -> None:
    known(f"https://127.0.0.1:{closed}")
    with pytest.raises(
        RouteError, match=f"kind publishes the API on 127.0.0.1:{closed} of the engine's host"
    ) as refused:
        export(ExportOptions("kind", "ci"))
    assert "threezone.cluster.api: gateway" in refused.value.fix
    assert "--for network" in refused.value.fix
    assert "was refused - did you specify the right host or port?" in refused.value.evidence
    assert not place.default("kind", "ci").exists()
    asked = export(ExportOptions("kind", "ci", proof=False))
    assert "NOT PROVED" in asked.sentences[0]
    assert document.items(store.read({"KUBECONFIG": str(asked.path)}).document, "contexts").keys() == {CONTEXT}
    assert pki.data("client.key") not in str(refused.value) + refused.value.evidence
    assert engine.exists()


def test_a_file_made_for_any_zone_is_pointed_at_what_works(
    known: Any, engine: Path, kubectl: Path, serve: Serve, closed: int
) -> None:
    port = serve()
    known(f"https://127.0.0.1:{port}")
    made = export(ExportOptions("kind", "any"))
    assert [way.offer.target for way in made.ways] == ["host"]
    assert [way.offer.target for way in made.left_out] == ["network", "container"]
    assert any("container: left out, https://host.docker.internal" in line for line in made.sentences)
    assert reads(kubectl, made.path) == reads(kubectl, made.path, f"--context={CONTEXT}@host") == "ok"
    assert engine.exists()
    # Elsewhere: the way that is written first leads nowhere, another one does.
    env = {"KUBECONFIG": str(made.path)}
    other = Route("", f"https://localhost:{port}")

    def moved(held: document.Document) -> document.Document:
        held = document.with_route(held, f"{CONTEXT}@host", f"https://127.0.0.1:{closed}")
        cluster = document.body(held, "clusters", f"{CONTEXT}@host") or {}
        held = document.put(held, "clusters", f"{CONTEXT}@network", {**cluster, "server": other.server})
        context = {"cluster": f"{CONTEXT}@network", "user": CONTEXT}
        return document.put(held, "contexts", f"{CONTEXT}@network", context)

    store.update(moved, env=env)
    assert made.picker is not None
    by_hand = made.path.with_name("by hand.yaml")
    by_hand.write_bytes(made.path.read_bytes())
    picked = picker.pick(made.path, HOST)
    assert (picked.context, picked.way, picked.written) == (CONTEXT, f"{CONTEXT}@network", True)
    assert picker.pick(made.path, HOST).written is False
    assert reads(kubectl, made.path) == "ok"
    # The shell's picker comes to the same end, with nothing but kubectl.
    beside, text = picker.script(by_hand, store.read(env).document, CONTEXT)
    beside.write_text(text)
    rc = beside.with_name("kuberc")  # the user's own defaults, which do not fit
    defaults = [{"command": "get", "options": [{"name": "output", "default": "wide"}]}]
    rc.write_text(
        json.dumps({"apiVersion": "kubectl.config.k8s.io/v1beta1", "kind": "Preference", "defaults": defaults})
    )
    shell = {"PATH": f"{kubectl.parent}:/usr/bin:/bin", "KUBERC": str(rc)}
    said = run(["sh", beside], timeout=60, env=shell)
    assert said.stdout == f"{CONTEXT} goes through {CONTEXT}@network\n"
    assert "was refused" in said.stderr
    one, two = (store.read({"KUBECONFIG": str(at)}).document for at in (made.path, by_hand))
    assert document.body(one, "contexts", CONTEXT) == document.body(two, "contexts", CONTEXT)


def test_a_picker_that_proves_nothing_changes_nothing(
    known: Any, engine: Path, kubectl: Path, other_pki: Pki, serve: Serve
) -> None:
    known(f"https://127.0.0.1:{serve()}")
    made = export(ExportOptions("kind", "any"))
    server = f"https://127.0.0.1:{serve(None, other_pki)}"  # verified, so another cluster does not do
    store.update(lambda held: document.with_route(held, f"{CONTEXT}@host", server), env={"KUBECONFIG": str(made.path)})
    before = made.path.read_bytes()
    with pytest.raises(RouteError, match="no verified route"):
        picker.pick(made.path, HOST)
    assert made.picker is not None
    shell = run(["sh", made.picker], timeout=60, env={"PATH": f"{kubectl.parent}:/usr/bin:/bin"}, check=False)
    assert shell.exit_code == 5
    assert "certificate signed by unknown authority" in shell.stderr
    assert made.path.read_bytes() == before
    assert engine.exists()


def test_only_a_file_for_any_zone_can_be_picked_from(tmp_path: Path, pki: Pki) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        picker.pick(tmp_path / "absent", HOST)
    (tmp_path / "config").write_text(pki.kubeconfig("https://127.0.0.1:1"))
    with pytest.raises(UsageError, match="not an export for any place"):
        picker.pick(tmp_path / "config", HOST)


def test_a_kubectl_that_is_refused_proves_nothing(engine: Path, pki: Pki, serve: Serve) -> None:
    found = document.entry(document.parse(pki.kubeconfig("https://x").encode()), CONTEXT)
    assert found is not None
    route = Route("", f"https://127.0.0.1:{serve(Behaviour(ready=401))}")
    answer = probe(file(CONTEXT, found.cluster, found.user, route), "node:image", "kind", mapped=True)
    assert not answer.ok
    assert "Unauthorized" in answer.words or "logged in" in answer.words
    assert "--add-host=host.docker.internal:host-gateway" in engine.read_text()


def test_a_cluster_that_is_gone_is_not_exported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pki: Pki) -> None:
    (tmp_path / "config").write_text(pki.kubeconfig("https://127.0.0.1:6443"))  # what it has left behind
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    gone = ClusterError("the cluster kind is gone")
    monkeypatch.setattr(
        kind_cluster, "observe", lambda _name: KindCluster("kind", ENGINE, HOST, error=gone, missing=gone)
    )
    with pytest.raises(ClusterError, match="is gone"):
        export(ExportOptions("kind", "host"))
    assert not place.default("kind", "host").exists()


def test_without_an_engine_the_own_entry_is_exported_when_asked_unproved(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, pki: Pki
) -> None:
    (tmp_path / "config").write_text(pki.kubeconfig("https://lab.example:6443"))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "config"))
    nowhere = KindCluster("kind", Engine("missing", ""), HOST, error=ClusterError("no engine"))
    monkeypatch.setattr(kind_cluster, "observe", lambda _name: nowhere)
    with pytest.raises(RouteError, match="is not proved; none was written") as refused:
        export(ExportOptions("kind", "network"))
    assert "--no-proof" in refused.value.fix
    made = export(ExportOptions("kind", "network", proof=False))
    found = document.entry(store.read({"KUBECONFIG": str(made.path)}).document, CONTEXT)
    assert found is not None
    assert found.server == "https://kind-control-plane:6443"


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    root = tmp_path / "tree"
    run(["git", "init", "--quiet", root], timeout=30)
    (root / "deep").mkdir()
    return root


def test_no_credential_is_put_where_git_would_pick_it_up(tree: Path, tmp_path: Path) -> None:
    for path in (tree / "ci.yaml", tree / "deep" / "new" / "ci.yaml"):
        with pytest.raises(UsageError, match="the credential could be committed"):
            place.guard(path, CONTEXT)
    (tmp_path / "link").symlink_to(tree / "deep")
    with pytest.raises(UsageError, match="the credential could be committed"):
        place.guard(tmp_path / "link" / "ci.yaml", CONTEXT)
    (tree / ".gitignore").write_text("*.kubeconfig\n")
    assert place.guard(tree / "deep" / "ci.kubeconfig", CONTEXT) == tree / "deep" / "ci.kubeconfig"
    with pytest.raises(UsageError, match="the credential could be committed"):
        place.guard(tree / "ci.yaml", CONTEXT)
    assert place.guard(tmp_path / "ci.yaml", CONTEXT) == tmp_path / "ci.yaml"


def test_a_file_that_git_tracks_is_not_ignored_whatever_gitignore_says(tree: Path) -> None:
    (tree / ".gitignore").write_text("*.yaml\n")
    (tree / "ci.yaml").touch()
    run(["git", "-C", tree, "add", "--force", "ci.yaml"], timeout=30)
    with pytest.raises(UsageError, match="the credential could be committed"):
        place.guard(tree / "ci.yaml", CONTEXT)


def test_without_git_to_ask_a_work_tree_is_no_place(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / ".gitignore").write_text("*\n")
    assert place.guard(tree / "ci.yaml", CONTEXT)
    monkeypatch.setenv("PATH", str(tree))
    with pytest.raises(UsageError, match="the credential could be committed"):
        place.guard(tree / "ci.yaml", CONTEXT)


def test_a_hook_s_environment_does_not_hide_the_work_tree(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / ".gitignore").write_text("*.yaml\n")
    other = tmp_path / "other"
    run(["git", "init", "--quiet", other], timeout=30)
    monkeypatch.setenv("GIT_DIR", str(other / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(other))
    assert place.guard(tree / "ci.yaml", CONTEXT) == tree / "ci.yaml"


def test_an_export_replaces_an_earlier_one_and_nothing_else(tmp_path: Path, pki: Pki) -> None:
    path = tmp_path / "file.yaml"
    path.write_text(pki.kubeconfig("https://old"))
    path.chmod(0o644)
    first = file(CONTEXT, {"certificate-authority-data": "Q0E="}, {"token": "one"}, Route("", "https://new"))
    place.write(place.guard(path, CONTEXT), first)
    assert "client-key-data" not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o644)
    place.write(path, first)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]
    path.write_text(pki.kubeconfig("https://x", "other"))
    with pytest.raises(UsageError, match="not an earlier export of this cluster: it has kind-other"):
        place.guard(path, CONTEXT)
    path.write_text("a: shopping list\n- not: yaml")
    with pytest.raises(UsageError):
        place.guard(path, CONTEXT)
    with pytest.raises(UsageError, match="is a directory"):
        place.guard(tmp_path, CONTEXT)
    with pytest.raises(UsageError, match="KUBECONFIG cannot name it"):
        place.guard(tmp_path / "a:b", CONTEXT)


@pytest.mark.parametrize(
    "wanted",
    [ExportOptions("kind", "moon"), ExportOptions("kind", "any", server="https://x")],
)
def test_what_cannot_be_asked_is_refused_before_anything_is_looked_at(
    wanted: ExportOptions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kind_cluster, "observe", lambda _name: pytest.fail("it looked"))
    with pytest.raises(UsageError):
        export(wanted)
