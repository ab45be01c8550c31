"""The user's Git repository: which commit is to be delivered, and pushing it to the lab's Git server."""

from __future__ import annotations

import base64
import queue
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from threezone.core import process
from threezone.core.errors import DeliveryError, UsageError
from threezone.core.events import note, step

FOREVER = 365 * 86400.0  # seconds: as long as the user lets it stand


class Rejected(DeliveryError):
    """The Git server's branch has commits that the pushed one does not follow from: git pushes only what does."""


@dataclass(frozen=True)
class Commit:
    """The committed state of a project: HEAD's full SHA, and the delivered path as that commit spells it.

    The two paths differ where the project is a directory inside its repository.
    """

    sha: str
    path: str


def head(root: Path, path: str, name: str = "HEAD") -> Commit:
    """The commit `name` of the repository at `root`. Raises UsageError when there is none, or `path` is not in it."""
    wanted = (f"{name}^{{commit}}", "--show-prefix", f"{name}:./{path}")
    asked = process.run(["git", "-C", root, "rev-parse", *wanted], timeout=60, check=False)
    if asked.exit_code == 0:
        sha, prefix, _tree = asked.stdout.splitlines()
        return Commit(sha, f"{prefix}{path}")
    seen = process.run(["git", "-C", root, "rev-parse", "--verify", f"{name}^{{commit}}"], timeout=60, check=False)
    if seen.exit_code != 0:
        raise UsageError(
            f"{root} has no commit to deliver",
            evidence=seen.stderr.strip(),
            fix="git init, git add, git commit: Flux delivers commits",
        )
    raise UsageError(
        f"the commit {seen.stdout[:7]} does not contain {path}",
        fix="commit it, or name another threezone.gitops.path in invoke.yaml",
    )


def resolve(root: Path, name: str) -> str:
    """The SHA of the commit that `name` (HEAD, a branch, a tag) is in the repository at `root`. Raises UsageError."""
    asked = process.run(
        ["git", "-C", root, "rev-parse", "--verify", "--end-of-options", f"{name}^{{commit}}"], timeout=60, check=False
    )
    if asked.exit_code != 0:
        raise UsageError(
            f"{name!r} is no commit of {root}",
            evidence=asked.stderr.strip(),
            fix="name a SHA, a revision as Flux spells it (main@sha1:…), or HEAD",
        )
    return asked.stdout.strip()


def uncommitted(root: Path, path: str) -> list[str]:
    """Files beside the delivered ones (below the first directory of `path`) that differ from the commit."""
    area = Path(path).parts[0] if Path(path).parts else "."
    changed = process.run(["git", "-C", root, "status", "--porcelain", "--", area], timeout=60, check=False)
    return [line[3:] for line in changed.stdout.splitlines()]


@dataclass(frozen=True)
class Forward:
    """An open port-forward: its `address` on this machine's loopback, and the kubectl that carries it."""

    address: str
    kubectl: process.Running

    def wait(self) -> None:
        """Return when the forward has ended (its pod has gone, say)."""
        self.kubectl.wait(FOREVER)


@contextmanager
def forwarded(
    kubectl: Path, context: str, namespace: str, target: str, port: int, *, local: int = 0
) -> Iterator[Forward]:
    """Carry a port of the cluster to `127.0.0.1` while the block runs; `local` 0 lets the system choose."""
    lines: queue.Queue[str] = queue.Queue()
    argv: list[str | Path] = [kubectl, "--context", context, "--namespace", namespace, "port-forward"]
    argv += ["--address", "127.0.0.1", target, f"{local or ''}:{port}"]
    with process.Running(argv, on_line=lines.put) as running:
        try:
            first = lines.get(timeout=30)
        except queue.Empty:
            first = "no answer within 30 s"
        match = re.search(r"Forwarding from (127\.0\.0\.1:\d+)", first)
        if not match:
            raise DeliveryError(
                f"no way to {target} in {namespace}", evidence=running.tail or first, fix="./run invoke status"
            )
        yield Forward(match.group(1), running)


def send(
    root: Path,
    url: str,
    refspecs: Sequence[str],
    *,
    user: str,
    password: str,
    env: Mapping[str, str | None] | None = None,
    force: bool = False,
) -> process.Completed:
    """`git push` with a password, which travels in the environment and never in arguments. Raises nothing.

    `env` are further changes to git's environment. The result's words may hold the password: redact them.
    """
    process.keep_secret(password)
    token = base64.b64encode(f"{user}:{password}".encode()).decode()
    process.keep_secret(token)
    return process.run(
        # The lab is not where the project's own hooks are meant to run.
        ["git", "-C", root, "-c", "core.hooksPath=/dev/null", "-c", "credential.helper=", "push", "--porcelain",
         *(["--force"] if force else []), url, *refspecs],
        env={
            **(env or {}),
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_COUNT": "1",
            "GIT_CONFIG_KEY_0": f"http.{url}.extraHeader",
            "GIT_CONFIG_VALUE_0": f"Authorization: Basic {token}",
            # The push goes to loopback: a proxy of the environment has no business there.
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
        },
        timeout=300,
        check=False,
    )  # fmt: skip


def push(
    root: Path, commit: Commit, url: str, branch: str, *, path: str, user: str, password: str, force: bool = False
) -> None:
    """Push `commit` to `branch` at `url`; what differs from it beside `path` is told."""
    with step(f"push {commit.sha[:7]} to the lab's Git server") as running:
        for file in uncommitted(root, path)[:5]:
            note(f"not delivered, because not committed: {file}")
        refspec = f"{commit.sha}:refs/heads/{branch}"
        done = send(root, url, [refspec], user=user, password=password, force=force)
        if done.exit_code == 0:
            running.result = "already there" if "[up to date]" in done.stdout else ""
            return
        words = process.redact(done.stdout + done.stderr).strip()
        if "[rejected]" in words:
            raise Rejected(
                f"the lab's branch {branch} has commits that {commit.sha[:7]} does not follow from",
                evidence=words,
                fix="./run invoke gitops.push --force replaces what the lab holds by your commit",
            )
        raise DeliveryError("the push to the lab's Git server failed", evidence=words, fix="./run invoke gitops.serve")
