"""A copy of the repository in which the e2e tests run tasks."""

from __future__ import annotations

import functools
import json
import shutil
import socket
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from threezone.core import labels, process
from threezone.core.process import Completed
from threezone.tasks.outputs import TYPES

ROOT = Path(__file__).resolve().parents[2]
NAME = "threezone-e2e"
BY_HAND = "threezone-made-by-hand"  # nobody's own cluster has this name


def free_port(*wanted: int) -> int:
    """The first of these ports that is free on loopback, else the last."""
    for port in wanted:
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if tried.connect_ex(("127.0.0.1", port)) != 0:
                return port
    return wanted[-1]


# 6443, unless it is in use: the user's own lab may run beside the tests.
PORT = free_port(6443, 16443)
GATEWAY, GATEWAY_PORT = "threezone-gateway", 26443

FOREIGN = {
    "apiVersion": "v1",
    "kind": "Config",
    "preferences": {"colors": True},
    "clusters": [{"name": "433e40", "cluster": {"server": "https://[::1]:9", "x-of-somebody": "kept"}}],
    "users": [{"name": "on", "user": {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "/none"}}}],
    "contexts": [{"name": "0o17", "context": {"cluster": "433e40", "user": "on", "namespace": "null"}}],
    "current-context": "0o17",
}


@dataclass(frozen=True)
class Ran:
    """A command that a test ran, in any place, and its exit code."""

    argv: tuple[str, ...]
    exit_code: int

    @classmethod
    def record(cls, argv: Iterable[str | Path], exit_code: int) -> None:
        """Record a command, to compare README and docs/ with it."""
        RAN.append(cls(tuple(map(str, argv)), exit_code))


RAN: list[Ran] = []


@dataclass(frozen=True)
class Project:
    """A copy of the repository, and the environment in which tasks run."""

    root: Path
    kubeconfig: Path
    state: Path

    @property
    def env(self) -> dict[str, str]:
        places = {"KUBECONFIG": str(self.kubeconfig), "THREEZONE_STATE": str(self.state)}
        return {**places, "PYTHONFAULTHANDLER": "1"}  # a crash of Python itself would say nothing

    def run(
        self,
        *argv: str | Path,
        check: bool = True,
        timeout: float = 600,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> Completed:
        changes = {**self.env, **(env or {})}
        done = process.run([*argv], cwd=self.root, env=changes, timeout=timeout, stdin=stdin, check=False)
        Ran.record(argv, done.exit_code)
        if check and done.exit_code != 0:
            pytest.fail(f"{argv} ended with {done.exit_code}\n{done.stdout}\n{done.stderr}")
        return done

    def invoke(
        self,
        *argv: str,
        check: bool = True,
        timeout: float = 600,
        env: Mapping[str, str] | None = None,
        stdin: str | None = None,
    ) -> Completed:
        done = self.run("./run", "invoke", *argv, check=check, timeout=timeout, env=env, stdin=stdin)
        if "--json" in argv and argv[0] in TYPES and done.stdout:
            msgspec.convert(json.loads(done.stdout), TYPES[argv[0]], strict=True)  # raises for another key or type
        return done

    def kubectl(self, *argv: str, context: str = f"kind-{NAME}", check: bool = True) -> Completed:
        return self.run(self.tool("kubectl"), "--context", context, *argv, check=check)

    def json(self, *argv: str, context: str = f"kind-{NAME}") -> Any:
        return json.loads(self.kubectl(*argv, "-o", "json", context=context).stdout)

    def tool(self, name: str) -> Path:
        return _tools(self) / name

    def view(self) -> Any:
        """The kubeconfig as kubectl reads it."""
        return json.loads(self.run(self.tool("kubectl"), "config", "view", "--raw", "-o", "json").stdout)

    def commit(self, message: str) -> str:
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--message", message)
        return self.run("git", "rev-parse", "HEAD").stdout.strip()

    def write(self, path: str, text: str) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


@functools.cache  # many calls, and some tests measure time
def _tools(project: Project) -> Path:
    """The directory of the project's programs."""
    return Path(project.invoke("tools.list", "--path").stdout.strip())


def copy_of_repository(target: Path) -> None:
    """Copy tracked and new files, without ignored ones, into a new git repository."""
    listed = process.run(["git", "-C", ROOT, "ls-files", "-co", "--exclude-standard", "-z"], timeout=60).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    for argv in (
        ("init", "--quiet", "--initial-branch=main"),
        ("config", "user.name", "A User"),
        ("config", "user.email", "user@example.invalid"),
        ("add", "--all"),
        ("commit", "--quiet", "--message", "A project of one's own"),
    ):
        process.run(["git", "-C", target, *argv], timeout=60)


def without(view: Any, name: str) -> Any:
    """A kubeconfig as kubectl reads it, without the entries of one context and without the current context."""
    return {
        key: [entry for entry in value if entry["name"] != name] if isinstance(value, list) else value
        for key, value in view.items()
        if key != "current-context"
    }


def registry_logins(project: Project) -> dict[str, str]:
    """The login of the local registry in Base64, by each of its names."""
    written = json.loads(project.invoke("registry.login", "--output", "/dev/stdout").stdout)
    return {name: login["auth"] for name, login in written["auths"].items()}


@contextmanager
def docker_logged_in(project: Project, directory: Path) -> Iterator[None]:
    """Log docker in to the local registry for the block, in a configuration of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DOCKER_CONFIG", str(directory))
        project.invoke("registry.login")
        yield


@contextmanager
def registry_of_others_kept() -> Iterator[None]:
    """Restore the ConfigMap that names the local registry, which `registry.start` changes in every cluster of ours."""
    planes = ["--filter=label=io.x-k8s.kind.role=control-plane", f"--filter=label={labels.OWNER}"]
    nodes = process.run(["docker", "ps", *planes, "--format={{.Names}}"], timeout=30).stdout.split()
    kubectl = ("kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "--namespace=kube-public")
    get = (*kubectl, "get", "configmaps", "--field-selector=metadata.name=local-registry-hosting", "--output=json")
    saved = {}
    for node in nodes:
        answer = process.run(["docker", "exec", node, *get], timeout=60, check=False)
        if answer.exit_code == 0 and (found := json.loads(answer.stdout)["items"]):
            metadata = {key: found[0]["metadata"].get(key) for key in ("name", "namespace", "labels", "annotations")}
            saved[node] = {**found[0], "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}
    yield
    for node, config_map in saved.items():
        apply = [
            "docker",
            "exec",
            "--interactive",
            node,
            *kubectl,
            "apply",
            "--server-side",
            "--force-conflicts",
            "-f-",
        ]
        process.run(apply, stdin=json.dumps(config_map), timeout=60, check=False)


def untouchable(project: Project) -> dict[str, Any]:
    """The state of the cluster made by hand: container ids, creation times, namespaces."""
    ids = project.run(
        "docker",
        "ps",
        "--no-trunc",
        "--filter",
        f"label=io.x-k8s.kind.cluster={BY_HAND}",
        "--format",
        "{{.ID}} {{.CreatedAt}}",
    ).stdout
    namespaces = project.json("get", "namespaces", context=f"kind-{BY_HAND}")["items"]
    return {"containers": ids, "namespaces": sorted(item["metadata"]["uid"] for item in namespaces)}
