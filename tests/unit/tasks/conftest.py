"""Tasks run in this process by invoke's own program, in a project of their own, with patched use cases below them."""

import functools
import json
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from invoke import Collection, Program

from threezone import tasks
from threezone.cluster.lab import Lab

Calls = list[tuple[tuple[Any, ...], dict[str, Any]]]
Patch = Callable[..., Calls]


@dataclass(frozen=True)
class Outcome:
    """What a run of `invoke` ended with."""

    exit_code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        return json.loads(self.out)


Invoke = Callable[..., Outcome]


@functools.cache
def collection() -> Collection:
    """The tasks, once for all tests."""
    return tasks.collection()


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a launcher and settings; the current directory."""
    (tmp_path / "scripts" / "threezone").mkdir(parents=True)
    for name in ("tasks.py", "run"):
        (tmp_path / name).write_text("")
    (tmp_path / "invoke.yaml").write_text("threezone: {channel: release}\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def invoke(project: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Invoke]:
    """Run `invoke` with words, as the command line gives them."""
    assert project.is_dir()
    monkeypatch.setattr("sys.excepthook", lambda *_: None)
    monkeypatch.setattr("atexit.register", lambda *_: None)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def run(*words: str) -> Outcome:
        capsys.readouterr()
        code = 0
        try:
            Program(namespace=collection()).run(["invoke", *words])
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        out, err = capsys.readouterr()
        return Outcome(code, out, err)

    yield run
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def patch(monkeypatch: pytest.MonkeyPatch) -> Patch:
    """Replace a function by its dotted name; returns the list of its calls. An exception is raised, else returned."""

    def replace(target: str, answer: object = None) -> Calls:
        calls: Calls = []

        def fake(*args: Any, **kwargs: Any) -> Any:
            calls.append((args, kwargs))
            if isinstance(answer, Exception):
                raise answer
            return answer

        monkeypatch.setattr(f"threezone.{target}", fake)
        return calls

    return replace


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> object:
    """An API server and tools that nobody may really use."""
    server = SimpleNamespace()
    monkeypatch.setattr(Lab, "api", property(lambda _: server))
    monkeypatch.setattr(Lab, "tools", {name: Path(name) for name in ("kind", "kubectl", "flux")})
    return server


@pytest.fixture
def adopted(patch: Patch) -> str:
    """A cluster that is not ours is adopted, and has nothing of ours yet."""
    patch("lab.external_cluster.record.context", "theirs")
    patch("delivery.git_server.is_installed", answer=False)
    return "theirs"
