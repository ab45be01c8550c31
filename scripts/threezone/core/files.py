"""Read and write files whose path the user names.

A regular file is replaced as a whole: after a crash or with a full disk it has the old content or the new one, never
half of it. A pipe or a character device (`--output /dev/stdout`) is written to as a stream. Other kinds of files are
refused. Opening never blocks.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import select
import shutil
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from threezone.core.errors import UsageError

PRIVATE = 0o600
READ_SECONDS = 5.0  # for a pipe or a terminal; regular files do not wait
READ_LIMIT = 64 << 20  # bytes; far more than a kubeconfig, a report or a key; /dev/zero has no end
_KINDS = {
    stat.S_IFREG: "regular file",
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
_STREAMS = ("pipe", "character device")
_READABLE = ("", "directory", *_STREAMS)  # directories are refused later; opening other devices may have effects
_SUFFIX = ".threezone"  # of the private file beside the target
_NOT_REPLACEABLE = (errno.EBUSY, errno.EPERM)  # a mount point; another user's file in a sticky directory
_OPEN = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # without O_NONBLOCK, opening a pipe waits for its other end
_LINKS = 40  # Linux follows as many links


def special_kind(path: str | Path) -> str:
    """The kind of the file at the path, links followed; "" for a regular file and for a missing one."""
    try:
        kind = _kind(Path(path).stat())
    except OSError:
        return ""  # opening it gives the reason
    return "" if kind == "regular file" else kind


def is_stream(path: str | Path) -> bool:
    """Whether output to this path goes to a pipe, a character device or an open descriptor."""
    return descriptor_of(path) is not None or special_kind(path) in _STREAMS


def descriptor_of(path: str | Path) -> int | None:
    """The open descriptor that a path such as /dev/stdout or /dev/fd/3 names, else None."""
    path = Path(path)
    for _ in range(_LINKS):
        directory = os.path.realpath(path.parent)
        if path.name.isdecimal() and re.fullmatch(rf"/dev/fd|/proc/{os.getpid()}(/task/\d+)?/fd", directory):
            return int(path.name)
        try:
            path = Path(directory) / path.readlink()
        except OSError:
            return None
    return None


def read(path: str | Path, *, seconds: float | None = None) -> bytes:
    """The content of a regular file, a pipe or a device.

    Raises OSError as open(2) does, UsageError for other kinds of files, more than 64 MB, or no end in time.
    """
    return read_with_stat(path, seconds=seconds)[0]


def read_with_stat(path: str | Path, *, seconds: float | None = None) -> tuple[bytes, os.stat_result]:
    """The content as `read` returns it, and the state of the opened file."""
    if (kind := special_kind(path)) not in _READABLE:
        raise UsageError(f"{path} is a {kind} and cannot be read as a file", fix="name a regular file")
    descriptor = os.open(path, os.O_RDONLY | _OPEN)
    try:
        state = os.fstat(descriptor)
        kind = _kind(state)
        if kind == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        patience = 0 if kind == "regular file" else READ_SECONDS if seconds is None else seconds
        return _read_all(descriptor, path, patience), state
    finally:
        os.close(descriptor)


def read_text(path: str | Path, *, fix: str = "", seconds: float | None = None) -> str:
    """The text of a file. Raises UsageError with `fix` when it is not readable or not text."""
    try:
        return read(path, seconds=seconds).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text: byte {error.start} is no UTF-8", fix=fix) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {os.strerror(error.errno or 0)}", fix=fix) from None


def _read_all(descriptor: int, path: str | Path, seconds: float) -> bytes:
    """Read until the end, in at most `seconds` unless 0."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    content = bytearray()
    while len(content) <= READ_LIMIT:
        if seconds and not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise UsageError(f"{path} did not end within {seconds:g} s", fix="name a regular file")
        try:
            chunk = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            continue
        if not chunk:
            return bytes(content)
        content += chunk
    raise UsageError(f"{path} is larger than {READ_LIMIT >> 20} MB", fix="name a smaller file")


def write_atomic(path: str | Path, content: str | bytes, mode: int | None = PRIVATE, *, fix: str = "") -> None:
    """Replace the content of a regular file, or create it with its directories; see `replacing`."""
    with replacing(path, mode, fix=fix) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_output(path: str | Path, content: str | bytes, mode: int | None = PRIVATE, *, fix: str = "") -> None:
    """Write to the path that the user names: a file is replaced, a pipe or device is written to."""
    with output(path, mode, fix=fix) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def output(path: str | Path, mode: int | None = PRIVATE, *, fix: str = "") -> Iterator[BinaryIO]:
    """Open a path for output: the file of `replacing`, or the stream at the path."""
    with _stream(path, fix) if is_stream(path) else replacing(path, mode, fix=fix) as file:
        yield file


@contextmanager
def _stream(path: str | Path, fix: str) -> Iterator[BinaryIO]:
    number = descriptor_of(path)
    with _explained(path, fix):
        if number is not None:
            if number == 1:
                sys.stdout.flush()
            descriptor = os.dup(number)  # opening the path again would truncate the file that stdout goes to
        else:
            descriptor = os.open(path, os.O_WRONLY | _OPEN)
        with os.fdopen(descriptor, "wb") as file:
            if number is None:
                if _kind(os.fstat(descriptor)) not in _STREAMS:  # replaced in the meantime
                    raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
                os.set_blocking(descriptor, True)
            yield file


@contextmanager
def replacing(path: str | Path, mode: int | None = PRIVATE, *, fix: str = "") -> Iterator[BinaryIO]:
    """Open a private file that replaces the one at `path` when the block ends without an exception.

    A link stays: its target is replaced. The file gets `mode`; None means that of the old file, else 0644 less umask.
    Owner and group are kept if permitted. A file that cannot be replaced (a mount point, another user's file in a
    sticky directory) is written in place. Raises UsageError with `fix`.
    """
    target = Path(os.path.realpath(path))
    with _explained(path, fix):
        old = _replaceable(target, path)
        # A new directory for a private file is private.
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755 if mode is None or mode & 0o077 else 0o700)
        _remove_abandoned(target)
        sibling, descriptor = _sibling(target, PRIVATE if old or mode is not None else 0o644)
        try:
            with os.fdopen(descriptor, "r+b") as file:
                yield file
                file.flush()
                _take_over(descriptor, old, mode)
                os.fsync(descriptor)
                try:
                    sibling.replace(target)
                except OSError as error:
                    if error.errno not in _NOT_REPLACEABLE or old is None:
                        raise
                    _write_in_place(file, target)
        finally:
            with suppress(OSError):
                sibling.unlink()
        _sync(target.parent)


def _replaceable(target: Path, path: str | Path) -> os.stat_result | None:
    """The state of the regular file to replace, None for a missing one. Raises UsageError or OSError for others."""
    old: os.stat_result | None = None
    with suppress(FileNotFoundError):
        old = target.lstat()
    kind = _kind(old) if old else special_kind(path)  # the real path of a pipe in /proc does not exist
    if kind == "symbolic link":  # links in a loop: a real path is not a link
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if kind not in ("", "regular file"):
        raise UsageError(
            f"{path} is a {kind} and is not replaced"
            + (f" (it leads to {target})" if str(target) != str(path) else ""),
            fix="name a regular file",
        )
    if old is not None and not os.access(target, os.W_OK, effective_ids=True):  # a rename does not check it
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    return old


def _prefix(target: Path) -> str:
    return f".{target.name[:50]}."  # a name of full length leaves no room for the suffix


def _sibling(target: Path, mode: int) -> tuple[Path, int]:
    """Create and lock a file beside the target. The lock shows others that its writer is alive."""
    while True:
        sibling = target.with_name(f"{_prefix(target)}{os.urandom(6).hex()}{_SUFFIX}")
        descriptor = os.open(sibling, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        with suppress(OSError):  # without locks in the file system, abandoned files stay
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return sibling, descriptor
        os.close(descriptor)  # another process removed it before it was locked


def _remove_abandoned(target: Path) -> None:
    """Remove the files that killed writers left beside this one."""
    with suppress(OSError):
        for path in target.parent.iterdir():
            if path.name.startswith(_prefix(target)) and path.name.endswith(_SUFFIX):
                with suppress(OSError):
                    _remove_unlocked(path)


def _remove_unlocked(sibling: Path) -> None:
    descriptor = os.open(sibling, os.O_RDONLY | os.O_NOFOLLOW | _OPEN)
    try:
        if _kind(os.fstat(descriptor)) == "regular file":
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sibling.unlink()
    finally:
        os.close(descriptor)


def _take_over(descriptor: int, old: os.stat_result | None, mode: int | None) -> None:
    """Give the new file the old one's owner and group if permitted, and its mode."""
    if old is None:
        if mode is not None:
            os.fchmod(descriptor, mode)
        return
    new_mode = stat.S_IMODE(old.st_mode) & 0o777 if mode is None else mode
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)  # root may replace a user's file, which the user must read
        except OSError:
            with suppress(OSError):
                os.fchown(descriptor, -1, old.st_gid)
        new = os.fstat(descriptor)
        if old.st_gid != new.st_gid:
            new_mode &= ~0o070 | (new_mode & 0o007) << 3  # the new group gets no more than all others
        elif old.st_uid != new.st_uid:
            new_mode |= old.st_mode & 0o060  # the old owner may have access by the group only (a random uid with gid 0)
    os.fchmod(descriptor, new_mode)


def _write_in_place(new: BinaryIO, target: Path) -> None:
    """Copy the new content into the old file."""
    state = os.fstat(new.fileno())
    descriptor = os.open(target, os.O_WRONLY | os.O_NOFOLLOW | _OPEN)
    with os.fdopen(descriptor, "wb") as file:
        if _kind(os.fstat(descriptor)) != "regular file":
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        _reserve(descriptor, state.st_size)
        with suppress(PermissionError):  # another user's file
            os.fchmod(descriptor, stat.S_IMODE(state.st_mode))
        new.seek(0)
        shutil.copyfileobj(new, file)
        file.flush()
        os.ftruncate(descriptor, state.st_size)
        os.fsync(descriptor)


def _reserve(descriptor: int, size: int) -> None:
    """Reserve space for the content: without it a full disk would leave half a file."""
    before = os.fstat(descriptor).st_size
    if size > before and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            os.ftruncate(descriptor, before)
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise


def _sync(directory: Path) -> None:
    with suppress(OSError):  # not every directory can be synced
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _kind(state: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(state.st_mode), "symbolic link")


@contextmanager
def _explained(path: str | Path, fix: str) -> Iterator[None]:
    """Raise UsageError for an OSError, except for a closed pipe at stdout: that ends the program, as usual."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError) and descriptor_of(path) is not None:
            raise
        reason = os.strerror(error.errno or 0)
        if error.errno == errno.ENXIO:
            reason = "nobody reads from this pipe" if special_kind(path) == "pipe" else f"it is a {special_kind(path)}"
        other = f" ({error.filename})" if error.filename not in (None, str(path)) else ""
        directory = Path(path).absolute().parent
        raise UsageError(
            f"{path} cannot be written: {reason}{other}", fix=fix or f"ls -ld {path} {directory}; df {directory}"
        ) from None
