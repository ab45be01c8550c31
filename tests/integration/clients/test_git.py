"""git with hostile configurations of the user: the lab gets its commit, and nothing else happens anywhere."""

from __future__ import annotations

import base64
import os
import shlex
import subprocess
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from threezone.clients.git import command
from threezone.clients.git.checkout import Checkout
from threezone.clients.git.own import Own
from threezone.core import process
from threezone.core.errors import DeliveryError, UsageError
from threezone.delivery import remote, repository
from threezone.delivery.proof.repository import AUTHOR, Worktree
from threezone.flux import removed_apis
from threezone.lab import data_loss

USER, PASSWORD = "lab", "a-password-of-the-lab"
CLEAN = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}


def git(root: Path, *argv: str | Path) -> str:
    who = ("-c", "user.name=A User", "-c", "user.email=user@example.invalid", "-c", "protocol.file.allow=always")
    return subprocess.run(
        ["git", *who, "-C", root, *argv], env=CLEAN, check=True, timeout=30, capture_output=True, text=True
    ).stdout.strip()


def refs(bare: Path) -> dict[str, str]:
    return command.refs(git(bare, "for-each-ref", "--format=%(objectname)\t%(refname)"))


class Server(ThreadingHTTPServer):
    """The lab's Git server: anyone reads, a push needs the password. It runs git's own CGI program."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.answered: list[tuple[str, str | None]] = []  # each request's path and what authorizes it
        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/lab.git"


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self.answer(b"")

    def do_POST(self) -> None:
        if self.headers.get("Transfer-Encoding") == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.answer(b"".join(parts))
        else:
            self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def answer(self, body: bytes) -> None:
        path, _, query = self.path.partition("?")
        given = self.headers.get("Authorization")
        self.server.answered.append((self.path, given))
        token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if "git-receive-pack" in self.path and given != f"Basic {token}":
            self.send_response(401)
            self.send_header("WWW-Authenticate", "Basic realm=lab")
            self.end_headers()
            return
        env = {
            **CLEAN, "GIT_PROJECT_ROOT": str(self.server.root), "GIT_HTTP_EXPORT_ALL": "1", "PATH_INFO": path,
            "QUERY_STRING": query, "REQUEST_METHOD": self.command, "REMOTE_USER": USER, "REMOTE_ADDR": "127.0.0.1",
            "CONTENT_TYPE": self.headers.get("Content-Type", ""), "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
        }  # fmt: skip
        done = subprocess.run(["git", "http-backend"], input=body, env=env, capture_output=True, check=True, timeout=30)
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(fields.pop("Status", "200").split()[0]))
        for name, value in fields.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@dataclass(frozen=True)
class World:
    """A project with a submodule whose commit is pushed nowhere yet, the lab, and remotes that must get nothing."""

    base: Path
    server: Server

    @property
    def work(self) -> Path:
        return self.base / "work"

    @property
    def lab(self) -> Path:
        return self.base / "lab.git"

    @property
    def started(self) -> list[str]:
        """The programs of the user's configuration that were started."""
        return sorted(path.name for path in (self.base / "started").iterdir())

    def trap(self, name: str) -> str:
        """A program that must not be started; it leaves a mark when it is."""
        file = self.base / "traps" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/sh\ntouch {shlex.quote(str(self.base / 'started' / name))}\nexit 1\n")
        file.chmod(0o755)
        return str(file)

    def settings(self, name: str) -> list[tuple[str, str]]:
        places = {"url": self.server.url, "base": str(self.base)}
        traps = {each: self.trap(each) for each in ("pre-push", "helper", "monitor", "sign", "askpass", "ssh")}
        return [(key.format(**places), value.format(**places, **traps)) for key, value in HOSTILE[name]]

    def push(self, *, force: bool = False) -> None:
        commit = repository.head(self.work, "app")
        repository.push(
            self.work, commit, self.server.url, "main", path="app", user=USER, password=PASSWORD, force=force
        )


# What a user may have configured. Every line broke or steered a push, or would, when git read it.
HOSTILE: dict[str, list[tuple[str, str]]] = {
    "submodules": [("submodule.recurse", "true")],
    "submodules-check": [("push.recurseSubmodules", "check")],
    "submodules-on-demand": [("push.recurseSubmodules", "on-demand")],
    "submodules-only": [("push.recurseSubmodules", "only")],
    "fetch-submodules": [("fetch.recurseSubmodules", "true")],
    "signed-push": [("push.gpgSign", "true"), ("gpg.program", "{sign}")],
    "tags": [("push.followTags", "true")],
    "push-options": [("push.pushOption", "ci.skip")],
    "push-default": [("push.default", "nothing"), ("remote.pushDefault", "origin")],
    "instead-of": [("url.{base}/other.git.insteadOf", "{url}")],
    "push-instead-of": [("url.{base}/other.git.pushInsteadOf", "http://127.0.0.1")],
    "mirror": [("remote.{url}.mirror", "true"), ("remote.{url}.url", "{base}/other.git")],
    "remote-push-url": [("remote.{url}.url", "{url}"), ("remote.{url}.pushurl", "{base}/other.git")],
    "hooks": [("core.hooksPath", "{base}/traps")],
    "header": [("http.extraHeader", "Authorization: Basic YTpi")],
    "header-of-the-url": [("http.{url}.extraHeader", "Authorization: Basic YTpi")],
    "proxy": [("http.proxy", "http://127.0.0.1:1")],
    "proxy-of-the-url": [("http.{url}.proxy", "http://127.0.0.1:1")],
    "remote-proxy": [("remote.{url}.proxy", "http://127.0.0.1:1")],
    "credentials": [("credential.helper", "!{helper}"), ("credential.username", "someone"),
                    ("core.askPass", "{askpass}")],
    "monitor": [("core.fsmonitor", "{monitor}")],
    "protocols": [("protocol.allow", "never")],
    "http-forbidden": [("protocol.http.allow", "never")],
    "strict": [("transfer.fsckObjects", "true"), ("transfer.hideRefs", "refs/heads")],
    "signed-commits": [("commit.gpgSign", "true"), ("gpg.program", "{sign}")],
    "template": [("init.templateDir", "{base}/template"), ("init.defaultObjectFormat", "sha256")],
    "line-ends": [("core.autocrlf", "true"), ("core.eol", "crlf")],
    "ignored": [("core.excludesFile", "{base}/everything"), ("core.attributesFile", "{base}/attributes"),
                ],
    "maintenance": [("gc.auto", "1"), ("gc.autoDetach", "false"), ("maintenance.auto", "true")],
    "safe-bare": [("safe.bareRepository", "explicit")],
    "negotiation": [("push.negotiate", "true"), ("push.useForceIfIncludes", "true")],
}  # fmt: skip
SCOPES = ("system", "global", "repository", "environment", "command")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    base = tmp_path / "world"
    for name in ("work/app", "started", "traps", "template/hooks"):
        (base / name).mkdir(parents=True)
    for name in ("lab", "other", "part"):
        git(base, "init", "--quiet", "--bare", "--initial-branch=main", base / f"{name}.git")
    git(base, "init", "--quiet", "--initial-branch=main", base / "seed")
    git(base / "seed", "commit", "--quiet", "--allow-empty", "--message", "one")
    git(base / "seed", "push", "--quiet", base / "part.git", "main")
    work = base / "work"
    git(work, "init", "--quiet", "--initial-branch=main")
    git(work, "submodule", "--quiet", "add", base / "part.git", "part")
    git(work, "commit", "--quiet", "--message", "a part")
    git(work / "part", "commit", "--quiet", "--allow-empty", "--message", "pushed nowhere")
    (work / "app" / "file.yaml").write_text("one: 1\n")
    git(work, "remote", "add", "origin", base / "other.git")
    git(work, "add", "--all")
    git(work, "commit", "--quiet", "--message", "one")
    git(work, "tag", "--annotate", "--message", "a tag", "v1")
    (base / "everything").write_text("*\n")
    (base / "attributes").write_text("* text eol=crlf\n")
    with Server(base) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        made = World(base, server)
        for name in ("pre-push", "post-index-change", "reference-transaction", "post-commit", "pre-commit"):
            made.trap(name)
            (base / "template" / "hooks" / name).symlink_to(base / "traps" / name)
        yield made
        server.shutdown()
        thread.join()


def configure(world: World, scope: str, settings: list[tuple[str, str]], patch: pytest.MonkeyPatch) -> None:
    if scope == "repository":
        for key, value in settings:
            git(world.work, "config", "--add", key, value)
    elif scope == "environment":
        patch.setenv("GIT_CONFIG_COUNT", str(len(settings)))
        for number, (key, value) in enumerate(settings):
            patch.setenv(f"GIT_CONFIG_KEY_{number}", key)
            patch.setenv(f"GIT_CONFIG_VALUE_{number}", value)
    elif scope == "command":
        patch.setenv("GIT_CONFIG_PARAMETERS", " ".join(f"'{key}'='{value}'" for key, value in settings))
    else:
        file = world.base / f"{scope}.config"
        for key, value in settings:
            git(world.base, "config", "--file", file, "--add", key, value)
        patch.setenv(f"GIT_CONFIG_{scope.upper()}", str(file))


def nothing_else_happened(world: World) -> None:
    part = git(world.base / "seed", "rev-parse", "main")
    assert refs(world.base / "other.git") == {}
    assert refs(world.base / "part.git") == {"refs/heads/main": part}
    assert world.started == []


def a_push_works(world: World) -> None:
    sha = git(world.work, "rev-parse", "HEAD")
    assert repository.head(world.work, "app") == repository.Commit(sha, "app")
    world.push()
    assert refs(world.lab) == {"refs/heads/main": sha}
    nothing_else_happened(world)


def everything_works(world: World, tmp_path: Path) -> None:
    """Each operation that we have, with the facts that must hold after it."""
    a_push_works(world)
    proof = Worktree(tmp_path / "proof", "proof", "proof/1")
    proof.init()
    proof.commit({"a.yaml": "a: 1\n"}, "one")
    proof.commit({"a.yaml": "a: 2\n"}, "two")
    proof.revert()
    assert proof.read("a.yaml") == "a: 1\n"
    answer = proof.own.push(world.server.url, ["HEAD:refs/heads/proof"], user=USER, password=PASSWORD)
    assert answer.ok, answer.words
    assert git(world.lab, "show", "proof:proof/1/a.yaml") == "a: 1"
    kept = Own(tmp_path / "kept.git")
    kept.init()
    kept.fetch(world.server.url, "+refs/*:refs/*")
    assert kept.refs() == refs(world.lab) == command.refs(kept.remote_refs(world.server.url, "--refs").text)
    assert data_loss.unknown_commits(kept.root, kept.refs(), world.work) == {
        "refs/heads/main": 0,
        "refs/heads/proof": 3,
    }
    nothing_else_happened(world)


@pytest.mark.parametrize("name", HOSTILE)
def test_no_setting_of_the_repository_steers_a_push(world: World, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    configure(world, "repository", world.settings(name), monkeypatch)
    a_push_works(world)


@pytest.mark.parametrize("scope", SCOPES)
def test_no_settings_of_any_scope_steer_us(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str
) -> None:
    settings = [each for name in HOSTILE for each in world.settings(name)]
    configure(world, scope, settings, monkeypatch)
    everything_works(world, tmp_path)


def test_a_trace_that_the_user_configured_never_gets_the_password(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace = world.base / "trace"
    settings = [("trace2.normalTarget", str(trace)), ("trace2.configParams", "http.*"), ("trace2.envVars", "GIT_*")]
    configure(world, "global", settings, monkeypatch)
    for name in ("GIT_TRACE", "GIT_TRACE_CURL", "GIT_TRACE2", "GIT_TRACE2_EVENT"):
        monkeypatch.setenv(name, str(world.base / "started" / name))
    monkeypatch.setenv("GIT_TRACE_REDACT", "0")
    monkeypatch.setenv("GIT_CURL_VERBOSE", "1")
    world.push()
    assert world.started == []
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    text = trace.read_text()
    assert "rev-parse" in text
    assert token not in text
    assert "receive-pack" not in text


def test_the_variables_of_a_calling_hook_and_a_proxy_are_not_followed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = world.base / "seed"
    hook = {
        "GIT_DIR": other / ".git", "GIT_WORK_TREE": other, "GIT_INDEX_FILE": other / ".git" / "index",
        "GIT_OBJECT_DIRECTORY": other / ".git" / "objects", "GIT_COMMON_DIR": other / ".git", "GIT_PREFIX": "app/",
        "GIT_NAMESPACE": "elsewhere", "GIT_QUARANTINE_PATH": other, "GIT_LITERAL_PATHSPECS": "1",
        "GIT_ALLOW_PROTOCOL": "ssh", "GIT_DEFAULT_HASH": "sha256", "GIT_TEMPLATE_DIR": world.base / "template",
        "GIT_ASKPASS": world.trap("askpass"), "SSH_ASKPASS": world.trap("askpass"),
        "GIT_SSH_COMMAND": world.trap("ssh"), "GIT_EXTERNAL_DIFF": world.trap("helper"),
        "GIT_AUTHOR_DATE": "never", "GIT_ATTR_SOURCE": "HEAD", "GIT_SHALLOW_FILE": world.base / "everything",
    }  # fmt: skip
    for name, value in hook.items():
        monkeypatch.setenv(name, str(value))
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    everything_works(world, tmp_path)


def test_files_below_the_home_are_not_read(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "users-home"
    below = home / ".config" / "git"
    below.mkdir(parents=True)
    (below / "ignore").write_text("*\n")
    (below / "attributes").write_text("* text eol=crlf\n")
    (home / ".netrc").write_text("machine 127.0.0.1 login someone password of-the-user\n")
    (home / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(home))
    world.server.answered.clear()
    everything_works(world, tmp_path)
    token = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    assert {given for _, given in world.server.answered} == {None, f"Basic {token}"}


def test_a_wrong_password_asks_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(world, "repository", world.settings("credentials"), monkeypatch)
    monkeypatch.setenv("GIT_ASKPASS", world.trap("askpass"))
    commit = repository.head(world.work, "app")
    with pytest.raises(DeliveryError) as caught:
        repository.push(world.work, commit, world.server.url, "main", path="app", user=USER, password="wrong-one")
    assert caught.value.fix == "./run invoke gitops.serve"
    assert "wrong-one" not in caught.value.evidence
    assert refs(world.lab) == {}
    nothing_else_happened(world)


def test_a_push_changes_nothing_in_the_checkout(world: World) -> None:
    def state() -> dict[str, tuple[int, int]]:
        files = (path for path in world.work.rglob("*") if path.is_file())
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_size) for path in files}

    os.utime(world.work / "app" / "file.yaml", (1, 1))  # now `git status` would write the index anew
    before = state()
    world.push()
    assert state() == before


def test_a_push_that_is_not_needed_and_one_that_would_replace_commits(world: World) -> None:
    world.push()
    world.push()
    git(world.work, "commit", "--quiet", "--amend", "--message", "another one")
    with pytest.raises(repository.Rejected):
        world.push()
    world.push(force=True)
    assert refs(world.lab) == {"refs/heads/main": git(world.work, "rev-parse", "HEAD")}


def test_a_push_to_the_users_own_remote_is_theirs_but_takes_nothing_along(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    hook = world.work / ".git" / "hooks" / "pre-push"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {world.base}/started/theirs\n")
    hook.chmod(0o755)
    names = ("submodules", "submodules-on-demand", "submodules-only", "tags", "push-default")
    settings = [each for name in names for each in world.settings(name)]
    configure(world, "repository", settings, monkeypatch)
    configure(world, "environment", settings, monkeypatch)
    named = world.base / "named.git"
    git(world.base, "config", "--file", world.base / "user.config", f"url.{world.lab}.insteadOf", str(named))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(world.base / "user.config"))
    commit = repository.head(world.work, "app")
    remote.push(world.work, commit, str(named), "main")
    assert refs(world.lab) == {"refs/heads/main": commit.sha}
    assert world.started == ["theirs"]
    (world.base / "started" / "theirs").unlink()
    nothing_else_happened(world)


@pytest.fixture
def foreign(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    """git takes every repository for another user's, as it does in a CI job's container."""
    real = process.find("git")
    file = tmp_path / "bin" / "git"
    file.parent.mkdir()
    file.write_text(f'#!/bin/sh\nexport GIT_TEST_ASSUME_DIFFERENT_OWNER=1\nexec {real} "$@"\n')
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{file.parent}{os.pathsep}{os.environ['PATH']}")
    return world


def test_a_repository_of_another_user_is_named_with_the_right_advice(foreign: World) -> None:
    for ask in (
        lambda: repository.head(foreign.work, "app"),
        lambda: repository.resolve(foreign.work, "HEAD"),
        lambda: Checkout(foreign.work).layout(),
        lambda: Checkout(foreign.work).branch(),
    ):
        with pytest.raises(UsageError) as caught:
            ask()
        assert caught.value.fix == f"git config --global --add safe.directory {foreign.work}"


@pytest.mark.parametrize("scope", ["system", "global", "environment"])
def test_the_callers_trust_is_kept(foreign: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scope: str) -> None:
    trusted = [("safe.directory", str(foreign.work)), ("push.followTags", "true")]
    configure(foreign, scope, trusted, monkeypatch)
    everything_works(foreign, tmp_path)


def test_a_repository_with_other_names_for_commits_is_refused_by_that_name(tmp_path: Path) -> None:
    root = tmp_path / "new"
    git(tmp_path, "init", "--quiet", "--object-format=sha256", root)
    (root / "app").mkdir()
    (root / "app" / "file").touch()
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "one")
    with pytest.raises(UsageError) as caught:
        repository.head(root, "app")
    assert "SHA-256" in caught.value.message
    own = Own(tmp_path / "own.git")
    own.init()
    assert own.borrow_objects(root) is False


@pytest.mark.parametrize(
    "options",
    [("--depth=1",), ("--filter=blob:none",), ("--filter=blob:none", "--depth=1"), ("--shared",), ("--no-checkout",)],
    ids="".join,
)
def test_a_clone_of_any_kind_is_pushed(world: World, tmp_path: Path, options: tuple[str, ...]) -> None:
    for text in ("two", "three"):
        (world.work / "app" / "file.yaml").write_text(f"{text}: 1\n")
        git(world.work, "commit", "--quiet", "--all", "--message", text)
    git(world.work, "config", "uploadpack.allowFilter", "true")
    git(world.work, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(world.lab, "config", "receive.shallowUpdate", "true")
    clone = tmp_path / "clone"
    url = str(world.work) if options == ("--shared",) else f"file://{world.work}"
    git(tmp_path, "clone", "--quiet", *options, url, clone)
    made = World(world.base, world.server)
    commit = repository.head(clone, "app")
    repository.push(clone, commit, made.server.url, "main", path="app", user=USER, password=PASSWORD)
    assert refs(world.lab) == {"refs/heads/main": commit.sha}
    assert git(world.lab, "fsck", "--strict") == ""
    history = "1" if "--depth=1" in options else "4"
    assert git(world.lab, "rev-list", "--count", "main") == history


def test_a_linked_work_tree_below_odd_names_is_pushed(world: World) -> None:
    side = world.base / '"odd" näme\\x'
    git(world.work, "worktree", "add", "--quiet", "-b", "side", side)
    git(side, "commit", "--quiet", "--allow-empty", "--message", "side")
    commit = repository.head(side, "app")
    (side / "app" / "grün *.yaml").touch()
    assert repository.uncommitted(side, "app") == ["app/grün *.yaml"]
    repository.push(side, commit, world.server.url, "main", path="app", user=USER, password=PASSWORD)
    assert refs(world.lab) == {"refs/heads/main": commit.sha}


def test_an_author_of_the_environment_does_not_sign_our_commits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_AUTHOR_NAME", "GIT_COMMITTER_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_EMAIL", "EMAIL"):
        monkeypatch.setenv(name, "someone")
    own = Own(tmp_path / "own")
    own.init(bare=False, branch="b")
    own.commit("one", *AUTHOR)
    assert git(own.root, "log", "--format=%an %ae %cn %ce") == " ".join((*AUTHOR, *AUTHOR))


def test_a_repository_knows_which_commit_follows_which(world: World) -> None:
    older = git(world.work, "rev-parse", "HEAD")
    git(world.work, "commit", "--quiet", "--allow-empty", "--message", "newer")
    newer = git(world.work, "rev-parse", "HEAD")
    held = repository.history(world.work, f"main@sha1:{older}")
    assert [held.follows(sha) for sha in (newer, older, "0" * 40)] == [True, False, None]
    assert repository.history(world.work, newer).follows(older) is False
    assert repository.history(world.base / "traps", older).follows(newer) is None, "that is no repository"


@pytest.mark.parametrize(
    ("words", "fix"),
    [
        ("fatal: not a git repository (or any of the parent directories): .git", "git init"),
        ("error: unable to write file: No space left on device", "space"),
        ("fatal: unknown repository extension found: refstorage", "newer git"),
        ("fatal: cannot open '.git/HEAD': Permission denied", "access"),
        ("fatal: bad object HEAD", "otherwise"),
    ],
)
def test_advice_is_about_the_failure(words: str, fix: str) -> None:
    assert fix in command.advice(words, "otherwise")


def test_names_that_are_not_ascii_are_shown_as_they_are(tmp_path: Path) -> None:
    git(tmp_path, "init", "--quiet")
    (tmp_path / "größe.yaml").write_text("a: 1\n")
    git(tmp_path, "add", "--all")
    answer = command.run(tmp_path, command.NO_MAINTENANCE, ["ls-files"], command.environment(own=False))
    assert answer.words == "größe.yaml"


def test_removed_apis_are_found_in_the_commit_and_not_in_the_work_tree(tmp_path: Path) -> None:
    top, project = tmp_path / "top", tmp_path / "top" / "project"
    (project / "apps").mkdir(parents=True)
    git(tmp_path, "init", "--quiet", "top")
    old = "apiVersion: helm.toolkit.fluxcd.io/v2beta2\nkind: HelmRelease\n"
    (project / "apps" / "old.yaml").write_text("# apiVersion: source.toolkit.fluxcd.io/v1beta2\n---\n" + old)
    (project / "list.yml").write_text('items:\n  - apiVersion: "kustomize.toolkit.fluxcd.io/v1beta1"\n')
    (project / "new.yaml").write_text("apiVersion: kustomize.toolkit.fluxcd.io/v1\n")
    (project / "README.md").write_text(old)
    (top / "outside.yaml").write_text(old)
    git(top, "add", "--all")
    git(top, "commit", "--quiet", "--message", "files")
    sha = git(top, "rev-parse", "HEAD")
    (project / "uncommitted.yaml").write_text(old)
    lines = repository.matching(project, sha, removed_apis.PATTERN)
    assert [line.partition(":")[0] for line in lines] == ["apps/old.yaml", "list.yml"]
    helm, kustomize = removed_apis.in_files(lines, "2.9.5")
    assert helm.startswith("apps/old.yaml: helm.toolkit.fluxcd.io/v2beta2 is gone since Flux 2.8")
    assert kustomize.startswith("list.yml: kustomize.toolkit.fluxcd.io/v1beta1 is gone since Flux 2.7")
    assert repository.matching(project, "0" * 40, removed_apis.PATTERN) == []
    assert repository.matching(tmp_path, sha, removed_apis.PATTERN) == [], "no repository"
