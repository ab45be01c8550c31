"""cluster.adopt on real servers on loopback: the way is proved, written where it has to be, and taken back."""

import json
import sys
from pathlib import Path

import pytest
from tests.integration.zones.conftest import Pki, Serve

from threezone.core import paths
from threezone.core.errors import RouteError, UsageError
from threezone.core.plan import StepKind
from threezone.core.process import Completed, run
from threezone.kubeconfig import document, store
from threezone.lab.external_cluster import adopt as adoption
from threezone.lab.external_cluster import record
from threezone.zones.locate import Zone

CONTEXT = "kind-desktop"
NOWHERE = "kubernetes.docker.internal"  # what Docker Desktop writes; it leads to this machine, where it is known


@pytest.fixture(autouse=True)
def on_the_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where these tests run in a container, the ways would lead out of it; and there is no engine."""
    monkeypatch.setattr(adoption, "locate", lambda: Zone("host", ("a test",)))
    monkeypatch.setenv("PATH", "/nowhere")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tasks.py").write_text("")
    return tmp_path


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config"
    monkeypatch.setenv("KUBECONFIG", str(path))
    return path


def adopt(root: Path) -> adoption.Adoption:
    found = adoption.observe(adoption.entry_of(CONTEXT))
    return adoption.apply(root, found, adoption.plan(root, found))


def test_an_entry_that_leads_there_is_left_alone(root: Path, config: Path, pki: Pki, serve: Serve) -> None:
    config.write_text(pki.kubeconfig(f"https://127.0.0.1:{serve()}", "desktop"))
    before = config.read_bytes()
    found = adoption.observe(adoption.entry_of(CONTEXT))
    assert [(action.kind, action.asks) for action in adoption.plan(root, found)] == [(StepKind.ADOPT_CONTEXT, False)]
    adopt(root)
    assert record.context(root) == CONTEXT
    assert adoption.plan(root, found) == ()
    told = adoption.release(root)
    assert told[0] == f"the cluster of the context {CONTEXT} is released"
    assert config.read_bytes() == before
    assert not (paths.state_dir() / "adopted").exists()


def test_another_way_is_asked_about_written_and_taken_back(root: Path, config: Path, pki: Pki, serve: Serve) -> None:
    port = serve()
    config.write_text(pki.kubeconfig(f"https://{NOWHERE}:{port}", "desktop"))
    before = store.read().document
    found = adoption.observe(adoption.entry_of(CONTEXT))
    assert [(action.kind, action.asks) for action in adoption.plan(root, found)] == [
        (StepKind.CONNECT, True),
        (StepKind.ADOPT_CONTEXT, False),
    ]
    adopt(root)
    entry = adoption.entry_of(CONTEXT)
    assert (entry.server, entry.tls_server_name) == (f"https://127.0.0.1:{port}", "localhost")
    assert adoption.plan(root, adoption.observe(entry)) == ()
    told = adoption.release(root)
    assert told[1] == f"its kubeconfig entry leads to https://{NOWHERE}:{port} again"
    assert document.dump(store.read().document) == document.dump(before)


def test_a_way_that_somebody_else_has_written_since_stays(root: Path, config: Path, pki: Pki, serve: Serve) -> None:
    config.write_text(pki.kubeconfig(f"https://{NOWHERE}:{serve()}", "desktop"))
    adopt(root)
    other = f"https://localhost:{serve()}"
    store.update(lambda content: document.with_route(content, CONTEXT, other))
    adoption.release(root)
    assert adoption.entry_of(CONTEXT).server == other


def test_a_way_that_changes_twice_goes_back_to_the_first(root: Path, config: Path, pki: Pki, serve: Serve) -> None:
    first = f"https://{NOWHERE}:{serve()}"
    config.write_text(pki.kubeconfig(first, "desktop"))
    adopt(root)
    second = f"https://127.0.0.1:{serve()}"
    found = adoption.observe(adoption.entry_of(CONTEXT), (second, "localhost"))
    adoption.apply(root, found, adoption.plan(root, found))
    assert adoption.entry_of(CONTEXT).server == second
    adoption.release(root)
    assert adoption.entry_of(CONTEXT).server == first


def test_where_nothing_leads_nothing_is_written(root: Path, config: Path, pki: Pki, closed: int) -> None:
    config.write_text(pki.kubeconfig(f"https://{NOWHERE}:{closed}", "desktop"))
    before = config.read_bytes()
    with pytest.raises(RouteError, match=f"to the API server of the context {CONTEXT}"):
        adopt(root)
    assert (config.read_bytes(), record.read(root)) == (before, None)


def test_one_cluster_is_adopted_at_a_time(root: Path, config: Path, pki: Pki, serve: Serve) -> None:
    config.write_text(pki.kubeconfig(f"https://127.0.0.1:{serve()}", "desktop"))
    record.write(root, record.Adopted("another"))
    with pytest.raises(UsageError, match="the context another is adopted already"):
        adopt(root)


def test_a_context_that_is_not_there_is_named_with_those_that_are(config: Path, pki: Pki) -> None:
    config.write_text(pki.kubeconfig("https://127.0.0.1:1", "desktop"))
    with pytest.raises(UsageError, match="there is no kubeconfig entry docker-desktop") as refused:
        adoption.entry_of("docker-desktop")
    assert refused.value.evidence == f"contexts: {CONTEXT}"
    assert "switched on in its settings" in refused.value.fix


def invoke(root: Path, *arguments: str) -> Completed:
    """A task in a project of its own, where no program is to be found."""
    (root / "tasks.py").write_text("from threezone.tasks import collection\n\nnamespace = collection()\n")
    scripts = Path(adoption.__file__).parents[3]
    env = {"PATH": "/nowhere", "PYTHONPATH": str(scripts), "DOCKER_HOST": None}
    return run([sys.executable, "-m", "invoke", *arguments], cwd=root, env=env, timeout=60, check=False)


def test_the_tasks_mean_the_adopted_cluster_and_refuse_to_make_or_delete_it(
    root: Path, config: Path, pki: Pki, serve: Serve
) -> None:
    config.write_text(pki.kubeconfig(f"https://127.0.0.1:{serve()}", "desktop"))
    done = invoke(root, "cluster.adopt", "--context", CONTEXT)
    assert (done.exit_code, f"{CONTEXT} is adopted" in done.stdout) == (0, True)
    assert invoke(root, "cluster.adopt").stdout == f"adopted: {CONTEXT}\n"
    for task in (
        "up --workers 2",
        "down --images",
        "cluster.create",
        "cluster.delete",
        "cluster.stop",
        "cluster.start",
        "cluster.plan",
    ):
        refused = invoke(root, *task.split())
        assert refused.exit_code == 4, (task, refused.stderr)
        assert f"the cluster of the context {CONTEXT} is adopted, not ours" in refused.stderr
    for task in ("kubeconfig.export --for ci", "kubeconfig.remove", "cluster.inspect", "cluster.logs"):
        assert invoke(root, *task.split()).exit_code == 4
    assert json.loads(invoke(root, "kubeconfig.check", "--json").stdout)["context"] == CONTEXT
    assert json.loads(invoke(root, "kubeconfig.show", "--json").stdout)["context"] == CONTEXT
    assert json.loads(invoke(root, "zones.probe", "--json").stdout)["chosen"]["server"].startswith("https://127.0.0.1")
    assert "unchanged" in invoke(root, "kubeconfig.connect").stdout
    assert "has no entry kind-kind" in invoke(root, "zones.show", "--name", "kind").stdout
    assert "is released" in invoke(root, "cluster.adopt", "--remove").stdout
    assert invoke(root, "cluster.adopt", "--remove").stdout == "no cluster is adopted here\n"
