"""Run git with our settings and environment."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from threezone.core import process, redaction
from threezone.core.errors import DeliveryError

SECONDS, LONG, PUSH = 60.0, 600.0, 300.0
# The variables of the caller that are kept. Of the others, GIT_CONFIG_PARAMETERS (from `git -c`) is for one command,
# GIT_TRACE* prints secrets, and the rest names a repository (for hooks) or changes what is pushed.
FROM_CALLER = re.compile(
    r"GIT_(CONFIG_(COUNT|KEY_\d+|VALUE_\d+|GLOBAL|SYSTEM|NOSYSTEM)|EXEC_PATH|CEILING_DIRECTORIES"
    r"|DISCOVERY_ACROSS_FILESYSTEM|SSH|SSH_COMMAND|SSH_VARIANT|ASKPASS|SSL_\w+|HTTP_\w+|PROXY_\w+|ALLOW_PROTOCOL)"
)
NO_MAINTENANCE = (
    "core.fsmonitor=", "gc.auto=0", "maintenance.auto=false", "submodule.recurse=false", "core.quotePath=false",
)  # fmt: skip
PUSH_ARGUMENTS = ("push", "--porcelain", "--no-recurse-submodules", "--no-follow-tags")


class GitFailed(DeliveryError):
    """A git command failed in a repository of ours."""


@dataclass(frozen=True)
class Answer:
    """git's answer: `text` is stdout as data, `words` is all output, redacted."""

    code: int
    text: str
    words: str

    @property
    def ok(self) -> bool:
        """Whether git succeeded."""
        return self.code == 0

    @property
    def up_to_date(self) -> bool:
        """Whether a push had nothing to do."""
        return self.ok and "[up to date]" in self.text

    @property
    def rejected(self) -> bool:
        """Whether a push was refused because of the commits that the remote has."""
        return "[rejected]" in self.text

    @property
    def refused(self) -> bool:
        """Whether the remote refused a push for any reason."""
        return self.rejected or "[remote rejected]" in self.text

    @property
    def is_remote_failure(self) -> bool:
        """Whether the remote or the connection failed."""
        parts = ("unable to access", "RPC failed", "not found", "remote", "Authentication failed", "could not read")
        return any(part in self.words for part in parts)


# What git cannot do where it runs, and what to do about it; nothing of this is wrong in the repository.
ADVICE = {
    "not a git repository": "git init, git add, git commit: Flux delivers commits",
    "No space left on device": "free some space, and try again",
    "Disk quota exceeded": "free some space, and try again",
    "Permission denied": "give this user access to the files that git names",
    "insufficient permission": "give this user access to the files that git names",
    "repository extension": "use a newer git, which knows this kind of repository",
    "git repo version": "use a newer git, which knows this kind of repository",
}


def advice(words: str, otherwise: str) -> str:
    """What to do about a failure in git's words; `otherwise` for one that is not known. Pure."""
    return next((fix for part, fix in ADVICE.items() if part in words), otherwise)


def installed() -> bool:
    """Whether git is on PATH."""
    return process.find("git") is not None


def refs(text: str) -> dict[str, str]:
    """The refs in git's lines `SHA<tab>NAME`. Pure."""
    return {name: sha for sha, _, name in (line.partition("\t") for line in text.splitlines())}


def run(
    root: Path,
    settings: Sequence[str],
    argv: Sequence[str | Path],
    env: Mapping[str, str | None],
    *,
    seconds: float = SECONDS,
    stdin: str = "",
) -> Answer:
    """Run git in `root` with `settings` (`key=value`). Raises CommandFailed after `seconds`."""
    options = [part for setting in settings for part in ("-c", setting)]
    command: list[str | Path] = ["git", *options, "-C", root, *argv]
    done = process.run(command, env=env, timeout=seconds, stdin=stdin, check=False)
    return Answer(done.exit_code, done.stdout, redaction.redact(f"{done.stdout}{done.stderr}").strip())


def environment(*, own: bool) -> dict[str, str | None]:
    """The changes to our environment for git, in a repository of our `own` or in the user's."""
    passed = re.compile("GIT_EXEC_PATH") if own else FROM_CALLER
    env: dict[str, str | None] = {
        name: None for name in os.environ if name.startswith("GIT_") and not passed.fullmatch(name)
    }
    env |= {
        "LC_ALL": "C",  # its messages are compared with English ones
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",  # read the objects that are pushed
    }
    if own:
        env |= {
            # git also reads ignore, attributes and .netrc below HOME.
            **dict.fromkeys(("HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"), os.devnull),
            "GIT_CONFIG_NOSYSTEM": "1",
            "SSH_ASKPASS": None,
            "GIT_ATTR_NOSYSTEM": "1",
            **dict.fromkeys(("NO_PROXY", "no_proxy"), "*"),  # its remotes are on loopback
        }
    return env
