"""The content cache: what was fetched or built once is a complete directory under a key that names its content.

An entry is made in a directory of its own next to its final place and appears there by one rename, so a reader sees
all of it or nothing, and a builder killed at any moment leaves only something that the next one removes. One builder
works at a time (a lock that the kernel releases when its holder dies); the others wait for it and find the entry.
Meant for processes that die, not for disks that lose power: nothing is synced.
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

WAIT = 3 * 3600.0  # seconds that a second builder waits for the first; longer than the longest build


def key(name: str, *parts: object) -> str:
    """A file name for content: `name`, readable, and a digest of everything that decides what is inside.

    `parts` must be plain data (what JSON holds); the same data gives the same key on every machine.
    """
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{name}-{digest[:16]}"


def lookup(kind: str, key: str) -> Path | None:
    """The directory of a complete entry, or None."""
    final = paths.cache_dir() / kind / key
    return final if final.is_dir() else None


def entry(kind: str, key: str, build: Callable[[Path], None]) -> Path:
    """The directory of the entry `key` of `kind`, made by `build` when it is not there.

    `build` fills the empty directory that it is given; if it raises, nothing is kept. The entry's final path differs
    from that directory's, so nothing inside may name it.
    """
    found = lookup(kind, key)
    if found is not None:
        return found
    with exclusive(f"{kind}-{key}"):
        found = lookup(kind, key)  # the one we waited for made it
        if found is not None:
            return found
        home = paths.cache_dir() / kind
        home.mkdir(parents=True, exist_ok=True)
        for leftover in home.glob(f".{key}.*"):  # only the lock's holder builds this key, so these builders are dead
            shutil.rmtree(leftover, ignore_errors=True)
        # The name differs every time: a child of a killed builder may still write below the old one.
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
    """Hold the machine-wide lock `name` (per cache directory); whoever waits for it says so."""
    from filelock import FileLock, Timeout

    place = paths.cache_dir() / "locks"
    place.mkdir(parents=True, exist_ok=True)
    lock = FileLock(place / f"{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        events.note(f"another threezone is working on {name}; waiting for it")
        lock.acquire(timeout=WAIT, poll_interval=0.1)
    try:
        yield
    finally:
        lock.release()
