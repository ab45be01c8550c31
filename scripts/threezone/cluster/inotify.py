"""How many inotify instances are left for new nodes, where that is seen: kind's known issue "too many open files"."""

from __future__ import annotations

import contextlib
from pathlib import Path

# Seen on running nodes, systemd and the system pods together (22 to 27, and 14). Without room for them a node does not
# come up, or its pods do not.
PER_NODE = {"control-plane": 22, "worker": 14}
LIMIT = Path("/proc/sys/fs/inotify/max_user_instances")
MORE = "sudo sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=524288; or delete a cluster"
LINK = "anon_inode:inotify"  # what /proc shows of one (proc(5))


def needed(roles: list[str]) -> int:
    """The instances that nodes of these roles open, about."""
    return sum(PER_NODE.get(role, 0) for role in roles)


def left(proc: Path = Path("/proc"), limit: Path = LIMIT) -> int | None:
    """The instances that root may still open on this machine; None where that cannot be seen.

    The limit is one per user, and nodes run as root. Without its rights only the limit itself is seen.
    """
    try:
        most = int(limit.read_text())
    except (OSError, ValueError):  # not Linux
        return None
    return most - sum(_held(process) for process in proc.glob("[0-9]*"))


def _held(process: Path) -> int:
    """The instances that a process of root holds; 0 for what is not root's or not ours to see."""
    held = 0
    with contextlib.suppress(OSError):  # it ended
        if process.stat().st_uid == 0:
            for link in (process / "fd").iterdir():
                with contextlib.suppress(OSError):
                    held += str(link.readlink()) == LINK
    return held
