"""The lease on a cluster's name: of all runs that use an engine, only its holder creates or deletes that cluster.

The lease is a container of ours on the engine, for that is what all runs share: other users, other checkouts, other
containers and other machines, where neither files nor process ids mean anything. Its name can be taken once, so the
engine decides between two runs. It ends by itself when its input ends, and that ends with its holder's connection,
also by kill -9: no lease outlives its holder. A volume or a network with a time in it would, and clocks differ.
"""

from __future__ import annotations

import getpass
import os
import re
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from threezone.clients.docker import containers
from threezone.core import labels, redaction
from threezone.core.errors import ClusterError, CommandFailed
from threezone.core.events import step
from threezone.core.plan import Step, StepKind
from threezone.engine import find, prove

FACTS = ("user", "host", "pid", "command", "since")
ABANDONED = 5.0  # seconds after which a container that was created and not started counts as left by a killed run
BRIEF = 8.0  # seconds to wait where a question has been answered for what was there then; more than ABANDONED
_PAUSE = 0.2  # while the engine removes a lease that has ended: it announces no end of that

_TRIES = 10  # to take a name whose container is not a lease; the holder's may have just ended
_NO_IMAGE = re.compile("no such image|unable to find image", re.IGNORECASE)

_held: set[str] = set()  # the clusters whose leases this process holds; its own are no obstacle


@dataclass(frozen=True)
class Lease:
    """The lease that another run holds on a cluster, and the run that holds it, in its own words."""

    cluster: str
    container: str
    state: str
    user: str = ""
    host: str = ""
    pid: str = ""
    command: str = ""
    since: str = ""

    @property
    def sentence(self) -> str:
        """Who is at work on the cluster."""
        run = f"{self.command}, pid {self.pid}, since {self.since}"
        return f"the cluster {self.cluster} is being changed by {self.user} on {self.host} ({run})"


def read(cluster: str) -> Lease | None:
    """The lease on a cluster that another run holds. One engine call. Raises EngineError."""
    if cluster in _held:
        return None
    fields = ("ID", "State", *(containers.label(f"{labels.LEASE}.{fact}") for fact in FACTS))
    rows = containers.ls(f"label={labels.LEASE}={cluster}", fields=fields)
    return Lease(cluster, *(_plain(cell) for cell in rows[0])) if rows else None


def holders() -> set[str]:
    """The clusters that a run is at work on. One engine call."""
    return {row[0] for row in containers.ls(f"label={labels.LEASE}", fields=(containers.label(labels.LEASE),))}


def wait_step(lease: Lease) -> Step:
    """The step for a cluster that another run changes: what comes after it is planned then."""
    sentence = f"wait, for {lease.sentence}; then plan anew"
    return Step(StepKind.WAIT_FOR_LEASE, sentence, reveals=True)


def busy(cluster: str, lease: Lease | None) -> ClusterError:
    """The refusal to change a cluster that another run changes."""
    name = _name(cluster)
    return ClusterError(
        lease.sentence if lease else f"the container {name} holds the cluster {cluster}, and says not for whom",
        evidence=f"container {name}" + (f" {lease.container[:12]}, {lease.state}" if lease else ""),
        fix=f"run this again when that run has ended; if it hangs: docker rm --force {name}, then ./run invoke up",
    )


def refuse(cluster: str) -> None:
    """Raise ClusterError if another run changes the cluster."""
    if lease := read(cluster):
        raise busy(cluster, lease)


@contextmanager
def hold(cluster: str, seconds: float) -> Iterator[None]:
    """Hold the lease on a cluster for the block; wait at most `seconds` for another run that holds it.

    The world may have changed until then: look again. A process that has the lease may enter again. Raises
    ClusterError, which names the holder, when the time is up.
    """
    if cluster in _held:
        yield
        return
    end, unknown = time.monotonic() + seconds, 0
    while True:
        with _attempt(cluster) as acquired:
            if acquired:
                _held.add(cluster)
                try:
                    yield
                finally:
                    _held.discard(cluster)
                return
        unknown = 0 if _wait(cluster, end) else unknown + 1
        if unknown > _TRIES or time.monotonic() > end:
            raise busy(cluster, read(cluster))


@contextmanager
def _attempt(cluster: str) -> Iterator[bool]:
    """Try to take the lease: the block is given whether this process has it."""
    for last in (False, True):
        with containers.held(prove.IMAGE, _name(cluster), _labels(cluster), prove.HELD) as ended:
            if ended is None:
                yield True
                return
        if "is already in use" in ended.stderr:
            yield False
            return
        if last or not _NO_IMAGE.search(ended.stderr):
            read(cluster)  # raises EngineError where the engine does not answer at all
            raise CommandFailed(ended.argv, ended.exit_code, redaction.redact(ended.stderr).strip())
        prove.make_image(find.require(find.observe()).architecture)


def _wait(cluster: str, end: float) -> bool:
    """Wait until nobody holds the lease; False when there was no holder. Raises ClusterError at the time `end`."""
    lease = read(cluster)
    if lease is None:
        time.sleep(_PAUSE)
        return False
    with step(f"wait for another run, at most {max(0, end - time.monotonic()):.0f} s") as progress:
        progress.say(lease.sentence)
        stopped: dict[str, float] = {}
        while lease is not None:
            left = end - time.monotonic()
            if left <= 0:
                raise busy(cluster, lease)
            if lease.state == "running":
                containers.wait(lease.container, left)
            elif stopped.setdefault(lease.container, left) - left > ABANDONED:
                containers.remove_stopped(lease.container)
            time.sleep(_PAUSE)
            lease = read(cluster)
    return True


def _labels(cluster: str) -> dict[str, str]:
    """The labels of a lease of this process: whose it is, without any value of an option."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without an entry
        user = str(os.getuid())
    # Names of tasks: other arguments may be the user's own.
    tasks = " ".join(word for word in sys.argv[1:] if re.fullmatch(r"[a-z]+(\.[a-z-]+)*", word))
    since = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    values = (user, socket.gethostname(), str(os.getpid()), tasks or "threezone", since)
    facts = {f"{labels.LEASE}.{fact}": _plain(value) for fact, value in zip(FACTS, values, strict=True)}
    return {labels.LEASE: cluster, labels.MANAGED: "true", **facts}


def _plain(text: str) -> str:
    """The text without control characters: it comes from another user, or goes to one."""
    return "".join(character for character in text if character.isprintable())[:80]


def _name(cluster: str) -> str:
    return f"threezone-lease-{cluster}"
