"""The one reader and writer of files whose path somebody else has named.

What stands at the path decides. A regular file is replaced as a whole: a reader, a crash and a full disk meet the old
content or the new, never half of it. A pipe or a character device (`--output /dev/stdout`) is written to as a stream.
Everything else is refused. Nothing but a regular file is ever replaced, and nothing is opened in a way that may hang.
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
READ_LIMIT = 64 << 20  # bytes; a kubeconfig, a report or a key is far smaller, /dev/zero has no end
_KINDS = {
    stat.S_IFREG: "regular file",
    stat.S_IFDIR: "directory",
    stat.S_IFIFO: "pipe",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "character device",
    stat.S_IFBLK: "block device",
}
_STREAMS = ("pipe", "character device")
_READABLE = ("", "directory", *_STREAMS)  # a directory has its own error; opening a disk or a tape may do something
_SUFFIX = ".threezone"  # of the private file beside the target
_NOT_REPLACEABLE = (errno.EBUSY, errno.EPERM)  # a file that is a mount point; somebody else's in a sticky directory
_OPEN = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY  # without O_NONBLOCK the opening of a pipe waits for its other end
_LINKS = 40  # as many links as Linux follows


def special(path: str | Path) -> str:
    """The kind of what stands at the path, links followed; "" for a regular file and for nothing at all."""
    try:
        kind = _kind(Path(path).stat())
    except OSError:
        return ""  # whoever opens it gets the reason
    return "" if kind == "regular file" else kind


def is_stream(path: str | Path) -> bool:
    """Whether output to this path goes into a pipe, a character device or a descriptor that is open already."""
    return descriptor_of(path) is not None or special(path) in _STREAMS


def descriptor_of(path: str | Path) -> int | None:
    """The descriptor of ours that the path names, as /dev/stdout and /dev/fd/3 do; None for any other path."""
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
    """Return the content of a regular file, or what a pipe or device gives before its end.

    Raises OSError as open(2) does, UsageError for what is no file, does not end in time, or holds more than 64 MB.
    """
    return read_with_stat(path, seconds=seconds)[0]


def read_with_stat(path: str | Path, *, seconds: float | None = None) -> tuple[bytes, os.stat_result]:
    """Return the content as `read` does, and the state of the file when it was opened."""
    if (kind := special(path)) not in _READABLE:
        raise UsageError(f"{path} is a {kind} and cannot be read as a file", fix="name a regular file")
    descriptor = os.open(path, os.O_RDONLY | _OPEN)
    try:
        opened = os.fstat(descriptor)
        kind = _kind(opened)
        if kind == "directory":
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        return _read_all(
            descriptor, path, 0 if kind == "regular file" else READ_SECONDS if seconds is None else seconds
        ), opened
    finally:
        os.close(descriptor)


def read_text(path: str | Path, *, fix: str = "", seconds: float | None = None) -> str:
    """Return the text of a file. Raises UsageError, with `fix` as the way out, for what is not readable or not text."""
    try:
        return read(path, seconds=seconds).decode()
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text: byte {error.start} is no UTF-8", fix=fix) from None
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {os.strerror(error.errno or 0)}", fix=fix) from None


def _read_all(descriptor: int, path: str | Path, seconds: float) -> bytes:
    """Read until the end. With `seconds` the other end may make us wait for so long."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    content = bytearray()
    while len(content) <= READ_LIMIT:
        if seconds and not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise UsageError(
                f"{path} is no regular file and did not end within {seconds:g} s", fix="name a regular file"
            )
        try:
            chunk = os.read(descriptor, 1 << 20)
        except BlockingIOError:
            continue
        if not chunk:
            return bytes(content)
        content += chunk
    raise UsageError(f"{path} holds more than {READ_LIMIT >> 20} MB", fix="name a smaller file")


def write_atomic(path: str | Path, content: str | bytes, mode: int | None = PRIVATE, *, fix: str = "") -> None:
    """Replace the content of a regular file, or make the file with the directories above it; see `replacing`."""
    with replacing(path, mode, fix=fix) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def write_output(path: str | Path, content: str | bytes, mode: int | None = PRIVATE, *, fix: str = "") -> None:
    """Write what the user asked for to where the user said: a file is replaced, a pipe or device written to."""
    with output(path, mode, fix=fix) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def output(path: str | Path, mode: int | None = PRIVATE, *, fix: str = "") -> Iterator[BinaryIO]:
    """Give a file to write output to: that of `replacing`, or the stream that stands at the path."""
    with _stream(path, fix) if is_stream(path) else replacing(path, mode, fix=fix) as file:
        yield file


@contextmanager
def _stream(path: str | Path, fix: str) -> Iterator[BinaryIO]:
    number = descriptor_of(path)
    with _explained(path, fix):
        if number is not None:
            if number == 1:
                sys.stdout.flush()
            descriptor = os.dup(number)  # opening the path again would start over in a file that stdout goes to
        else:
            descriptor = os.open(path, os.O_WRONLY | _OPEN)
        with os.fdopen(descriptor, "wb") as file:
            if number is None:
                if _kind(os.fstat(descriptor)) not in _STREAMS:  # it was replaced since we looked
                    raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
                os.set_blocking(descriptor, True)
            yield file


@contextmanager
def replacing(path: str | Path, mode: int | None = PRIVATE, *, fix: str = "") -> Iterator[BinaryIO]:
    """Give a private file that takes the place of the one at `path` when the block ends without an exception.

    A link stays, and what it names is replaced. The file gets `mode`; with None it keeps the mode of the old one, and
    a new one gets 0644 less the umask. Owner and group are kept where we may. A file that cannot be replaced, as it is
    a mount point or lies in a sticky directory, is written in place. Raises UsageError, with `fix` as the way out.
    """
    target = Path(os.path.realpath(path))
    with _explained(path, fix):
        old = _replaceable(target, path)
        # A directory that is made for a private file is private, too.
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
    """The state of the regular file that we may write, or None for no file; raises for everything else."""
    old: os.stat_result | None = None
    with suppress(FileNotFoundError):
        old = target.lstat()
    kind = _kind(old) if old else special(path)  # the real path of a pipe in /proc names nothing
    if kind == "symbolic link":  # a loop: the real path would be no link
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(path))
    if kind not in ("", "regular file"):
        raise UsageError(
            f"{path} is a {kind} and is not replaced"
            + (f" (it leads to {target})" if str(target) != str(path) else ""),
            fix="name a regular file",
        )
    if old is not None and not os.access(target, os.W_OK, effective_ids=True):  # a rename would not ask
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(target))
    return old


def _prefix(target: Path) -> str:
    return f".{target.name[:50]}."  # the longest name has no room for more


def _sibling(target: Path, mode: int) -> tuple[Path, int]:
    """Make a file beside the target and lock it: so others know that its maker lives."""
    while True:
        sibling = target.with_name(f"{_prefix(target)}{os.urandom(6).hex()}{_SUFFIX}")
        descriptor = os.open(sibling, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
        with suppress(OSError):  # not every file system has locks; there, what was abandoned stays
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return sibling, descriptor
        os.close(descriptor)  # somebody took it for abandoned before it was locked


def _remove_abandoned(target: Path) -> None:
    """Remove what killed writers of this file left beside it."""
    with suppress(OSError):
        for left in target.parent.iterdir():
            if left.name.startswith(_prefix(target)) and left.name.endswith(_SUFFIX):
                with suppress(OSError):
                    _remove_unlocked(left)


def _remove_unlocked(sibling: Path) -> None:
    descriptor = os.open(sibling, os.O_RDONLY | os.O_NOFOLLOW | _OPEN)
    try:
        if _kind(os.fstat(descriptor)) == "regular file":
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            sibling.unlink()
    finally:
        os.close(descriptor)


def _take_over(descriptor: int, old: os.stat_result | None, mode: int | None) -> None:
    """Give the new file the old one's owner and group where that is allowed, and its mode."""
    if old is None:
        if mode is not None:
            os.fchmod(descriptor, mode)
        return
    wanted = stat.S_IMODE(old.st_mode) & 0o777 if mode is None else mode
    new = os.fstat(descriptor)
    if (old.st_uid, old.st_gid) != (new.st_uid, new.st_gid):
        try:
            os.fchown(descriptor, old.st_uid, old.st_gid)  # root may write for a user, who has to read it afterwards
        except OSError:
            with suppress(OSError):
                os.fchown(descriptor, -1, old.st_gid)
        new = os.fstat(descriptor)
        if old.st_gid != new.st_gid:
            wanted &= ~0o070 | (wanted & 0o007) << 3  # another group gets no more than everybody
        elif old.st_uid != new.st_uid:
            wanted |= old.st_mode & 0o060  # the old owner and we share it by its group: a random uid with gid 0
    os.fchmod(descriptor, wanted)


def _write_in_place(new: BinaryIO, target: Path) -> None:
    """Copy the new content into the old file."""
    made = os.fstat(new.fileno())
    descriptor = os.open(target, os.O_WRONLY | os.O_NOFOLLOW | _OPEN)
    with os.fdopen(descriptor, "wb") as file:
        if _kind(os.fstat(descriptor)) != "regular file":
            raise OSError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
        _reserve(descriptor, made.st_size)
        with suppress(PermissionError):  # somebody else's file that we may write
            os.fchmod(descriptor, stat.S_IMODE(made.st_mode))
        new.seek(0)
        shutil.copyfileobj(new, file)
        file.flush()
        os.ftruncate(descriptor, made.st_size)
        os.fsync(descriptor)


def _reserve(descriptor: int, size: int) -> None:
    """Have room for the content before the old one is touched: a full disk must not leave half of it."""
    before = os.fstat(descriptor).st_size
    if size > before and hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            os.ftruncate(descriptor, before)
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise


def _sync(directory: Path) -> None:
    with suppress(OSError):  # the file is in its place already; not every directory can be opened or synced
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _kind(state: os.stat_result) -> str:
    return _KINDS.get(stat.S_IFMT(state.st_mode), "symbolic link")


@contextmanager
def _explained(path: str | Path, fix: str) -> Iterator[None]:
    """Turn the system's refusal into a sentence. A reader that is gone from our own stdout ends us as any program."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BrokenPipeError) and descriptor_of(path) is not None:
            raise
        reason = os.strerror(error.errno or 0)
        if error.errno == errno.ENXIO:
            reason = "nobody reads from this pipe" if special(path) == "pipe" else f"it is a {special(path)}"
        beside = f" ({error.filename})" if error.filename not in (None, str(path)) else ""
        directory = Path(path).absolute().parent
        raise UsageError(
            f"{path} cannot be written: {reason}{beside}", fix=fix or f"ls -ld {path} {directory}; df {directory}"
        ) from None
