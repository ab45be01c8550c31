"""addon.token: a short-lived login as a file, for a dashboard or a script; never an argument, a log or a commit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.kubernetes.api import Api
from threezone.cluster.lab import Lab
from threezone.core import files as core
from threezone.core import paths
from threezone.core.errors import UsageError
from threezone.zones.export import path as export_path
from threezone.zones.export import tokens

DIRECTORY = "tokens"
IGNORE = "*\n"  # git ignores everything in the directory, this file too


@dataclass(frozen=True)
class Written:
    """A token in its file: its account, and its end as the server set it (RFC 3339, UTC)."""

    path: Path
    account: str
    ends: str


def write(api: Api, lab: Lab, *, role: str, account: str, hours: int, output: str) -> Written:
    """Write a token of a cluster role, or of a service account NAMESPACE/NAME, into a file (0600).

    Raises UsageError for wrong options, and for a file that git would pick up; no token is made then.
    """
    namespace, _, name = account.partition("/")
    if account and not (namespace and name):
        raise UsageError(f"--account {account}: expected NAMESPACE/NAME")
    if account and role:
        raise UsageError("a token has a role or is an account's: --role and --account exclude each other")
    role = role or "view"
    path = _file(lab, output, account.replace("/", ".") or role)
    token = tokens.of_account(api, namespace, name, hours) if account else tokens.request(api, role, hours)
    core.write_output(path, token.value, fix="name another file with --output")  # no line end: it is pasted whole
    return Written(path, token.account, token.ends)


def remove(api: Api, lab: Lab) -> tuple[str, ...]:
    """End all tokens of roles now, and remove this cluster's files; returns the names of both."""
    removed = list(tokens.ours(api))
    for name in removed:
        tokens.revoke(api, name)
    for file in sorted(files(lab)):
        file.unlink(missing_ok=True)
        removed.append(str(file))
    return tuple(removed)


def files(lab: Lab) -> tuple[Path, ...]:
    """The files of this cluster in the project's directory of tokens."""
    return tuple((lab.root / DIRECTORY).glob(f"{paths.slug(lab.context)}.*.token"))


def _file(lab: Lab, output: str, name: str) -> Path:
    """The file for a token. Raises UsageError where git would pick it up."""
    if output:
        path = Path(os.path.abspath(output))  # noqa: PTH100 - links stay as they were named
        export_path.refuse_in_git(path, f"it goes to {lab.root / DIRECTORY} then")
        if path.is_dir():
            raise UsageError(f"{path} is a directory", fix="name a file in it")
        return path
    directory = lab.root / DIRECTORY
    directory.mkdir(mode=0o700, exist_ok=True)
    ignore = directory / ".gitignore"
    if not ignore.exists():
        core.write_atomic(ignore, IGNORE, None)
    path = directory / f"{paths.slug(lab.context)}.{name}.token"
    export_path.refuse_in_git(path, "the directory's own .gitignore was changed: it has to name *")
    return path
