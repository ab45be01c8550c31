"""kubeconfig.* and zones.*"""

from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.tasks.conftest import Invoke, Patch

from threezone.core.errors import ClusterError, EngineError, RouteError, UsageError
from threezone.engine.find import Engine
from threezone.zones.locate import Zone

ROUTE = SimpleNamespace(sentence="https://a:1 proved in 0.10 s")
ENTRY = SimpleNamespace(
    context="kind-kind",
    server="https://a:1",
    tls_server_name="localhost",
    file="config",
    data=lambda: {"context": "kind-kind", "namespace": None},
    entry=SimpleNamespace(cluster={"insecure-skip-tls-verify": True}),
)


def stage(*, ok: bool) -> dict[str, object]:
    return {"ok": ok, "seconds": 0.0123}


def probe(*, ok: bool, untried: tuple[object, ...] = ()) -> SimpleNamespace:
    chosen = SimpleNamespace(route=SimpleNamespace(server="https://a:1")) if ok else None
    route = {
        "ok": ok, "name": "published", "server": "https://a:1", "tlsServerName": None, "why": None if ok else "refused",
        "stages": {"dns": stage(ok=True), "tcp": stage(ok=ok), "tls": None},
    }  # fmt: skip
    return SimpleNamespace(
        data=lambda: {"routes": [route]},
        verdict=SimpleNamespace(chosen=chosen),
        zone=SimpleNamespace(kind="host"),
        untried=untried,
    )


def test_connect_writes_the_proved_route(invoke: Invoke, patch: Patch) -> None:
    patch("zones.kind_cluster.observe", SimpleNamespace(missing=False))
    connected = SimpleNamespace(server="https://a:1", seconds=0.1, sentence="https://a:1 proved")
    connect = patch("zones.connect.connect_observed", connected)
    break_lock = patch("kubeconfig.store.break_lock", ("the lock is removed",))
    done = invoke("kubeconfig.connect", "--break-lock", "--server", "https://a:1/")
    assert done.out == "https://a:1 proved\n"
    assert (connect[0][1], len(break_lock)) == ({"by_hand": ("https://a:1", "")}, 1)


@pytest.mark.parametrize(
    ("words", "missing", "code"),
    [([], True, 4), (["--if-running"], True, 0), (["--if-running"], False, 4)],
)
def test_an_absent_cluster_is_no_failure_for_a_starting_container(
    *, words: list[str], missing: bool, code: int, invoke: Invoke, patch: Patch
) -> None:
    patch("zones.kind_cluster.observe", SimpleNamespace(missing=missing))
    patch("zones.connect.connect_observed", ClusterError("it is gone", fix="./run invoke up"))
    assert invoke("kubeconfig.connect", *words).exit_code == code


@pytest.mark.usefixtures("adopted")
def test_an_adopted_cluster_is_connected_again(invoke: Invoke, patch: Patch) -> None:
    patch("lab.external_cluster.adopt.entry_of")
    patch("lab.external_cluster.adopt.observe", ROUTE)
    patch("lab.external_cluster.adopt.plan", ())
    patch("lab.external_cluster.adopt.apply", ROUTE)
    assert "context theirs unchanged" in invoke("kubeconfig.connect").out
    assert invoke("kubeconfig.export", "--for", "host").exit_code == ClusterError.exit_code


def test_show_prints_the_entry(invoke: Invoke, patch: Patch) -> None:
    patch("zones.kubeconfig_entry.find", ENTRY)
    assert invoke("kubeconfig.show").out.splitlines()[1].split() == ["namespace", "-"]
    assert invoke("kubeconfig.show", "--json").data["context"] == "kind-kind"
    patch("zones.kubeconfig_entry.find", None)
    assert invoke("kubeconfig.show").exit_code == ClusterError.exit_code


@pytest.mark.parametrize("error", [None, RouteError("it does not lead there")])
def test_check_has_the_exit_code_of_its_failure(error: RouteError | None, invoke: Invoke, patch: Patch) -> None:
    proof = SimpleNamespace(seconds=0.1)
    result = SimpleNamespace(data=lambda: {"state": "x"}, error=error, notices=("a proxy",), entry=ENTRY, proof=proof)
    check = patch("zones.check.check", result)
    code = error.exit_code if error else 0
    done = invoke("kubeconfig.check", "--context", "managed")
    assert (done.exit_code, check[0][0]) == (code, ("managed",))
    assert "a proxy" in done.err
    done = invoke("kubeconfig.check", "--json")
    assert (done.exit_code, done.data) == (code, {"state": "x"})
    assert invoke("kubeconfig.check", "--context", "a", "--name", "b").exit_code == UsageError.exit_code


def test_export_prints_the_path_first(invoke: Invoke, patch: Patch) -> None:
    write = patch("zones.export.export.export", SimpleNamespace(path=Path("file"), sentences=("works there",)))
    done = invoke("kubeconfig.export", "--for", "ci", "--token", "--hours", "2", "--no-proof")
    assert done.out == "file\nworks there\n"
    options = write[0][0][0]
    assert (options.token, options.hours, options.proof) == (True, 2, False)


@pytest.mark.parametrize(("words", "file"), [([], "default"), (["--file", "mine"], "mine")])
def test_pick_names_the_route(words: list[str], file: str, invoke: Invoke, patch: Patch, project: Path) -> None:
    patch("zones.export.path.default", Path("default"))
    patch("zones.locate.locate")
    picked = SimpleNamespace(context="kind-kind", way="host", server="https://a:1", seconds=0.1, written=False)
    pick = patch("zones.export.picker.pick", picked)
    assert "as before" in invoke("kubeconfig.pick", *words).out
    assert pick[0][0][0] == project / file


@pytest.mark.parametrize(("removed", "text"), [(True, "the current context is other"), (False, "there is no entry")])
def test_remove_names_the_context_that_is_current_then(removed: bool, text: str, invoke: Invoke, patch: Patch) -> None:
    patch("zones.kubeconfig_entry.find", ENTRY)
    patch("zones.connect.disconnect", removed)
    patch("kubeconfig.document.current_context", "other")
    assert text in invoke("kubeconfig.remove").out


def test_the_zones_are_drawn(invoke: Invoke, patch: Patch) -> None:
    patch("engine.find.observe", Engine("ok", "unix:///run/docker.sock"))
    patch("zones.locate.locate", Zone("host", ("a socket",)))
    nodes = patch("clients.kind.nodes", EngineError("it went away"))
    patch("zones.kubeconfig_entry.find", UsageError("a broken file"))
    patch("zones.diagram.draw", "drawing")
    done = invoke("zones.show")
    assert done.out == "drawing\n\nevidence:\n  - a socket\n"
    data = invoke("zones.show", "--json").data
    assert (data["facts"]["cluster"]["why"], data["facts"]["kubeconfig"]["why"]) == ("it went away", "a broken file")
    assert len(nodes) == 2


@pytest.mark.parametrize(
    ("ok", "untried", "code"), [(True, (), 0), (False, (), RouteError.exit_code), (False, (object(),), 0)]
)
def test_probe_fails_where_no_route_is_left(
    *, ok: bool, untried: tuple[object, ...], code: int, invoke: Invoke, patch: Patch
) -> None:
    known = SimpleNamespace(error=None, missing=False, kubeconfig="", engine=SimpleNamespace(state="ok"), zone=None)
    patch("zones.kind_cluster.observe", known)
    patch("zones.kubeconfig_entry.find", ENTRY)
    patch("zones.probe.probe", probe(ok=ok, untried=untried))
    patch("zones.diagnostics.explain", "an explanation")
    patch("zones.diagnostics.no_route", RouteError("none", fix="a fix"))
    patch("zones.http_proxy.proxied", "a proxy")
    done = invoke("zones.probe")
    assert done.exit_code == code
    assert f"dns:12ms tcp:{'12ms' if ok else 'failed'}" in done.out
    assert "insecure-skip-tls-verify" in done.out
    assert ("a proxy" in done.out) is ok
    done = invoke("zones.probe", "--json")
    assert (done.exit_code, len(done.data["routes"])) == (code, 1)


def test_probe_fails_for_a_cluster_that_nothing_knows(invoke: Invoke, patch: Patch) -> None:
    engine = SimpleNamespace(state="ok")
    patch("zones.kind_cluster.observe", SimpleNamespace(error=ClusterError("it is gone"), engine=engine))
    patch("zones.kubeconfig_entry.find", None)
    assert invoke("zones.probe").exit_code == ClusterError.exit_code


@pytest.mark.usefixtures("adopted")
@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, RouteError.exit_code)])
def test_probe_of_an_adopted_cluster(ok: bool, code: int, invoke: Invoke, patch: Patch) -> None:
    patch("lab.external_cluster.adopt.entry_of", ENTRY)
    patch("zones.locate.locate")
    patch("zones.external_routes.probe", probe(ok=ok))
    patch("zones.external_routes.no_route", RouteError("none"))
    assert invoke("zones.probe").exit_code == code
    assert invoke("zones.probe", "--json").exit_code == code
