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
from threezone.zones.export import path as place
from threezone.zones.export import tokens

DIRECTORY = "tokens"
IGNORE = "*\n"  # the directory ignores itself: whatever stands in it is never picked up by git


@dataclass(frozen=True)
class Written:
    """A token in its file: whose it is, and its end as the server set it (RFC 3339, UTC)."""

    path: Path
    account: str
    ends: str


def write(api: Api, lab: Lab, *, role: str, account: str, hours: int, output: str) -> Written:
    """Ask for a token, of a cluster role or of a service account NAMESPACE/NAME, and write it (0600).

    Raises UsageError for what cannot be asked, and for a file that git would pick up; nothing is asked then.
    """
    namespace, _, name = account.partition("/")
    if account and not (namespace and name):
        raise UsageError(f"--account {account}: expected NAMESPACE/NAME")
    if account and role:
        raise UsageError("a token has a role or is an account's: --role and --account exclude each other")
    role = role or "view"
    path = _place(lab, output, account.replace("/", ".") or role)
    token = tokens.of_account(api, namespace, name, hours) if account else tokens.request(api, role, hours)
    core.write_output(path, token.value, fix="name another file with --output")  # no line end: it is pasted whole
    return Written(path, token.account, token.ends)


def remove(api: Api, lab: Lab) -> tuple[str, ...]:
    """End every token of a role at once, and remove the files of this cluster; the names of both."""
    gone = list(tokens.ours(api))
    for name in gone:
        tokens.revoke(api, name)
    for file in sorted(files(lab)):
        file.unlink(missing_ok=True)
        gone.append(str(file))
    return tuple(gone)


def files(lab: Lab) -> tuple[Path, ...]:
    """The files that `write` made for this cluster, where no other was named."""
    return tuple((lab.root / DIRECTORY).glob(f"{paths.slug(lab.context)}.*.token"))


def _place(lab: Lab, output: str, what: str) -> Path:
    if output:
        path = Path(os.path.abspath(output))  # noqa: PTH100 - links stay as they were named
        place.refuse_in_git(path, f"it goes to {lab.root / DIRECTORY} then")
        if path.is_dir():
            raise UsageError(f"{path} is a directory", fix="name a file in it")
        return path
    directory = lab.root / DIRECTORY
    directory.mkdir(mode=0o700, exist_ok=True)
    ignore = directory / ".gitignore"
    if not ignore.exists():
        core.write_atomic(ignore, IGNORE, None)
    path = directory / f"{paths.slug(lab.context)}.{what}.token"
    place.refuse_in_git(path, "the directory's own .gitignore was changed: it has to name *")
    return path
