import json
import os
import platform
import queue
import sys
import tarfile
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

import pytest

from threezone.clients.docker.engine import OWN_SOCKETS, TROUBLE, State, classify, container_proxies, explain
from threezone.core import process, redaction
from threezone.core.errors import EngineError
from threezone.core.plan import StepKind
from threezone.engine import bounded_runtime, find, prove, repair
from threezone.engine.find import Engine

WORDS = {
    "stopped": "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
    "forbidden": "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock",
    "too-old": "Error response from daemon: client version 1.52 is too new. Maximum supported API version is 1.40",
    "old-client": "Error response from daemon: client version 1.41 is too old. Minimum supported API version is 1.44, "
    "please upgrade your client to a newer version",
    "unreachable": "error during connect: lookup nowhere: no such host",
}


@pytest.mark.parametrize(("state", "words"), WORDS.items())
def test_dockers_words_tell_the_states_apart(state: State, words: str) -> None:
    assert classify(words, OWN_SOCKETS[0], daemon_installed=True) == state


ELSEWHERE = {
    # What docker 28.2 says, and the address.
    "no-context": (
        'unable to resolve docker endpoint: context "x": context not found: open x.json: no such file or directory',
        OWN_SOCKETS[0],
    ),
    "certificates": (
        "Failed to initialize: unable to resolve docker endpoint: open /nope/ca.pem: no such file or directory",
        "tcp://h:2376",
    ),
    "no-socket": (
        "Cannot connect to the Docker daemon at unix:///home/me/.docker/run/docker.sock. Is the docker daemon running?",
        "unix:///home/me/.docker/run/docker.sock",
    ),
    "unreachable": ("Cannot connect to the Docker daemon at tcp://h:1. Is the docker daemon running?", "tcp://h:1"),
    "podman": ("Emulate Docker CLI using podman. Create /etc/containers/nodocker to quiet msg.", OWN_SOCKETS[0]),
    "proxy": ("error during connect: proxyconnect tcp: dial tcp 127.0.0.1:1: connect: connection refused", "tcp://h:1"),
}


@pytest.mark.parametrize(("state", "said"), ELSEWHERE.items(), ids=ELSEWHERE)
@pytest.mark.parametrize("installed", [True, False])
def test_what_only_seems_to_be_a_missing_engine_is_named_and_not_repaired(
    state: State, said: tuple[str, str], installed: bool
) -> None:
    assert classify(*said, daemon_installed=installed) == state
    assert keys(Engine(state, said[1]), missing=["CAP_SYS_RESOURCE"]) == []


def test_an_address_behind_a_proxy_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert classify(*ELSEWHERE["unreachable"], daemon_installed=True) == "proxy"
    assert classify(WORDS["stopped"], OWN_SOCKETS[0], daemon_installed=True) == "stopped"


def test_a_password_in_the_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_secrets", set())
    monkeypatch.setenv("DOCKER_HOST", "tcp://me:hunter2@h:1")
    error = explain("Cannot connect to the Docker daemon at tcp://me:hunter2@h:1. Is the docker daemon running?")
    assert "hunter2" not in error.message + error.evidence + error.fix


@pytest.mark.parametrize(
    "words", ["me@far: Permission denied (publickey).", "ssh: connect to host far port 22: Connection refused"]
)
def test_what_ssh_refuses_is_not_taken_for_the_engines_word(words: str) -> None:
    client = "error during connect: command [ssh -l me -- far docker system dial-stdio] has exited with exit status 255"
    assert classify(
        f"{client}, please make sure the URL is valid: stderr={words}", "ssh://far", daemon_installed=True
    ) == ("unreachable")


def test_a_client_that_refuses_an_old_engine_itself_is_understood() -> None:
    words = "API version 1.39 is not supported by this client: the minimum supported API version is 1.44"
    assert classify(words, OWN_SOCKETS[0], daemon_installed=True) == "too-old"


def test_without_a_daemon_program_a_silent_socket_means_missing() -> None:
    assert classify(WORDS["stopped"], OWN_SOCKETS[0], daemon_installed=False) == "missing"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"proxies": {"default": {"httpProxy": "http://me:hunter2@p:1", "noProxy": "a,b"}}}', ["httpProxy", "a,b"]),
        ('{"proxies": {"unix:///var/run/docker.sock": {"httpsProxy": "http://p:1"}}}', ["httpsProxy"]),
        ('{"proxies": {"tcp://other:1": {"httpsProxy": "http://p:1"}}}', []),
        ('{"proxies": {"default": {"noProxy": "*"}}}', []),
        ('{"proxies": []}', []),
        ("[]", []),
        ("{", []),
    ],
)
def test_the_proxies_that_docker_gives_to_containers_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, words: list[str]
) -> None:
    (tmp_path / "config.json").write_text(content)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    monkeypatch.delenv("DOCKER_HOST", raising=False)
    said = container_proxies()
    assert bool(said) is bool(words)
    assert [word for word in words if word not in said] == []
    assert "hunter2" not in said


@pytest.mark.parametrize("state", TROUBLE)
def test_every_state_has_its_own_sentence_and_fix(state: State) -> None:
    with pytest.raises(EngineError) as caught:
        find.require(Engine(state, "unix:///var/run/docker.sock", "words"))
    assert caught.value.fix
    assert caught.value.evidence == "words"


def keys(engine: Engine, **facts: object) -> list[StepKind]:
    given: dict[str, object] = {"root": True, "debian": True, "systemd": False, "missing": [], "words": ""}
    return [action.kind for action in repair.plan(engine, **{**given, **facts})]  # type: ignore[arg-type]


LOCAL = "unix:///var/run/docker.sock"


def test_what_is_missing_is_installed_and_started_on_debian_as_root_only() -> None:
    assert keys(Engine("missing", LOCAL)) == [StepKind.INSTALL_ENGINE, StepKind.START_ENGINE]
    assert keys(Engine("missing", LOCAL), debian=False) == []
    assert keys(Engine("missing", LOCAL), root=False) == []
    assert keys(Engine("missing", "tcp://elsewhere:2375")) == []


def test_the_wrapper_is_planned_only_where_capabilities_are_bounded() -> None:
    bounded = ["CAP_SYS_RESOURCE"]
    assert keys(Engine("missing", LOCAL), missing=bounded) == [
        StepKind.INSTALL_ENGINE,
        StepKind.WRAP_RUNTIME,
        StepKind.START_ENGINE,
    ]
    assert keys(Engine("stopped", LOCAL), missing=bounded) == [StepKind.WRAP_RUNTIME, StepKind.START_ENGINE]
    assert keys(Engine("broken", LOCAL), missing=bounded, words="unable to apply caps: …") == [
        StepKind.WRAP_RUNTIME,
        StepKind.RELOAD_ENGINE,
    ]
    assert keys(Engine("ok", LOCAL), missing=bounded) == []
    assert keys(Engine("broken", LOCAL, runtime=repair.RUNTIME), missing=bounded, words="unable to apply caps") == []


def test_every_change_of_the_machine_asks() -> None:
    plan = repair.plan(
        Engine("missing", LOCAL), root=True, debian=True, systemd=True, missing=["CAP_SYS_RESOURCE"], words=""
    )
    assert all(action.asks for action in plan)
    assert plan[-1].command == "systemctl start docker"


@pytest.mark.parametrize(("architecture", "machine"), [("amd64", 62), ("arm64", 183)])
def test_the_probe_is_a_static_elf_for_its_architecture(architecture: str, machine: int) -> None:
    with tarfile.open(fileobj=BytesIO(prove.archive(architecture))) as tar:
        member = tar.getmember("hold")
        file = tar.extractfile(member)
        assert file is not None
        elf = file.read()
    assert member.mode == 0o755
    assert elf[:4] == b"\x7fELF"
    assert int.from_bytes(elf[18:20], "little") == machine


@pytest.mark.real_program
def test_the_probe_runs_until_the_end_of_its_input(tmp_path: Path) -> None:
    program = tmp_path / "hold"
    program.write_bytes(prove.program({"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]))
    program.chmod(0o755)
    assert process.run([program], timeout=10).stdout == f"{prove.HELD}\n"
    reading, writing = os.pipe()
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    running = process.Running([program], stdin=reading, on_line=lines.put)
    os.close(reading)
    assert lines.get(timeout=10) == prove.HELD
    assert running.alive
    os.close(writing)
    assert running.wait(10).exit_code == 0


def test_the_wrapper_takes_out_only_what_cannot_be_had(tmp_path: Path) -> None:
    have = bounded_runtime.available()
    name = next(iter(have), "CAP_CHOWN")
    config = tmp_path / "config.json"
    config.write_text(
        json.dumps(
            {"process": {"capabilities": {"bounding": [name, "CAP_OF_THE_FUTURE"], "ambient": None}, "args": ["x"]}}
        )
    )
    bounded_runtime.rewrite(str(config), "process")
    process = json.loads(config.read_text())["process"]
    assert process["capabilities"]["bounding"] == [n for n in [name] if n in have]
    assert process["args"] == ["x"]


def test_options_are_read_in_both_spellings() -> None:
    assert bounded_runtime.option(["create", "--bundle", "/b", "id"], "--bundle") == "/b"
    assert bounded_runtime.option(["create", "--bundle=/b", "id"], "--bundle") == "/b"
    assert bounded_runtime.option(["exec", "id"], "--process", "-p") == ""


@pytest.mark.parametrize("default", [{}, {"default-runtime": "other"}])
def test_wrapping_keeps_the_users_daemon_settings_and_can_be_undone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default: dict[str, str]
) -> None:
    settings, wrapper = tmp_path / "daemon.json", tmp_path / "lib" / "bounded-runtime"
    mine = {"dns": ["127.0.0.53"], "runtimes": {"other": {"path": "/bin/other"}}, **default}
    monkeypatch.setattr(repair, "_interpreter", lambda: Path("/usr/bin/python3"))
    settings.write_text(json.dumps(mine))
    monkeypatch.setattr(repair, "DAEMON_JSON", settings)
    monkeypatch.setattr(repair, "WRAPPER", wrapper)
    repair.wrap()
    repair.wrap()
    seen = json.loads(settings.read_text())
    assert seen["dns"] == ["127.0.0.53"]
    assert set(seen["runtimes"]) == {"other", repair.RUNTIME}
    assert seen["default-runtime"] == repair.RUNTIME
    assert wrapper.stat().st_mode & 0o777 == 0o755
    assert wrapper.read_text().startswith("#!/")
    assert repair.unwrap()
    assert json.loads(settings.read_text()) == mine
    assert list(wrapper.parent.iterdir()) == []
    assert not repair.unwrap()


@pytest.mark.real_program
def test_the_wrapper_runs_a_python_that_only_root_can_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As for root: everything but the caller's own Python belongs to root here."""
    mine = tmp_path / "python"
    mine.symlink_to(sys.executable)
    monkeypatch.setattr(sys, "_base_executable", str(mine), raising=False)
    asked: list[Path] = []

    def is_of_root(path: Path) -> bool:
        asked.append(path)
        return not path.is_relative_to(mine.resolve().parent)

    monkeypatch.setattr(repair, "_is_of_root", is_of_root)
    with suppress(EngineError):  # this machine has no other
        assert repair._interpreter() != mine.resolve()
    assert asked


@pytest.mark.parametrize(("mode", "owned"), [(0o755, True), (0o775, False), (0o757, False), (0o1777, True)])
def test_a_path_that_others_may_write_is_not_root_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: int, owned: bool
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x").chmod(mode)
    facts = (tmp_path / "x").stat()
    monkeypatch.setattr(Path, "stat", lambda _: SimpleNamespace(st_uid=0, st_mode=facts.st_mode))
    assert repair._is_of_root(tmp_path / "x") is owned
    monkeypatch.setattr(Path, "stat", lambda _: SimpleNamespace(st_uid=1000, st_mode=facts.st_mode))
    assert not repair._is_of_root(tmp_path / "x")
