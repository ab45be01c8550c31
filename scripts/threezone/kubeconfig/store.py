"""Read and write the user's kubeconfig files, under kubectl's own lock. A crash leaves the old or the new file.

It writes an entry to the same file of $KUBECONFIG as client-go's `tools/clientcmd` (config.go, loader.go), and takes
the same lock: `<path>.lock`, made with O_CREAT|O_EXCL and removed afterwards. client-go truncates the file in place, so
readers may see half of it; this module writes a second file and renames it.
"""

from __future__ import annotations

import errno
import functools
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from threezone.core.errors import UsageError
from threezone.core.files import read_with_stat, special_kind, write_atomic
from threezone.kubeconfig import document
from threezone.kubeconfig.document import BODY, Document, Section

LOCK_TIMEOUT = 10.0  # seconds; kubectl holds its lock for some milliseconds
_POLL = 0.02  # seconds; not every file system reports the end of a lock
_WRITE_SECONDS = 0.5  # that another program may take to write a file in place
_NEW_LOCK = 1.0  # seconds; the owner of a newer lock is probably still working
_NO_LOCK = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)

# kubectl reads the files, locks, reads again, and removes entries that it did not read the first time (client-go
# v0.35.0, tools/clientcmd/config.go, ModifyConfig). If it read just before our rename, it would remove our entry. So we
# keep the lock for longer than kubectl needs between its first read and its lock: then it fails with "file exists".
# kubectl needs 1 ms for a small file and 300 to 600 ms for 5 MB, mostly to parse. Our parser needs a third of that, and
# slows down on a busy machine as kubectl's does.
_SETTLE = 0.05  # seconds, at least
_SETTLE_FACTOR = 5  # times the seconds of our own parsing
_SETTLE_MOST = 1.0  # seconds

Parse = Callable[[bytes, str], Document]
_LONGEST_NAME = 255  # of a file in every usual file system


@dataclass(frozen=True)
class View:
    """The kubeconfig files, merged as kubectl does.

    `files` are in the order of $KUBECONFIG; new entries go to `target`. `origins` has the file of each entry.
    """

    document: Document
    origins: Mapping[tuple[Section, str], str]
    files: tuple[str, ...]
    target: str

    def directory(self, section: Section, name: str) -> Path:
        """The directory to which relative paths in this entry refer."""
        return Path(self.origins.get((section, name), self.target)).absolute().parent


def files(env: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Return the kubeconfig files as kubectl spells them: the lock's name depends on the spelling.

    $KUBECONFIG without empty and repeated elements, else $HOME/.kube/config. Raises UsageError without both.
    """
    environment = os.environ if env is None else env
    if listed := environment.get("KUBECONFIG", ""):
        _refuse_content(listed)
        names = tuple(dict.fromkeys(part for part in listed.split(os.pathsep) if part))
        if not names:
            raise UsageError(f"KUBECONFIG={listed} names no file", fix="unset KUBECONFIG, or name a file in it")
        return names
    if not (home := environment.get("HOME", "")):
        # kubectl would put credentials into the working directory: ./.kube/config.
        raise UsageError("neither HOME nor KUBECONFIG is set", fix="export KUBECONFIG=/path/to/a/kubeconfig")
    return (f"{home}/.kube/config",)


def _refuse_content(listed: str) -> None:
    """Raise UsageError when $KUBECONFIG holds a kubeconfig itself, as it is or in base64, as in a CI variable."""
    is_base64 = len(listed) > _LONGEST_NAME and re.fullmatch(r"[A-Za-z0-9+/_\s-]+=*\s*", listed)
    if "\n" in listed or "apiVersion" in listed or is_base64:
        decode = " | base64 --decode" if is_base64 else ""
        raise UsageError(
            f"KUBECONFIG holds the content of a kubeconfig ({len(listed)} characters), not the path of a file",
            fix=f"""umask 077; printf %s "$KUBECONFIG"{decode} > kubeconfig; export KUBECONFIG=$PWD/kubeconfig""",
        )


def fingerprint(env: Mapping[str, str] | None = None) -> tuple[tuple[str, int, int, int], ...]:
    """Return name, inode, size and modification time of every file, to detect changes; -1 for a missing file."""

    def facts(name: str) -> tuple[str, int, int, int]:
        try:
            state = Path(name).stat()
        except OSError:
            return name, -1, -1, -1
        return name, state.st_ino, state.st_size, state.st_mtime_ns

    return tuple(map(facts, files(env)))


def read(env: Mapping[str, str] | None = None) -> View:
    """Return the current files. Missing ones are empty. Raises UsageError for a file that kubectl cannot read."""
    return _read(files(env), locked=False, parse=document.parse)[0]


def update(
    change: Callable[[Document], Document], *, env: Mapping[str, str] | None = None, timeout: float = LOCK_TIMEOUT
) -> bool:
    """Apply `change` to the merged document and write the difference. Return False without a difference.

    `change` is pure and may be called twice: before the lock, to find out whether anything changes, and under it. Only
    the three sections and current-context are written. An entry goes to the file that defines it, a new one to the
    first file that exists, else to the last of the list.
    Raises UsageError for a file that cannot be read or written, or a lock that others hold for `timeout` seconds.
    """
    names = files(env)
    parsing = 0.0

    @functools.cache  # the second read usually gives the same text
    def parse(text: bytes, name: str) -> Document:
        nonlocal parsing
        began = time.monotonic()
        parsed = document.parse(text, name)
        parsing = time.monotonic() - began
        return parsed

    before = _read(names, locked=False, parse=parse)[0].document
    if change(before).data == before.data and not any(map(_is_locked, names)):
        return False
    refuse_special(env)
    with _locked(names, timeout) as writable:
        view, parts = _read(names, locked=True, parse=parse)
        changed = _distribute(view, parts, change(view.document))
        for name in changed:
            if name not in writable:
                directory = Path(name).absolute().parent
                raise UsageError(
                    f"the kubeconfig {name} cannot be written: no lock file can be made in {directory}",
                    fix=f"ls -ld {directory}; or: export KUBECONFIG=/a/file/of/yours",
                )
        for name, content in changed.items():
            if content.truncated:
                raise UsageError(
                    f"{name} holds more than one YAML document; kubectl reads only the first, and so does threezone",
                    fix=f"remove everything after the first document in {name}",
                )
            write_atomic(name, document.dump(content))
        if changed:
            _let_kubectl_fail(parsing)
    return bool(changed)


def _let_kubectl_fail(parsing: float) -> None:
    """Keep the lock until every kubectl that read before our write has tried to lock."""
    time.sleep(min(max(_SETTLE, _SETTLE_FACTOR * parsing), _SETTLE_MOST))


def break_lock(env: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Remove the locks of killed programs on the user's files. Return a sentence with the age of each.

    Only when the user asks: a lock is an empty file that does not name its owner. Raises UsageError for a lock that is
    less than a second old or cannot be removed.
    """
    names = files(env)
    ages: dict[str, float] = {}
    for lock in map(_lock_name, (*names, *map(os.path.realpath, names))):
        with suppress(FileNotFoundError, NotADirectoryError):
            ages[lock] = time.time() - os.lstat(lock).st_mtime
    for lock, age in ages.items():
        if abs(age) < _NEW_LOCK:
            raise UsageError(
                f"{lock} was made less than {_NEW_LOCK:g} s ago: its owner is probably still working",
                fix="wait for the kubectl or kind that writes there, and try again",
            )
    for lock in ages:
        try:
            Path(lock).unlink(missing_ok=True)
        except OSError as error:
            raise _failed(f"{lock} cannot be removed", error, lock) from None
    return tuple(f"removed {lock}, {_duration(age)} old" for lock, age in ages.items())


def refuse_special(env: Mapping[str, str] | None = None) -> None:
    """Raise UsageError for a file that cannot be locked and replaced: a device, a pipe, a socket, a directory."""
    for name in files(env):
        if kind := special_kind(name):
            raise UsageError(
                f"the kubeconfig {name} is a {kind}: no entry can be written there",
                fix="unset KUBECONFIG, or: export KUBECONFIG=/a/file/of/yours",
            )


def _read(names: Sequence[str], *, locked: bool, parse: Parse) -> tuple[View, dict[str, Document]]:
    """Return the merged view and the document of each file. The first file with a name or value wins."""
    parts = {name: _read_file(name, locked=locked, parse=parse) for name in names}
    merged: dict[str, object] = {}
    origins: dict[tuple[Section, str], str] = {}
    for section in BODY:
        stanzas: dict[str, document.Item] = {}
        for name, part in parts.items():
            for stanza, item in document.items(part, section).items():
                stanzas.setdefault(stanza, item)
                origins.setdefault((section, stanza), name)
        merged[section] = list(stanzas.values())
    for part in parts.values():
        for key, value in part.data.items():
            if key not in BODY and merged.get(key) in (None, ""):
                merged[key] = value
    target = next((name for name in names if Path(name).exists()), names[-1])
    return View(Document(merged), origins, tuple(names), target), parts


def _read_file(name: str, *, locked: bool, parse: Parse) -> Document:
    """Read one file. Without the lock, try again while it is half written, as kubectl writes in place."""
    deadline = time.monotonic() + (0 if locked else _WRITE_SECONDS)
    before: bytes | None = None
    while True:
        text, is_stable = _read_once(name)
        is_last = is_stable or time.monotonic() >= deadline
        # A lock does not prove that somebody is writing: its owner may have been killed.
        if is_last or (text and text == before):
            try:
                return Document() if text is None else parse(text, name)
            except UsageError:
                if is_last:
                    raise
        before = text
        time.sleep(_POLL)


def _read_once(name: str) -> tuple[bytes | None, bool]:
    """Return the content (None for a missing file), and whether it was certainly not written meanwhile."""
    is_free = not _is_locked(name)
    try:
        text, state = read_with_stat(name)
        if special_kind(name):
            return text, True  # a pipe of the shell, which can be read only once
        now = Path(name).stat()
    except FileNotFoundError:
        return None, True
    except OSError as error:
        raise _failed(f"the kubeconfig {name} cannot be read", error, name) from None
    is_same = (state.st_ino, state.st_mtime_ns) == (now.st_ino, now.st_mtime_ns)
    return text, is_free and not _is_locked(name) and is_same and len(text) == state.st_size == now.st_size


def _distribute(view: View, parts: Mapping[str, Document], new_document: Document) -> dict[str, Document]:
    """Return the files that change, with their new documents."""
    after = dict(parts)
    for section in BODY:
        old, new = document.items(view.document, section), document.items(new_document, section)
        for stanza in {**old, **new}:
            if old.get(stanza) != new.get(stanza):
                name = view.origins.get((section, stanza), view.target)
                after[name] = document.put_item(after[name], section, stanza, new.get(stanza))
    current = document.current_context(new_document)
    if current != document.current_context(view.document):
        # As kubectl does: set it in the file for new entries, clear it in the first file that has it.
        setting = [] if current else [name for name in view.files if document.current_context(after[name])]
        name = setting[0] if setting else view.target
        after[name] = document.with_current_context(after[name], current)
    return {name: after[name] for name in view.files if after[name].data != parts[name].data}


def _lock_name(name: str) -> str:
    return name + ".lock"


def _is_locked(name: str) -> bool:
    return os.path.lexists(_lock_name(name))


@contextmanager
def _locked(names: Sequence[str], timeout: float) -> Iterator[frozenset[str]]:
    """Hold kubectl's lock on every file. Yields the files that could be locked, and so may be written.

    The target of a link is locked as well: others may use the file by that name.
    """
    deadline = time.monotonic() + timeout
    new_file = None if any(Path(name).exists() for name in names) else names[-1]
    writable: set[str] = set()
    locked: set[str] = set()  # with resolved directories, so that no file is locked twice
    with ExitStack() as locks:
        # Use kubectl's names and order first, so that there is no deadlock.
        for name in [*sorted(names), *sorted(os.path.realpath(name) for name in names)]:
            path = os.path.join(os.path.realpath(os.path.dirname(name)), os.path.basename(name))  # noqa: PTH118, PTH119, PTH120
            if path not in locked:
                try:
                    if name == new_file:
                        Path(name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    _acquire(_lock_name(name), name, deadline, timeout)
                except OSError as error:
                    if error.errno not in _NO_LOCK:
                        raise _failed(f"{name} cannot be locked", error, Path(name).parent) from None
                    continue  # unlike kubectl, fail only if this file must be written
                locks.callback(_release, _lock_name(name))
                locked.add(path)
            writable.add(name)
        yield frozenset(writable)


def _acquire(lock: str, name: str, deadline: float, timeout: float) -> None:
    while True:
        try:
            # Mode and empty content as client-go: other libraries must not treat this lock as stale.
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
        except FileExistsError:
            if time.monotonic() >= deadline:
                break
            time.sleep(_POLL)
        else:
            return
    try:
        age = f"{_duration(time.time() - os.lstat(lock).st_mtime)} old"
    except FileNotFoundError:
        age = "locked again and again"
    raise UsageError(
        f"{name} is locked: {lock} ({age}) did not go away within {timeout:g} s",
        evidence=f"open {lock}: file exists",
        fix="wait for the kubectl or kind that writes there; if none runs, the lock is stale: "
        "./run invoke kubeconfig.connect --break-lock",
    )


def _release(lock: str) -> None:
    Path(lock).unlink(missing_ok=True)


def _failed(message: str, error: OSError, path: str | Path) -> UsageError:
    return UsageError(f"{message}: {os.strerror(error.errno or 0)}", fix=f"ls -ld {path}")


def _duration(seconds: float) -> str:
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {word}"
    return f"{max(0, int(seconds))} s"
