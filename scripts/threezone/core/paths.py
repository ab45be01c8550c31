"""The cache and state directories. Both may be deleted at any time.

state/clusters/NAME/    git-password, kind/, kubeconfig/, rescued/: the state of one cluster
state/contexts/SLUG/    the same for a cluster that is not ours, by its context
state/runs/             records of the last runs
state/…                 logs, daemons, adopted
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from contextlib import suppress
from pathlib import Path

from threezone.core import names
from threezone.core.errors import UsageError

FOREIGN = "context:"  # before a context; no cluster name has a colon
PASSWORD = "git-password"  # noqa: S105  the file's name
GIT_BACKUPS = "rescued"
BACKUP_LIST = "rescue.json"
LOCKS = ("watch-next.lock", "watch-now.lock")


def _base(variable: str, below_home: str) -> Path:
    configured = os.environ.get(variable)
    if configured and Path(configured).is_absolute():  # the XDG specification: relative paths are ignored
        return Path(configured)
    return Path.home() / below_home  # without HOME, Python asks the password database; /tmp would be unsafe


def cache_dir() -> Path:
    """The directory of environments, tools and images, which can be fetched or built again. All checkouts share it."""
    configured = os.environ.get("THREEZONE_CACHE")
    return Path(configured) if configured else _base("XDG_CACHE_HOME", ".cache") / "threezone"


def state_dir() -> Path:
    """The directory of logs and of each cluster's state. It is created with mode 0700."""
    configured = os.environ.get("THREEZONE_STATE")
    path = Path(configured) if configured else _base("XDG_STATE_HOME", ".local/state") / "threezone"
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise UsageError(
            f"the directory for state cannot be made: {path}: {os.strerror(error.errno or 0)}",
            fix="export THREEZONE_STATE=/a/directory/of/yours",
        ) from None
    return path


def cluster_dir(key: str) -> Path:
    """The directory of a cluster's state. `key` is its name, or FOREIGN and the context of a cluster that is not ours.

    It may not exist yet. State of older releases is moved into it. Raises UsageError for an invalid name.
    """
    state, context = state_dir(), key.removeprefix(FOREIGN)
    if context != key:
        directory, old = state / "contexts" / slug(context), state / f"context-{_old_slug(context)}"
    else:
        directory, old = state / "clusters" / names.cluster(key), state / key
    with suppress(OSError):  # a read-only directory stays as it is
        _migrate(key, old, directory)
    return directory


def make(directory: Path) -> Path:
    """Create a directory and its parents with mode 0700."""
    if not directory.is_dir():
        make(directory.parent)
        directory.mkdir(exist_ok=True, mode=0o700)
    return directory


def slug(context: str) -> str:
    """A file name without dots for a context. No two contexts share one, even if case is ignored. Pure."""
    if re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,62}", context) and not re.search(r"-[0-9a-f]{32}\Z", context):
        return context
    plain = re.sub(r"[^a-z0-9]+", "-", context.lower())[:40].strip("-") or "context"
    return f"{plain}-{_digest(context)[:32]}"


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def _old_slug(context: str) -> str:
    """The file name of a context in releases before the directory `contexts`; two contexts could share one."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", context).lstrip("._-")
    return plain if plain == context else f"{plain[-60:]}-{_digest(context)[:8]}"


def _migrate(key: str, old: Path, directory: Path) -> None:
    """Move a cluster's state of older releases: STATE/NAME/git-password and STATE/rescued/NAME/*.

    Each file is renamed if its new path is free, so a killed run can be repeated. Nothing else is moved: `rescued`,
    `logs` and `kind` may also be cluster names.
    """
    if directory.is_file():  # the old password of a cluster named clusters
        cluster_dir(directory.parent.name)
    # `context-…` belonged to an adopted context. A cluster with such a name fetches its password again.
    is_of_key = key.startswith(FOREIGN) or not key.startswith("context-")
    if is_of_key and (old / PASSWORD).is_file() and not (old / PASSWORD).is_symlink():
        _move(old / PASSWORD, directory / PASSWORD)
        for lock in LOCKS:
            (old / lock).unlink(missing_ok=True)
        remove_empty(old)
    old_backups = state_dir() / GIT_BACKUPS / directory.name
    for backup in old_backups.glob("[0-9]*"):
        if _is_backup_of(key, backup):
            _move(backup, directory / GIT_BACKUPS / backup.name)
            remove_empty(old_backups)


def _is_backup_of(cluster: str, directory: Path) -> bool:
    try:
        return bool(json.loads((directory / BACKUP_LIST).read_text(encoding="utf-8"))["cluster"] == cluster)
    except (OSError, ValueError, TypeError, KeyError):
        return False


def _move(old: Path, new: Path) -> None:
    if not os.path.lexists(new):
        make(new.parent)
        with suppress(FileNotFoundError):  # moved by another process
            old.rename(new)


def remove_empty(directory: Path) -> None:
    """Remove a directory if it is empty."""
    with suppress(OSError):
        directory.rmdir()
