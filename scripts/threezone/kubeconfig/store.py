"""The user's kubeconfig files: which they are, kubectl's lock, and writes that leave the old or the new file.

Follows client-go's `tools/clientcmd` (config.go, loader.go) where others can see it: which file of $KUBECONFIG a
stanza is written to, and the lock `<path>.lock`, made with O_CREAT|O_EXCL and removed afterwards. Where client-go
truncates the file in place, and so shows half of it to readers, this writes a sibling and renames it.
"""

from __future__ import annotations

import errno
import functools
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from threezone.core.errors import UsageError
from threezone.core.files import read_with_stat, special, write_atomic
from threezone.kubeconfig import document
from threezone.kubeconfig.document import BODY, Document, Section

LOCK_TIMEOUT = 10.0  # seconds; kubectl holds its lock for some milliseconds
_POLL = 0.02  # a file's disappearance has no event that works on every file system
_TORN = 0.5  # seconds that a file which somebody writes in place may take to become whole
_LIVING = 1.0  # seconds: a lock younger than this probably has an owner who is at work
_NO_LOCK = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.ENOTDIR)

# kubectl reads the files, then locks, reads again and removes whatever it had not seen the first time (client-go
# v0.35.0, tools/clientcmd/config.go, ModifyConfig): one that read just before our rename would silently take our entry
# away. So the lock is held on for longer than kubectl needs from its reading to its lock, and such a kubectl fails with
# "file exists" instead. Between the two kubectl does little more than parse: for 1 ms where the file is small, for 300
# to 600 ms where it has 5 MB. Our own parsing takes a third of that, and longer on a busy machine, as kubectl's does.
_SETTLE = 0.05  # seconds, at least
_SETTLE_TIMES = 5  # our own parsing
_SETTLE_MOST = 1.0  # seconds


Parse = Callable[[bytes, str], Document]


@dataclass(frozen=True)
class View:
    """All files as one, as kubectl merges them. `files` in the order of $KUBECONFIG, `target` takes what is new.

    `origins` tells which file defines a stanza.
    """

    document: Document
    origins: Mapping[tuple[Section, str], str]
    files: tuple[str, ...]
    target: str

    def directory(self, section: Section, name: str) -> Path:
        """The directory to which relative paths in this stanza refer."""
        return Path(self.origins.get((section, name), self.target)).absolute().parent


def files(env: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """The kubeconfig files, spelled as kubectl spells them (its lock's name comes from the spelling).

    $KUBECONFIG without empty and repeated elements, else $HOME/.kube/config. Raises UsageError when neither names one.
    """
    environment = os.environ if env is None else env
    listed = environment.get("KUBECONFIG", "")
    if listed:
        chosen = tuple(dict.fromkeys(part for part in listed.split(os.pathsep) if part))
        if not chosen:
            raise UsageError(f"KUBECONFIG={listed} names no file", fix="unset KUBECONFIG, or name a file in it")
        return chosen
    home = environment.get("HOME", "")
    if not home:
        # kubectl goes on with ./.kube/config here: a credential in whatever directory one stands in.
        raise UsageError("neither HOME nor KUBECONFIG is set", fix="export KUBECONFIG=/path/to/a/kubeconfig")
    return (f"{home}/.kube/config",)


def fingerprint(env: Mapping[str, str] | None = None) -> tuple[tuple[str, int, int, int], ...]:
    """What tells that a file has been changed: name, inode, size and time of change; -1 for a file that is missing."""

    def facts(name: str) -> tuple[str, int, int, int]:
        try:
            found = os.stat(name)  # noqa: PTH116  the name as it is spelled
        except OSError:
            return name, -1, -1, -1
        return name, found.st_ino, found.st_size, found.st_mtime_ns

    return tuple(facts(name) for name in files(env))


def read(env: Mapping[str, str] | None = None) -> View:
    """The files as they are now; a missing one is empty. Raises UsageError for one that kubectl could not read."""
    return _read(files(env), locked=False, parse=document.parse)[0]


def update(
    change: Callable[[Document], Document], *, env: Mapping[str, str] | None = None, timeout: float = LOCK_TIMEOUT
) -> bool:
    """Apply `change` to the merged document and write what it changed; False when it changed nothing.

    `change` is pure and may be called twice: once to see whether there is anything to do, once under the lock. What it
    changes in the three sections and in current-context is written: every stanza to the file that defines it, a new
    one to the first file that exists, else to the last of the list.
    Raises UsageError: a file that cannot be read or written, or a lock that others hold for `timeout` seconds.
    """
    names = files(env)
    parsing = 0.0

    @functools.cache  # most often nothing was written between the two looks
    def parse(text: bytes, name: str) -> Document:
        nonlocal parsing
        began = time.monotonic()
        parsed = document.parse(text, name)
        parsing = time.monotonic() - began
        return parsed

    view, _ = _read(names, locked=False, parse=parse)
    if _same(change(view.document), view.document) and not any(map(_is_locked, names)):
        return False
    refuse_special(env)
    with _locked(names, timeout) as writable:
        view, parts = _read(names, locked=True, parse=parse)
        changed = _distribute(view, parts, change(view.document))
        for name in changed:
            if name not in writable:
                raise _unwritable(name)
        for name, content in changed.items():
            if content.cut:
                raise UsageError(
                    f"{name} holds more than one YAML document; kubectl reads only the first, and so does threezone",
                    fix=f"remove everything after the first document in {name}",
                )
            write_atomic(name, document.dump(content))
        if changed:
            _let_kubectl_fail(parsing)
    return bool(changed)


def _let_kubectl_fail(parsing: float) -> None:
    """Keep the lock for as long as a kubectl that read before our write may need to come to it."""
    time.sleep(min(max(_SETTLE, _SETTLE_TIMES * parsing), _SETTLE_MOST))


def break_lock(env: Mapping[str, str] | None = None) -> tuple[str, ...]:
    """Remove the locks that killed programs left on the user's files; one sentence for each, with its age.

    For the user's explicit request only: a lock is an empty file, and nothing tells whose it is. Raises UsageError for
    one that was made just now, whose owner is probably at work, and for one that cannot be removed.
    """
    names = files(env)
    left: dict[str, float] = {}
    for lock in map(_lock_name, (*names, *map(os.path.realpath, names))):
        with suppress(FileNotFoundError, NotADirectoryError):
            left[lock] = time.time() - os.lstat(lock).st_mtime
    for lock, age in left.items():
        if abs(age) < _LIVING:
            raise UsageError(
                f"{lock} was made less than {_LIVING:g} s ago: whoever made it is probably at work",
                fix="wait for the kubectl or kind that writes there, and try again",
            )
    for lock in left:
        try:
            Path(lock).unlink(missing_ok=True)
        except OSError as error:
            raise UsageError(
                f"{lock} cannot be removed: {os.strerror(error.errno or 0)}", fix=f"ls -ld {lock}"
            ) from None
    return tuple(f"removed {lock}, {_duration(age)} old" for lock, age in left.items())


def refuse_special(env: Mapping[str, str] | None = None) -> None:
    """Raise UsageError for a file that cannot be read, locked and replaced: a device, a pipe, a socket, a directory."""
    for name in files(env):
        if kind := special(name):
            raise UsageError(
                f"the kubeconfig {name} is a {kind}: no entry can be written there",
                fix="unset KUBECONFIG, or: export KUBECONFIG=/a/file/of/yours",
            )


def _same(one: Document, other: Document) -> bool:
    return one.data == other.data


def _read(names: Sequence[str], *, locked: bool, parse: Parse) -> tuple[View, dict[str, Document]]:
    parts = {name: _read_file(name, locked=locked, parse=parse) for name in names}
    merged: dict[str, object] = {}
    origins: dict[tuple[Section, str], str] = {}
    for name, part in parts.items():
        for section in BODY:
            for stanza in document.items(part, section):
                origins.setdefault((section, stanza), name)
        for key, value in part.data.items():
            if key not in BODY and merged.get(key) in (None, ""):
                merged[key] = value
    for section in BODY:
        found = {key: item for part in reversed(parts.values()) for key, item in document.items(part, section).items()}
        order = [stanza for kind, stanza in origins if kind == section]
        merged[section] = [found[stanza] for stanza in order]
    existing = [name for name in names if Path(name).exists()]
    target = existing[0] if existing else names[-1]
    return View(Document(merged), origins, tuple(names), target), parts


def _read_file(name: str, *, locked: bool, parse: Parse) -> Document:
    """One file. Without the lock it may be seen half written, as kubectl writes in place: look again for a moment."""
    deadline = time.monotonic() + (0 if locked else _TORN)
    before: bytes | None = None
    while True:
        text, still = _look(name)
        last_chance = still or time.monotonic() >= deadline
        # A lock alone is no reason to distrust what stays the same: it may have been left behind.
        if last_chance or (text and text == before):
            try:
                return Document() if text is None else parse(text, name)
            except UsageError:
                if last_chance:
                    raise
        before = text
        time.sleep(_POLL)


def _look(name: str) -> tuple[bytes | None, bool]:
    """The file's content (None: no such file), and whether it is certain that nobody was writing it meanwhile."""
    free = not _is_locked(name)
    try:
        text, opened = read_with_stat(name)
        if special(name):
            return text, True  # a pipe of the shell's, which can be read only once
        now = Path(name).stat()
    except FileNotFoundError:
        return None, True
    except OSError as error:
        raise UsageError(
            f"the kubeconfig {name} cannot be read: {os.strerror(error.errno or 0)}", fix=f"ls -ld {name}"
        ) from None
    one, other = ((each.st_ino, each.st_size, each.st_mtime_ns) for each in (opened, now))
    return text, free and not _is_locked(name) and one == other and len(text) == now.st_size


def _distribute(view: View, parts: Mapping[str, Document], wanted: Document) -> dict[str, Document]:
    """The files that change, with their new documents."""
    after = dict(parts)
    for section in BODY:
        old, new = document.items(view.document, section), document.items(wanted, section)
        for stanza in {**old, **new}:
            if old.get(stanza) != new.get(stanza):
                name = view.origins.get((section, stanza), view.target)
                after[name] = document.put_item(after[name], section, stanza, new.get(stanza))
    current = document.current_context(wanted)
    if current != document.current_context(view.document):
        setting = [name for name in view.files if document.current_context(after[name])]
        # As kubectl does: set it in the file that takes new stanzas, clear it in the first that has it.
        name = view.target if current or not setting else setting[0]
        after[name] = document.with_current_context(after[name], current)
    return {name: after[name] for name in view.files if not _same(after[name], parts[name])}


def _lock_name(name: str) -> str:
    return name + ".lock"


def _is_locked(name: str) -> bool:
    return os.path.lexists(_lock_name(name))


def _true_name(name: str) -> str:
    """The file's one name whatever links its directories are; a link in the last part stays, as its lock is another."""
    directory, last = os.path.split(name)
    return str(Path(os.path.realpath(directory), last))


@contextmanager
def _locked(names: Sequence[str], timeout: float) -> Iterator[frozenset[str]]:
    """Hold kubectl's lock on every file, in its order; yield the files that could be locked, and so may be written.

    A link's target is locked as well: others may know the file by that name.
    """
    deadline = time.monotonic() + timeout
    writable: set[str] = set()
    held: set[str] = set()
    with ExitStack() as locks:
        # The names that kubectl locks come first and in its order, so that nobody waits in a circle.
        for name in [*sorted(names), *sorted(os.path.realpath(name) for name in names)]:
            if _true_name(name) not in held:
                try:
                    if name in names and name == _new_file(names):
                        Path(name).parent.mkdir(parents=True, exist_ok=True, mode=0o700)
                    _acquire(_lock_name(name), name, deadline, timeout)
                except OSError as error:
                    if error.errno not in _NO_LOCK:
                        reason = f"{name} cannot be locked: {os.strerror(error.errno or 0)}"
                        raise UsageError(reason, fix=f"ls -ld {Path(name).parent}") from None
                    continue  # kubectl fails here even when it has nothing to write in this file
                locks.callback(_release, _lock_name(name))
                held.add(_true_name(name))
            writable.add(name)
        yield frozenset(writable)


def _new_file(names: Sequence[str]) -> str | None:
    """The file that would have to be made, if there is none yet."""
    return None if any(Path(name).exists() for name in names) else names[-1]


def _acquire(lock: str, name: str, deadline: float, timeout: float) -> None:
    while True:
        try:
            # Mode and content (none) as client-go's: libraries that know its locks never take such a one for stale.
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0))
        except FileExistsError:
            if time.monotonic() >= deadline:
                raise _held(lock, name, timeout) from None
            time.sleep(_POLL)
        else:
            return


def _release(lock: str) -> None:
    with suppress(FileNotFoundError):
        Path(lock).unlink()


def _held(lock: str, name: str, timeout: float) -> UsageError:
    try:
        age = f"{_duration(time.time() - os.lstat(lock).st_mtime)} old"
    except FileNotFoundError:
        age = "taken again and again"
    return UsageError(
        f"{name} is locked: {lock} is there, {age}, and did not go away within {timeout:g} s",
        evidence=f"open {lock}: file exists",
        fix="wait for the kubectl or kind that writes there; if none runs, the lock was left behind: "
        "./run invoke kubeconfig.connect --break-lock",
    )


def _duration(seconds: float) -> str:
    for size, word in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {word}"
    return f"{max(0, int(seconds))} s"


def _unwritable(name: str) -> UsageError:
    directory = Path(name).absolute().parent
    return UsageError(
        f"the kubeconfig {name} cannot be written: no lock file can be made in {directory}",
        fix=f"ls -ld {directory}; or: export KUBECONFIG=/a/file/of/yours",
    )
