"""The lab's Git server with the real git, and commits that are delivered automatically."""

from __future__ import annotations

import json
import os
import queue
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from tests.e2e.places import place
from tests.e2e.project import NAME, Project

from threezone.core import process
from threezone.core.process import Completed

pytestmark = pytest.mark.timeout(1800)

TEAM = "team-a"
BIG = 50_000_000  # bytes that no compression makes fewer
TEXT = "local/gitops/apps/hello/index.html"


class Server:
    """The Git server behind its port forward, and a git with its own settings."""

    def __init__(self, lab: Project, home: Path) -> None:
        lines = lab.invoke("gitops.serve", "--repository", TEAM, "--forward").stdout.splitlines()
        self.lab = lab
        self.home = home
        self.env = {"GIT_CONFIG_GLOBAL": str(home / "gitconfig"), "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1",
                    "GIT_TERMINAL_PROMPT": "0"}  # fmt: skip
        self.url = next(line.split()[-1] for line in lines if line.startswith("git clone") and TEAM in line)
        (home / "gitconfig").write_text("[user]\n\tname = A User\n\temail = user@example.invalid\n")
        self.helper = next(line for line in lines if line.startswith("git config"))
        lab.run("sh", "-c", self.helper, env=self.env)

    def git(self, *argv: str | Path, check: bool = True, env: dict[str, str] | None = None) -> Completed:
        return self.lab.run("git", *argv, check=check, env={**self.env, **(env or {})})

    def clone(self, name: str, *options: str) -> Path:
        self.git("clone", "--quiet", *options, self.url, self.home / name)
        return self.home / name

    def commit(self, work: Path, text: str) -> str:
        (work / "file").write_text(text)
        self.git("-C", work, "add", "--all")
        self.git("-C", work, "commit", "--quiet", "--allow-empty", "--message", text)
        return self.git("-C", work, "rev-parse", "HEAD").stdout.strip()

    def refs(self) -> dict[str, str]:
        listed = self.git("ls-remote", "--heads", self.url).stdout.splitlines()
        return {ref.removeprefix("refs/heads/"): sha for sha, ref in (line.split("\t") for line in listed)}


@pytest.fixture(scope="module")
def server(lab: Project, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(lab, tmp_path_factory.mktemp("git"))
    work = made.clone("first")
    made.git("-C", work, "switch", "--quiet", "--force-create", "main")
    made.commit(work, "first")
    made.git("-C", work, "push", "--quiet", "origin", "main")
    yield made
    lab.invoke("gitops.serve", "--stop-forward")


def test_the_password_is_needed_to_push_and_is_only_in_its_file(server: Server) -> None:
    password = (server.lab.state / "clusters" / NAME / "git-password").read_text()
    assert password not in server.url + server.helper
    without = {"GIT_CONFIG_GLOBAL": os.devnull}
    assert server.git("ls-remote", server.url, env=without).stdout, "reading needs none"
    work = server.home / "first"
    refused = server.git("-C", work, "push", server.url, "HEAD:refs/heads/refused", check=False, env=without)
    assert refused.exit_code != 0
    assert "could not read Password" in refused.stderr
    assert "refused" not in server.refs()
    assert password not in process.run(["ps", "axwwe", "-o", "args"], timeout=30).stdout
    config = (server.home / "gitconfig").read_text() + (work / ".git" / "config").read_text()
    assert password not in config


def test_repositories_are_separate(server: Server) -> None:
    lab = server.git("ls-remote", "--heads", server.url.replace(TEAM, "lab")).stdout
    assert server.refs()["main"] not in lab


def test_a_big_pack_is_pushed_and_cloned(server: Server) -> None:
    work = server.home / "first"
    server.git("-C", work, "switch", "--quiet", "--create", "big")
    (work / "big").write_bytes(os.urandom(BIG))
    server.commit(work, "big")
    server.git("-C", work, "push", "--quiet", "origin", "big")
    back = server.clone("second", "--branch", "big")
    assert (back / "big").read_bytes() == (work / "big").read_bytes()
    server.git("-C", work, "push", "--quiet", "origin", "--delete", "big")  # the next clones are small again
    server.git("-C", work, "switch", "--quiet", "main")


def test_a_push_that_is_no_fast_forward_is_rejected(server: Server) -> None:
    work, beside = server.home / "first", server.clone("beside")
    server.git("-C", beside, "switch", "--quiet", "main")
    theirs = server.commit(work, "theirs")
    server.git("-C", work, "push", "--quiet", "origin", "main")
    server.commit(beside, "ours")
    refused = server.git("-C", beside, "push", "origin", "main", check=False)
    assert refused.exit_code != 0
    assert "fetch first" in refused.stderr
    assert server.refs()["main"] == theirs
    server.git("-C", beside, "fetch", "--quiet")
    assert server.git("-C", beside, "rev-parse", "origin/main").stdout.strip() == theirs


def test_concurrent_pushes_lose_nothing(server: Server) -> None:
    works = [server.clone(f"at-once-{number}") for number in range(4)]
    shas = [server.commit(work, f"of {work.name}") for work in works]
    with ThreadPoolExecutor(4) as pool:
        done = list(
            pool.map(lambda work: server.git("-C", work, "push", "origin", f"HEAD:refs/heads/{work.name}"), works)
        )
    assert [each.exit_code for each in done] == [0] * 4
    assert {work.name: sha for work, sha in zip(works, shas, strict=True)}.items() <= server.refs().items()
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda work: server.git("-C", work, "push", "origin", "HEAD:main", check=False), works))
    won = [sha for sha, each in zip(shas, done, strict=True) if each.exit_code == 0]
    assert won == [server.refs()["main"]]


def test_the_port_forward_survives_a_new_pod(server: Server) -> None:
    before = server.refs()
    server.lab.kubectl("--namespace", "threezone", "delete", "pod", "--selector", "app.kubernetes.io/name=git")
    assert server.refs() == before


def test_a_restart_of_the_node_loses_nothing(server: Server) -> None:
    before = server.refs()
    server.lab.run("docker", "restart", f"{NAME}-control-plane")
    assert server.refs() == before
    assert server.git("clone", "--quiet", server.url, server.home / "after").exit_code == 0
    server.lab.invoke("up", "--yes")


def test_the_port_can_be_chosen_and_is_closed_again(server: Server) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        refused = server.lab.invoke("gitops.serve", "--port", str(taken.getsockname()[1]), check=False)
    assert refused.exit_code == 2
    assert "is taken" in refused.stderr
    lines = server.lab.invoke("gitops.serve", "--forward").stdout
    port = urlsplit(next(line.split()[-1] for line in lines.splitlines() if line.startswith("git clone"))).port
    assert server.lab.invoke("gitops.serve", "--stop-forward").stdout == "the forward is closed\n"
    with socket.socket() as tried:
        assert tried.connect_ex(("127.0.0.1", port or 0)) != 0
    assert server.lab.invoke("gitops.serve", "--stop-forward").stdout == "there is no forward\n"


@pytest.mark.usefixtures("places")
def test_a_container_reaches_the_git_server_by_the_same_command(lab: Project) -> None:
    with place(lab, "git") as zone:
        zone.invoke("kubeconfig.connect")
        lines = zone.invoke("gitops.serve", "--forward").stdout
        url = next(line.split()[-1] for line in lines.splitlines() if line.startswith("git clone"))
        assert "refs/heads/main" in zone.run("git", "ls-remote", url).stdout
        assert "is closed" in zone.invoke("gitops.serve", "--stop-forward").stdout


# Commits that are delivered automatically


def shown(lab: Project, text: str) -> None:
    """Write another text of the sample app into the working tree."""
    lab.write(TEXT, f"{text}\n")


def answers(lab: Project) -> str:
    return lab.invoke("app.open", "--once").stdout.strip()


@contextmanager
def watching(lab: Project) -> Iterator[queue.Queue[str]]:
    lines: queue.Queue[str] = queue.Queue()
    argv = [str(lab.root / "run"), "invoke", "gitops.watch", "--force"]
    with process.Running(argv, cwd=lab.root, env=lab.env, on_line=lines.put) as running:
        yield lines
        assert running.alive


def line(lines: queue.Queue[str], words: str) -> str:
    """The next line with these words."""
    end = time.monotonic() + 240
    actual = []
    while time.monotonic() < end:
        try:
            actual.append(lines.get(timeout=max(0.1, end - time.monotonic())))
        except queue.Empty:
            break
        if words in actual[-1]:
            return actual[-1]
    pytest.fail(f"no line with {words!r} in {actual}")


def test_watch_delivers_each_commit_and_survives_errors(lab: Project) -> None:
    with watching(lab) as lines:
        head = lab.run("git", "rev-parse", "HEAD").stdout
        line(lines, f"{head[:7]} applied in")
        shown(lab, "by watch")
        sha = lab.commit("By watch")
        assert re.search(r"applied in \d+\.\d s \(push \d+\.\d s\)", line(lines, sha[:7]))
        assert answers(lab) == "by watch"

        lab.write("local/gitops/clusters/local/kustomization.yaml", "resources: [nowhere]\n")
        bad = lab.commit("Bad")
        line(lines, f"{bad[:7]} was not delivered")
        assert "nowhere" in line(lines, "nowhere")
        lab.run("git", "revert", "--no-edit", "HEAD")
        line(lines, f"{lab.run('git', 'rev-parse', 'HEAD').stdout[:7]} applied in")

        lab.kubectl("--namespace", "threezone", "scale", "deployment", "git", "--replicas=0")
        shown(lab, "after a while")
        late = lab.commit("While nobody serves")
        line(lines, f"{late[:7]} waits: ")
        lab.kubectl("--namespace", "threezone", "scale", "deployment", "git", "--replicas=1")
        line(lines, f"{late[:7]} applied in")
        assert answers(lab) == "after a while"


def test_the_hook_delivers_each_commit(lab: Project) -> None:
    hooks = lab.root / ".git" / "hooks"
    before = {file.name: file.read_bytes() for file in hooks.iterdir()}
    lab.invoke("gitops.watch", "--install-hook", "--force")
    log = lab.root / ".git" / "threezone-delivery.log"
    shown(lab, "by the hook")
    sha = lab.commit("By the hook")
    deadline = time.monotonic() + 240
    while not log.exists():
        assert time.monotonic() < deadline, "the hook has not ended"
        time.sleep(0.1)
    assert f"threezone: {sha[:7]} applied in" in log.read_text()
    assert answers(lab) == "by the hook"
    lab.invoke("gitops.watch", "--uninstall-hook")
    assert {file.name: file.read_bytes() for file in hooks.iterdir()} == before
    assert not log.exists()


@contextmanager
def asked_for_its_page(lab: Project) -> Iterator[list[int]]:
    """Ask for the app's page while the block runs; yields the exit codes of the requests."""
    codes: list[int] = []
    over = threading.Event()

    def ask() -> None:
        path = "/api/v1/namespaces/hello/services/http:hello:80/proxy/"
        while not over.is_set():
            codes.append(lab.kubectl("get", "--raw", path, check=False).exit_code)

    with ThreadPoolExecutor(1) as pool:
        asking = pool.submit(ask)
        try:
            yield codes
        finally:
            over.set()
            asking.result()


def test_a_renamed_repository_is_delivered_without_a_gap(lab: Project) -> None:
    lab.invoke("gitops.push", "--force")
    names = ("kustomizations", "gitrepositories")
    uid = lab.json("get", "--namespace", "hello", "deployment", "hello")["metadata"]["uid"]
    settings = (lab.root / "invoke.yaml").read_text()
    try:
        lab.write("invoke.yaml", settings.replace("repository: lab", "repository: renamed"))
        status = json.loads(lab.invoke("status", "--json").stdout)["gitops"]
        assert status["ready"] is False
        (replaces,) = status["replaces"]
        assert "lab.git" in replaces
        assert "renamed.git" in replaces
        assert "renamed.git" in lab.invoke("up", "--dry-run").stdout
        with asked_for_its_page(lab) as codes:
            lab.invoke("up", "--yes")
        assert set(codes) == {0}
        deployment = lab.json("get", "--namespace", "hello", "deployment", "hello")["metadata"]
        assert deployment["uid"] == uid
        assert deployment["labels"]["kustomize.toolkit.fluxcd.io/name"] == "renamed"
        for kind in names:
            listed = lab.json("get", "--namespace", "flux-system", kind)["items"]
            assert {"lab", "renamed"} & {item["metadata"]["name"] for item in listed} == {"renamed"}
        assert json.loads(lab.invoke("status", "--json").stdout)["gitops"]["ready"] is True
    finally:
        (lab.root / "invoke.yaml").write_text(settings)
        lab.invoke("gitops.push", "--force")
    for kind in names:
        listed = lab.json("get", "--namespace", "flux-system", kind)["items"]
        assert {"lab", "renamed"} & {item["metadata"]["name"] for item in listed} == {"lab"}
