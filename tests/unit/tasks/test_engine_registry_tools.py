"""engine.*, registry.*, tools.* and image.*: what a cluster is made from."""

from pathlib import Path
from types import SimpleNamespace

import pytest
from tests.unit.tasks.conftest import Invoke, Patch

from threezone.core.errors import ClusterError, Declined, EngineError, ToolError, UsageError
from threezone.core.plan import Step, StepKind
from threezone.engine.find import Engine
from threezone.toolchain.install import Tool

ENGINE = Engine("ok", "unix:///run/docker.sock", version="28.0.0")
BROKEN = Engine("missing", "unix:///run/docker.sock")
START = Step(StepKind.START_ENGINE, "start it", asks=True)
TOOL = Tool("kind", "0.31.0", Path("/bin/kind"), "release")
IMAGE = SimpleNamespace(reference="hello:1", id="sha256:0123456789abcdef", size=2_000_000)


@pytest.mark.parametrize(("engine", "code"), [(ENGINE, 0), (BROKEN, EngineError.exit_code)])
def test_engine_check_proves_it(engine: Engine, code: int, invoke: Invoke, patch: Patch) -> None:
    patch("engine.repair.diagnose", (engine, ()))
    assert invoke("engine.check").exit_code == code
    done = invoke("engine.check", "--json")
    assert (done.exit_code, done.data["state"]) == (code, engine.state)


@pytest.mark.parametrize(
    ("words", "steps", "code", "applied"),
    [
        ([], (START,), Declined.exit_code, 0),
        (["--yes"], (START,), 0, 1),
        (["--dry-run"], (START,), 0, 0),
        ([], (), 0, 0),
        (["--dry-run"], (), 0, 0),
    ],
)
def test_engine_start_asks_first(
    *, words: list[str], steps: tuple[Step, ...], code: int, applied: int, invoke: Invoke, patch: Patch
) -> None:
    patch("engine.repair.diagnose", (ENGINE, steps))
    apply = patch("engine.repair.apply", ENGINE)
    done = invoke("engine.start", *words)
    assert (done.exit_code, len(apply)) == (code, applied)


@pytest.mark.parametrize(("words", "unwrapped"), [([], 0), (["--restore"], 1)])
def test_engine_stop_restores_on_request(words: list[str], unwrapped: int, invoke: Invoke, patch: Patch) -> None:
    patch("engine.repair.stop", answer=False)
    unwrap = patch("engine.repair.unwrap", answer=True)
    assert invoke("engine.stop", *words).exit_code == 0
    assert len(unwrap) == unwrapped


@pytest.mark.parametrize(("words", "started"), [([], 1), (["--dry-run"], 0)])
def test_registry_start_names_its_address(words: list[str], started: int, invoke: Invoke, patch: Patch) -> None:
    plan = SimpleNamespace(steps=(), wanted=(SimpleNamespace(port=5001),))
    patch("cluster.local_registry.plan", plan)
    start = patch("cluster.local_registry.start", ("lab",))
    done = invoke("registry.start", *words)
    assert (done.exit_code, len(start)) == (0, started)
    assert ("localhost:5001" in done.out) is bool(started)


@pytest.mark.parametrize(("running", "code"), [(True, 0), (False, ClusterError.exit_code)])
def test_registry_status_fails_where_none_runs(running: bool, code: int, invoke: Invoke, patch: Patch) -> None:
    state = "running" if running else "exited"
    live = SimpleNamespace(name="threezone-registry", state=state, upstream="", port=5001, running=running)
    patch("images.registry.observe", {"a": live})
    done = invoke("registry.status", "--json")
    assert done.exit_code == code
    assert done.data[0] == {
        "name": "threezone-registry", "state": state, "address": "localhost:5001",
        "for_nodes_and_pods": "threezone-registry:5001", "upstream": "",
    }  # fmt: skip
    assert state in invoke("registry.status").out
    patch("images.registry.observe", {})
    assert invoke("registry.status").exit_code == ClusterError.exit_code


@pytest.mark.parametrize(
    ("words", "volumes", "code", "stopped"),
    [
        ([], ("v",), 0, 1),
        (["--delete"], ("v",), Declined.exit_code, 0),
        (["--delete", "--yes"], ("v",), 0, 1),
        (["--delete"], (), 0, 1),
    ],
)
def test_registry_stop_asks_before_images_go(
    *, words: list[str], volumes: tuple[str, ...], code: int, stopped: int, invoke: Invoke, patch: Patch
) -> None:
    patch("images.registry.volumes", volumes)
    stop = patch("cluster.local_registry.stop", ("threezone-registry",))
    assert invoke("registry.stop", *words).exit_code == code
    assert [options["delete"] for _, options in stop] == ["--delete" in words] * stopped


def test_tools_install_prints_what_there_is(invoke: Invoke, patch: Patch) -> None:
    ensure = patch("toolchain.install.ensure", {"kind": TOOL})
    prepare = patch("toolchain.shell.prepare")
    assert "0.31.0" in invoke("tools.install", "--shell").out
    expected = {"name": "kind", "version": "0.31.0", "channel": "release", "path": "/bin/kind"}
    assert invoke("tools.install", "--name", "kind", "--channel", "source", "--json").data == [expected]
    assert ([arguments[1] for arguments, _ in ensure], len(prepare)) == (["release", "source"], 1)
    assert invoke("tools.install", "--channel", "sauce").exit_code == UsageError.exit_code


def test_tools_list_shows_what_is_missing(invoke: Invoke, patch: Patch) -> None:
    old = SimpleNamespace(path=Path("/old/kind"), version="")
    lines = [
        SimpleNamespace(name="kind", wanted="0.31.0", tool=TOOL, unsuitable=()),
        SimpleNamespace(name="flux", wanted="2.7.0", tool=None, unsuitable=(old,)),
    ]
    patch("toolchain.install.survey", lines)
    patch("toolchain.install.bin_dir", Path("/bin"))
    done = invoke("tools.list")
    assert "tools.install" in done.out
    assert "/old/kind" in done.out
    assert [each["found"] is None for each in invoke("tools.list", "--json").data] == [False, True]
    assert invoke("tools.list", "--path").exit_code == ToolError.exit_code
    patch("toolchain.install.survey", lines[:1])
    assert invoke("tools.list", "--path").out == "/bin\n"
    assert "--path" in invoke("tools.list").out


@pytest.mark.parametrize(("problem", "code"), [("", 0), ("differs", ToolError.exit_code)])
def test_tools_verify_fails_for_a_changed_program(problem: str, code: int, invoke: Invoke, patch: Patch) -> None:
    patch("toolchain.install.verify", [SimpleNamespace(tool=TOOL, problem=problem)])
    done = invoke("tools.verify")
    assert (done.exit_code, "rm -r /bin" in done.err) == (code, bool(problem))
    assert invoke("tools.verify", "--json").data[0]["ok"] is not bool(problem)
    patch("toolchain.install.verify", [])
    assert invoke("tools.verify").exit_code == 0


@pytest.fixture
def images(patch: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("threezone.cluster.lab.Lab.images", ("hello",))
    patch("images.build.ensure_all", {"hello": (IMAGE,)})
    patch("images.build.observe", {"hello": (IMAGE,)})
    patch("images.build.references", ("hello:1", "hello:2"))
    patch("images.preload.ensure", (IMAGE, frozenset()))
    patch("images.preload.observe", (None, None))


@pytest.mark.usefixtures("images")
@pytest.mark.parametrize(("name", "rows"), [("hello", 1), ("all", 2), ("preloaded", 1)])
def test_image_build_lists_what_it_got(name: str, rows: int, invoke: Invoke) -> None:
    assert invoke("image.build", name).out.count("0123456789ab  2 MB") == rows


@pytest.mark.usefixtures("images")
def test_image_list_shows_what_the_engine_has(invoke: Invoke) -> None:
    data = invoke("image.list", "--json").data
    assert [(each["reference"], each["present"], each["bytes"]) for each in data[:2]] == [
        ("hello:1", True, 2_000_000),
        ("hello:2", False, None),
    ]
    assert data[2]["name"] == "preloaded"
    assert "missing" in invoke("image.list").out


def test_image_load_separates_names_from_archives(invoke: Invoke, patch: Patch) -> None:
    load = patch("cluster.node_images.into_nodes", (IMAGE,))
    done = invoke("image.load", "flux, a.tar,", "--archive", "b.tgz")
    assert "hello:1" in done.out
    assert load[0][0][1:] == (["flux"], [Path("a.tar"), Path("b.tgz")])
    patch("cluster.node_images.into_nodes", ())
    assert "nothing to do" in invoke("image.load", "flux").out


@pytest.mark.parametrize(
    ("words", "steps", "code", "applied"),
    [
        ([], (), 0, 0),
        (["--all", "--dry-run"], (START,), 0, 0),
        ([], (START,), Declined.exit_code, 0),
        (["--yes"], (START,), 0, 1),
    ],
)
def test_image_prune_asks_first(
    *, words: list[str], steps: tuple[Step, ...], code: int, applied: int, invoke: Invoke, patch: Patch
) -> None:
    plan = patch("cluster.node_images.plan_prune", steps)
    apply = patch("images.prune.apply")
    assert invoke("image.prune", *words).exit_code == code
    assert (len(apply), plan[0][1]["everything"]) == (applied, "--all" in words)
