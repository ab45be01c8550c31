"""The post-commit hook, with the real git and a stand-in for the task that it runs."""

import os
import time
from pathlib import Path

import pytest

from threezone.core import process
from threezone.core.errors import UsageError
from threezone.delivery import hook
from threezone.delivery.branch import Tip, branch_of


def git(root: Path, *argv: str) -> str:
    return process.run(["git", "-C", root, *argv], timeout=30).stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project in a directory of its repository. Its `run` notes how it was called, and ends with what `fail` says."""
    top = tmp_path / "repository"
    root = top / "project"
    root.mkdir(parents=True)
    git(top, "init", "--quiet", "--initial-branch=main")
    git(top, "config", "user.name", "A User")
    git(top, "config", "user.email", "user@example.invalid")
    run = root / "run"
    run.write_text(
        '#!/bin/sh\ncd "$(dirname "$0")"\n'
        'seen=$(env | grep -cE "^GIT_(DIR|INDEX_FILE|WORK_TREE|PREFIX)=")\n'
        'echo "$(git rev-parse HEAD) $seen $*" >"$CALLED.new"\nmv "$CALLED.new" "$CALLED"\n'
        'if [ -e "$CALLED.fail" ]; then echo progress; echo "error: no way"; echo "fix: this"; exit 6; fi\n'
        'echo "threezone: applied"\n'
    )
    run.chmod(0o755)
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "first")
    return root


@pytest.fixture
def called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CALLED", str(tmp_path / "called"))
    return tmp_path / "called"


def commit(root: Path) -> str:
    git(root, "commit", "--quiet", "--allow-empty", "--message", "next")
    return git(root, "rev-parse", "HEAD").strip()


def waited(file: Path) -> str:
    deadline = time.monotonic() + 20
    while not file.exists():
        assert time.monotonic() < deadline, f"{file} has not come"
        time.sleep(0.02)
    return file.read_text()


def install(root: Path, branch: str = "main") -> Path:
    return hook.install(root, branch, ["--name", "a lab"], "./run invoke")


def test_a_commit_runs_the_task_in_the_project_without_gits_variables(project: Path, called: Path) -> None:
    install(project)
    sha = commit(project)
    assert waited(called).split(" ", 2) == [sha, "0", "invoke gitops.watch --once --branch main --name a lab\n"]


def test_a_commit_does_not_wait_for_the_delivery_nor_does_who_reads_its_output(project: Path, called: Path) -> None:
    install(project)
    fifo = project.parent.parent / "fifo"
    os.mkfifo(fifo)
    with (project / "run").open("a") as run:
        run.write(f"cat {fifo}\n")
    began = time.monotonic()
    done = process.run(["git", "-C", project, "commit", "--allow-empty", "--message", "next"], timeout=15)
    assert "in the background" in done.stderr
    assert time.monotonic() - began < 10
    waited(called)
    fifo.write_text("end")


def test_a_failure_is_in_the_log(project: Path, called: Path) -> None:
    install(project)
    called.with_name("called.fail").touch()
    commit(project)
    log = waited(project.parent / ".git" / hook.LOG)
    assert "error: no way" in log
    assert (project.parent / ".git" / hook.LOG).stat().st_mode & 0o777 == 0o600


def test_on_a_terminal_the_failure_is_told_there(project: Path, called: Path) -> None:
    install(project)
    called.with_name("called.fail").touch()
    ours, theirs = os.openpty()
    shell = ["sh", "-c", f"git -C {project} commit -q --allow-empty -m next 2>/dev/fd/{theirs}"]
    os.set_inheritable(theirs, True)
    pid = os.posix_spawn("/bin/sh", shell, dict(os.environ))
    os.waitpid(pid, 0)
    os.close(theirs)
    said = b""
    try:
        while b"fix: this" not in said:
            said += os.read(ours, 4096)
    except OSError:
        pass
    os.close(ours)
    assert b"was not delivered" in said
    assert b"error: no way" in said
    assert b"fix: this" in said
    assert b"progress" not in said


def test_other_branches_and_other_repositories_are_left_alone(project: Path, called: Path) -> None:
    install(project)
    git(project, "switch", "--quiet", "--create", "other")
    commit(project)
    elsewhere = project.parent.parent / "elsewhere"
    git(project, "clone", "--quiet", str(project.parent), str(elsewhere))
    git(elsewhere, "switch", "--quiet", "main")
    git(elsewhere, "config", "core.hooksPath", str(project.parent / ".git" / "hooks"))
    git(elsewhere, "config", "user.name", "A User")
    git(elsewhere, "config", "user.email", "user@example.invalid")
    assert (
        "in the background"
        not in process.run(["git", "-C", elsewhere, "commit", "--allow-empty", "--message", "next"], timeout=30).stderr
    )
    git(project, "switch", "--quiet", "main")
    assert not called.exists()
    commit(project)
    waited(called)


def test_a_commit_in_a_worktree_is_delivered_from_there(project: Path, called: Path) -> None:
    install(project, "side")
    beside = project.parent.parent / "beside"
    git(project, "worktree", "add", "--quiet", "-b", "side", str(beside))
    sha = commit(beside)
    assert waited(called).startswith(sha)


@pytest.mark.parametrize("executable", [True, False])
def test_the_users_hook_is_called_and_put_back_byte_for_byte(project: Path, called: Path, executable: bool) -> None:
    users = project.parent / ".git" / "hooks" / "post-commit"
    text = b'#!/bin/sh\r\n: \xff "$0"\ntouch "$CALLED.users"\n'
    users.write_bytes(text.replace(b"\r", b""))
    users.chmod(0o750 if executable else 0o640)
    before = (users.read_bytes(), users.stat().st_mode, users.stat().st_ino)
    install(project)
    install(project)
    commit(project)
    waited(called)
    assert called.with_name("called.users").exists() is executable
    assert hook.uninstall(project) is True
    assert (users.read_bytes(), users.stat().st_mode, users.stat().st_ino) == before
    assert hook.uninstall(project) is False


@pytest.mark.usefixtures("called")
def test_uninstalling_leaves_no_trace(project: Path) -> None:
    git_directory = project.parent / ".git"
    for file in (git_directory / "hooks").iterdir():
        file.unlink()
    (git_directory / "hooks").rmdir()
    install(project)
    install(project)
    commit(project)
    waited(git_directory / hook.LOG)
    hook.uninstall(project)
    assert not (git_directory / "hooks").exists()
    assert not [path for path in git_directory.rglob("*") if "threezone" in path.name]


def test_an_own_hooks_path_is_respected_and_a_hook_of_the_commits_not_replaced(project: Path) -> None:
    git(project, "config", "core.hooksPath", "shared")
    assert install(project) == project.parent / "shared" / "post-commit"
    hook.uninstall(project)
    (project.parent / "shared").mkdir()
    (project.parent / "shared" / "post-commit").write_text("#!/bin/sh\n")
    git(project.parent, "add", "shared")
    with pytest.raises(UsageError, match="is tracked by the repository"):
        install(project)
    assert (project.parent / "shared" / "post-commit").read_text() == "#!/bin/sh\n"


def test_a_hook_that_took_the_place_of_ours_is_not_removed(project: Path) -> None:
    users = project.parent / ".git" / "hooks" / "post-commit"
    users.write_text("#!/bin/sh\n# one\n")
    install(project)
    users.unlink()
    users.write_text("#!/bin/sh\n# another\n")
    with pytest.raises(UsageError, match=r"post-commit\.kept-by-threezone"):
        hook.uninstall(project)
    assert "another" in users.read_text()


def test_a_new_commit_of_the_branch_is_noticed_whatever_is_checked_out(project: Path) -> None:
    assert branch_of(project) == "main"
    tip = Tip(project, "main")
    first = tip.sha
    assert tip.other(first, 0.3) == first
    git(project, "switch", "--quiet", "--create", "other")
    commit(project)
    assert tip.other(first, 0.3) == first
    git(project, "switch", "--quiet", "main")
    second = commit(project)
    assert tip.other(first, 10) == second
    git(project, "pack-refs", "--all")
    assert tip.other(first, 10) == second
    assert tip.other(second, 0.3) == second


def test_a_detached_head_has_no_branch_to_follow(project: Path) -> None:
    git(project, "switch", "--quiet", "--detach")
    with pytest.raises(UsageError, match="no branch is checked out"):
        branch_of(project)
