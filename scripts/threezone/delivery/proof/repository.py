"""The proof's commits: made in a repository of its own, and pushed to the lab's Git server."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.git import command
from threezone.clients.git.command import Answer
from threezone.clients.git.own import Own
from threezone.clients.kubectl import Forward
from threezone.cluster.lab import Lab
from threezone.core.errors import DeliveryError
from threezone.delivery import git_server
from threezone.delivery.proof.manifests import Files

AUTHOR = ("threezone proof", "proof@threezone.invalid")
FINAL = ("[rejected]", "[remote rejected]", "Authentication failed", "403", "not found")  # trying again does not help


@dataclass(frozen=True)
class Worktree:
    """A repository at `root` (an empty directory) with one branch, which holds files below `path` and nothing else."""

    root: Path
    branch: str
    path: str

    @property
    def own(self) -> Own:
        """The repository, isolated from the user's settings and identity."""
        return Own(self.root)

    def init(self) -> None:
        """Create the repository; it has no commit yet."""
        self.own.init(bare=False, branch=self.branch)

    def commit(self, files: Files, message: str) -> str:
        """Commit exactly `files` below the path, even when nothing changes. Returns the SHA."""
        directory = self.root / self.path
        directory.mkdir(parents=True, exist_ok=True)
        for old in directory.iterdir():
            old.unlink()
        for name, content in files.items():
            (directory / name).write_text(content)
        return self.own.commit(message, *AUTHOR)

    def revert(self) -> str:
        """Revert the last commit. Returns the revert's SHA."""
        return self.own.revert(*AUTHOR)

    def read(self, name: str) -> str:
        """A file's content in the last commit."""
        return self.own.read(f"{self.path}/{name}")


class Remote:
    """The lab's repository on its Git server, through a port-forward that is opened again when it breaks.

    Works in the directory `root`. Every method takes at most `seconds`, and raises DeliveryError when the Git server
    does not run or refuses.
    """

    def __init__(self, lab: Lab, root: Path, seconds: float) -> None:
        self._lab = lab
        self._forwards = ExitStack()
        self._seconds = seconds
        self._empty = Own(root)
        self._empty.init()
        self._repository = lab.settings.gitops.repository
        self._password = git_server.password(lab.api, lab.key)
        self._forward: Forward | None = None

    def close(self) -> None:
        """Close the port-forward."""
        self._forward = None
        self._forwards.close()

    @property
    def url(self) -> str:
        """The repository's address inside the cluster."""
        return git_server.url(self._repository)

    def push(self, work: Worktree) -> None:
        """Push the branch of `work`."""
        self._push(work.own, f"HEAD:refs/heads/{work.branch}")

    def delete(self, branch: str) -> None:
        """Delete a branch; a missing one is ignored."""
        if branch in self.branches():
            self._push(self._empty, f":refs/heads/{branch}")

    def branches(self) -> list[str]:
        """The repository's branches."""
        answer = self._retry(lambda address: self._empty.remote_refs(address, "--heads"))
        return [name.removeprefix("refs/heads/") for name in command.refs(answer.text)]

    def _push(self, own: Own, refspec: str) -> None:
        self._retry(lambda address: own.push(address, [refspec], user=git_server.USER, password=self._password))

    def _retry(self, ask: Callable[[str], Answer]) -> Answer:
        """Call `ask` with the repository's address, again while the Git server or the way to it restarts."""
        deadline = time.monotonic() + self._seconds
        while not (answer := ask(self._address(deadline))).ok:
            if time.monotonic() > deadline or any(word in answer.words for word in FINAL):
                raise DeliveryError(
                    "the lab's Git server refuses or fails", evidence=answer.words, fix="./run invoke gitops.serve"
                )
            self._forward = None  # it may seem to work and does not
        return answer

    def _address(self, deadline: float) -> str:
        """The repository's address on this machine."""
        while self._forward is None or not self._forward.kubectl.alive:
            self.close()
            self._require_server(deadline)
            try:
                self._forward = self._forwards.enter_context(git_server.forwarded(self._lab))
            except DeliveryError:
                if time.monotonic() > deadline:
                    raise
            else:
                break
        return f"http://{self._forward.address}/{self._repository}.git"

    def _require_server(self, deadline: float) -> None:
        """Wait for the Git server. Raises DeliveryError at once for one that is not meant to run."""
        api = self._lab.api.retrying(lambda: deadline)
        deployment = git_server.find_deployment(api)
        if deployment is None or not deployment["spec"].get("replicas", 1):
            name = f"{git_server.NAMESPACE}/{git_server.NAME}"
            raise DeliveryError(
                "the lab's Git server does not run: there is nowhere to push to",
                evidence=f"there is no deployment {name}" if deployment is None else f"deployment {name}: replicas 0",
                fix="./run invoke gitops.serve",
            )
        if not (deployment.get("status") or {}).get("availableReplicas"):
            git_server.wait_ready(api, max(0.0, deadline - time.monotonic()))
