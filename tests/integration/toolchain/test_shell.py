"""What `tools.install --shell` leaves in the user's ~/.local, and what bash makes of it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.integration.toolchain.conftest import PACKAGE, Server

from threezone.core import process
from threezone.toolchain import shell
from threezone.toolchain.install import Tool

ROOT = Path(__file__).parents[3]


def program(place: Path, says: str) -> Path:
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"#!/bin/sh\necho '{says}' \"$@\"\n")
    place.chmod(0o755)
    return place


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    return Path.home()


def test_programs_of_ours_are_linked_and_every_one_is_completed(home: Path, tmp_path: Path) -> None:
    kind = Tool("kind", "1", program(tmp_path / "1" / "kind", "# one"), "release")
    flux = Tool("flux", "2", program(tmp_path / "bin" / "flux", "# two"), "path")
    shell.prepare({"kind": kind, "flux": flux})
    assert (home / ".local/bin/kind").resolve() == kind.path
    assert not (home / ".local/bin/flux").exists(), "it is on PATH already"
    assert (shell.completions() / "kind").read_text() == "# one completion bash\n"
    assert (shell.completions() / "flux").read_text() == "# two completion bash\n"
    assert shell.completions() == home / ".local/share/bash-completion/completions"


@pytest.mark.usefixtures("home")
def test_a_program_without_a_script_is_called_by_bash(tmp_path: Path) -> None:
    tofu = Tool("tofu", "1", program(tmp_path / "a place" / "tofu", "$COMP_LINE"), "release")
    shell.prepare({"tofu": tofu})
    ask = f". '{shell.completions() / 'tofu'}' && complete -p tofu"
    assert process.run(["bash", "-c", ask], timeout=30).stdout == f"complete -C '{tofu.path}' tofu\n"


def test_a_link_follows_the_version_and_a_file_of_the_user_s_stays(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (Tool("kind", name, program(tmp_path / name / "kind", name), "source") for name in ("1", "2"))
    for tool in (old, new, new):
        shell.prepare({"kind": tool})
    assert (home / ".local/bin/kind").resolve() == new.path
    new.path.unlink()  # a cache that was deleted: the link dangles
    shell.prepare({"kind": old})
    assert (home / ".local/bin/kind").resolve() == old.path
    (home / ".local/bin/kind").unlink()
    theirs = program(home / ".local/bin/kind", "theirs").read_text()
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    shell.prepare({"kind": old})
    assert (home / ".local/bin/kind").read_text() == theirs
    assert (tmp_path / "data/bash-completion/completions/kind").is_file()


def test_the_task_does_it_when_asked(project: Path, home: Path, server: Server) -> None:
    argv = [sys.executable, "-m", "invoke", "tools.install", "--name", "kind", "--channel", "release"]
    process.run(argv, cwd=project, timeout=60, env=PACKAGE)
    assert not (home / ".local").exists()
    process.run([*argv, "--shell"], cwd=project, timeout=60, env=PACKAGE)
    assert process.run([home / ".local/bin/kind"], timeout=30).stdout.startswith("kind v0.31.0 ")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["./run", "inv"], "invoke"),
        (["./run", "invoke", "kubeconfig.conn"], "kubeconfig.connect"),
        (["./run", "kubeconfig.conn"], "kubeconfig.connect"),
        (["./run", "kubeconfig.connect", "--if-r"], "--if-running"),
        (["./run", "nox", "inv"], ""),
    ],
)
@pytest.mark.usefixtures("home")
def test_bash_completes_the_launcher_s_tasks(tmp_path: Path, words: list[str], expected: str) -> None:
    shell.prepare({})
    launcher = program(tmp_path / "run", "").with_name("run")
    launcher.write_text(f'#!/bin/sh\nexec {sys.executable} -m "$@"\n')
    script = '. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _threezone_run; echo "${COMPREPLY[@]}"'
    argv: list[str | Path] = ["bash", "-c", script, "bash", shell.completions() / "run", launcher, *words[1:]]
    assert process.run(argv, cwd=ROOT, timeout=60, env=PACKAGE).stdout.strip() == expected
