"""The content cache: each entry is a complete directory, and its key depends on the content.

An entry is built in a temporary directory and then renamed, so a reader sees all of it or nothing. The next builder
removes the directory of a killed one. Only one builder works at a time, under a lock that the kernel releases when its
owner dies. Nothing is synced: the cache survives killed processes, but not a loss of power.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from threezone.core import events, paths

WAIT = 3 * 3600.0  # seconds to wait for another builder; longer than the longest build


def key(name: str, *parts: object) -> str:
    """A file name of `name` and a digest of `parts`: all inputs of the content, as JSON data."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{name}-{digest[:16]}"


def lookup(kind: str, key: str) -> Path | None:
    """The directory of a complete entry, or None."""
    final = paths.cache_dir() / kind / key
    return final if final.is_dir() else None


def entry(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The directory of the entry `key` of `kind`; `build` fills a missing one.

    `build` gets an empty directory; if it raises, nothing is kept. The directory is renamed afterwards, so its files
    must not contain its path.
    """
    if (complete := lookup(kind, key)) is not None:
        return complete
    with exclusive(f"{kind}-{key}"):
        if (complete := lookup(kind, key)) is not None:  # another process built it while we waited
            return complete
        home = paths.cache_dir() / kind
        home.mkdir(parents=True, exist_ok=True)
        for leftover in home.glob(f".{key}.*"):  # of killed builders, as we have the lock
            shutil.rmtree(leftover, ignore_errors=True)
        # A new name each time: a child of a killed builder may still write into the old directory.
        temporary = Path(tempfile.mkdtemp(prefix=f".{key}.", dir=home))
        temporary.chmod(0o755)
        try:
            build(temporary)
            temporary.rename(home / key)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        return home / key


@contextmanager
def exclusive(name: str) -> Iterator[None]:
    """Hold the lock `name` of the cache directory during the block. Say so if it has to wait."""
    from filelock import FileLock, Timeout

    locks = paths.cache_dir() / "locks"
    locks.mkdir(parents=True, exist_ok=True)
    lock = FileLock(locks / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        events.note(f"another threezone is working on {name}; waiting for it")
        lock.acquire(timeout=WAIT, poll_interval=0.1)
    try:
        yield
    finally:
        lock.release()
