"""Containers: list, inspect, run, stop and remove them, run programs in them, copy files."""

from __future__ import annotations

import io
import json
import os
import queue
import re
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from threezone.clients.docker import engine
from threezone.core import process
from threezone.core.errors import CommandFailed
from threezone.core.process import Completed

Json = dict[str, Any]
REMOVAL_SECONDS = 10  # for the engine to remove a container that has ended
NONE: Mapping[str, str] = MappingProxyType({})
# As `docker ps` lists published ports; ports in a row are one range: 127.0.0.1:6442-6444->6442-6444/tcp.
_PUBLISHED = re.compile(r"([^\s,]+):(\d+)(?:-\d+)?->(\d+)(?:-(\d+))?/(\w+)")
# Messages for a missing file, and for a container that was removed meanwhile (moby, container/archive; docker cp).
_ABSENT = re.compile("could not find the file|could not be found|no such container", re.IGNORECASE)


def label(name: str) -> str:
    """The field of `ls` with this label."""
    return f'Label "{name}"'


def ls(*filters: str, fields: Sequence[str] = ("ID",), stopped: bool = True) -> list[tuple[str, ...]]:
    """The given fields of `docker ps` for the containers that match all `filters`. Raises EngineError.

    Containers whose labels contain a tab or a line break are left out.
    """
    template = "\t".join(f"{{{{.{field}}}}}" for field in fields)
    options = [*(["--all"] if stopped else []), *(part for condition in filters for part in ("--filter", condition))]
    rows = engine.ask("ps", "--no-trunc", *options, "--format", template)
    return [row for row in (tuple(line.split("\t")) for line in rows) if len(row) == len(fields)]


class Published(NamedTuple):
    """A published port: the address and port on the engine's host, and the port in the container.

    An IPv6 address has no brackets.
    """

    address: str
    port: int
    container_port: int
    protocol: str


def published(ports: str) -> tuple[Published, ...]:
    """The published ports in the field `Ports` of a list. Pure."""
    return tuple(
        Published(address.strip("[]"), int(port) + offset, int(first) + offset, protocol)
        for address, port, first, last, protocol in _PUBLISHED.findall(ports)
        for offset in range(int(last or first) - int(first) + 1)
    )


def table(*filters: str) -> Completed:
    """The list of containers as docker prints it, including stopped ones."""
    return engine.run("ps", "--all", "--no-trunc", *(f"--filter={condition}" for condition in filters), check=False)


def inspect(*containers: str) -> list[Json]:
    """Docker's description of these containers; missing ones are left out. It may hold secrets. Raises EngineError."""
    if not containers:
        return []
    done = engine.run("container", "inspect", *containers, check=False)
    try:
        return list(json.loads(done.stdout))
    except ValueError:
        raise engine.explain(done.stderr.strip()) from None


def show(container: str, template: str) -> Completed:
    """Docker's description of a container, formatted by a Go template."""
    return engine.run("inspect", "--type", "container", "--format", template, container, timeout=10, check=False)


def exec_command(
    container: str, *argv: str, interactive: bool = False, detach: bool = False, program: Path | str = engine.DOCKER
) -> list[str | Path]:
    """The command that runs a program in a container."""
    options = [*(["--interactive"] if interactive else []), *(["--detach"] if detach else [])]
    return [program, "exec", *options, container, *argv]


def execute(
    container: str, *argv: str, stdin: str | None = None, detach: bool = False, timeout: float = 30, check: bool = True
) -> Completed:
    """Run a program in a container; with `detach` in the background."""
    command = exec_command(container, *argv, interactive=stdin is not None, detach=detach)
    return process.run(command, timeout=timeout, stdin=stdin, check=check)


def run(
    image: str,
    *argv: str,
    network: str = "none",
    entrypoint: str = "",
    name: str = "",
    privileged: bool = False,
    pull: bool = True,
    labels: Mapping[str, str] = NONE,
    hosts: Mapping[str, str] = NONE,
    stdin: str | bytes | None = None,
    timeout: float = 120,
    check: bool = True,
) -> Completed:
    """Run a program in a new container that is removed when it ends. `hosts` are names with their addresses."""
    options = [
        *(["--interactive"] if stdin is not None else []),
        *(["--privileged"] if privileged else []),
        *([] if pull else ["--pull=never"]),
        *([f"--name={name}"] if name else []),
        *([f"--entrypoint={entrypoint}"] if entrypoint else []),
        *engine.labels(labels),
        *(f"--add-host={host}:{address}" for host, address in hosts.items()),
    ]
    return engine.run(
        "run", "--rm", f"--network={network}", *options, image, *argv, stdin=stdin, timeout=timeout, check=check
    )


@contextmanager
def temporary(image: str, name: str, seconds: int) -> Iterator[None]:
    """Run a privileged container without a network during the block, for at most `seconds`, to execute programs in.

    An earlier container of that name is removed.
    """
    remove(name)
    try:
        options = ("--detach", "--rm", "--name", name, "--privileged", "--network=none", "--entrypoint=sleep")
        engine.run("run", *options, image, str(seconds), timeout=120)
        yield
    finally:
        remove(name)


@contextmanager
def held(
    image: str, name: str, labels: Mapping[str, str], ready: str, seconds: float = 60
) -> Iterator[Completed | None]:
    """A container that runs for the block, for its input ends with the block, or with this process by kill -9.

    The block is given None after its program has printed the line `ready`; if docker ends before that, how it ended:
    the name may be taken. Raises CommandFailed when neither happens within `seconds`.
    """
    options = ("--rm", "--interactive", "--pull=never", "--network=none", f"--name={name}", *engine.labels(labels))
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as hold:
        with os.fdopen(reading, "rb") as source:
            command = [engine.DOCKER, "run", *options, image]
            running = process.Running(command, stdin=source.fileno(), on_line=lines.put)
        try:
            yield None if _prints(running, lines, ready, seconds) else running.wait(seconds)
        finally:
            hold.close()
            with suppress(CommandFailed):
                running.wait(time.monotonic() - running.started + REMOVAL_SECONDS)


def _prints(running: process.Running, lines: queue.SimpleQueue[str], line: str, seconds: float) -> bool:
    while time.monotonic() - running.started < seconds:
        with suppress(queue.Empty):
            if lines.get(timeout=0.1) == line:
                return True
            continue
        if not running.alive:
            break
    return False


def wait(container: str, seconds: float) -> None:
    """Wait until a container does not run, at most for `seconds`."""
    with suppress(CommandFailed):
        engine.run("wait", container, timeout=seconds, check=False)


def remove_stopped(container: str) -> None:
    """Remove a container; the engine keeps one that runs."""
    engine.run("rm", container, timeout=120, check=False)


def service_command(name: str, network: str) -> list[str]:
    """The first part of the command that creates the container of a service; other options and the image follow."""
    return [engine.DOCKER, "create", "--name", name, "--hostname", name, "--network", network]


def start_command(container: str) -> list[str]:
    """The command that starts a created container."""
    return [engine.DOCKER, "start", container]


def create(image: str, labels: Mapping[str, str] = NONE) -> str:
    """Create a container without starting it. Returns its id."""
    return engine.run("create", *engine.labels(labels), image, timeout=120).stdout.strip()


def commit(container: str, reference: str, changes: Sequence[str], timeout: float = 600) -> None:
    """Make an image from a container, with `changes` written as in a Dockerfile."""
    engine.run("commit", *(f"--change={change}" for change in changes), container, reference, timeout=timeout)


def put(container: str, source: Path, target: str, timeout: float = 300) -> None:
    """Copy a file of this machine into a container."""
    engine.run("cp", source, f"{container}:{target}", timeout=timeout)


def put_archive(container: str, archive: bytes, directory: str = "/") -> None:
    """Unpack a tar archive in a directory of a container, even a stopped one. Raises CommandFailed."""
    engine.run("cp", "-", f"{container}:{directory}", stdin=archive, timeout=60)


def read(container: str, path: str) -> bytes | None:
    """The content of a text file in a container, running or stopped, or None. It may hold secrets."""
    done = engine.run("cp", "--follow-link", f"{container}:{path}", "-", check=False)
    if done.exit_code != 0:
        return None
    try:  # an archive of that one file
        with tarfile.open(fileobj=io.BytesIO(done.stdout.encode())) as archive:
            stream = archive.extractfile(archive.getmembers()[0])
            return stream.read() if stream is not None else None
    except (tarfile.TarError, IndexError, KeyError):
        return None


def has(container: str, path: str) -> bool:
    """Whether a container, running or stopped, has this file. Raises EngineError."""
    done = engine.run("cp", f"{container}:{path}", "-", check=False)
    if done.exit_code != 0 and not _ABSENT.search(done.stderr):
        raise engine.explain(done.stderr.strip())
    return done.exit_code == 0


def start(container: str) -> None:
    """Start a stopped container. Raises CommandFailed."""
    process.run(start_command(container), timeout=120)


def unpause(container: str) -> None:
    """Resume a paused container. Raises CommandFailed."""
    engine.run("unpause", container, timeout=120)


def stop(container: str, seconds: int) -> None:
    """Ask a container to end, and kill it after `seconds`. Raises CommandFailed."""
    # The long form of the option has different names in old and new versions.
    engine.run("stop", "-t", str(seconds), container, timeout=seconds + 60)


def remove(*containers: str, check: bool = False) -> None:
    """Remove containers, even running ones, with their anonymous volumes."""
    if containers:
        engine.run("rm", "--force", "--volumes", *containers, timeout=120, check=check)


def logs(container: str, lines: int) -> Completed:
    """The last lines of a container's output."""
    return engine.run("logs", "--tail", str(lines), container, check=False)


def follow_logs(container: str, on_line: Callable[[str], None]) -> process.Running:
    """Follow a container's output; use it as a context manager."""
    return process.Running([engine.DOCKER, "logs", "--follow", container], on_line=on_line)
