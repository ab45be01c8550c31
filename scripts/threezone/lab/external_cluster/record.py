"""The context that a project has adopted: its tasks work on that existing cluster.

One small file for each project and user, below the state directory (0600). It holds a name and a route, never a key.
"""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from threezone.core import paths
from threezone.core.errors import ClusterError
from threezone.core.files import write_atomic

Address = tuple[str, str]  # server, TLS server name or ""


@dataclass(frozen=True)
class Adopted:
    """A context, and the address in its entry: `before` we changed it, and as we have `written` it, if we did."""

    context: str
    before: Address | None = None
    written: Address | None = None


def read(root: Path) -> Adopted | None:
    """What the project at `root` has adopted, or None."""
    try:
        data = json.loads(_file(root).read_text(encoding="utf-8"))
        addresses = {
            key: (str(data[key][0]), str(data[key][1])) if data[key] else None for key in ("before", "written")
        }
        return Adopted(str(data["context"]), **addresses)
    except (FileNotFoundError, ValueError, TypeError, KeyError, IndexError):
        return None  # an unreadable record counts as none; the next adoption replaces it


def write(root: Path, adopted: Adopted) -> None:
    """Record it, in one step."""
    write_atomic(_file(root), json.dumps(asdict(adopted) | {"root": str(root)}, indent=1))


def forget(root: Path) -> None:
    """Forget the adopted context."""
    path = _file(root)
    path.unlink(missing_ok=True)
    with suppress(OSError):  # another project has a record, or there was none
        path.parent.rmdir()


def context(root: Path) -> str:
    """The adopted context, "" when there is none."""
    adopted = read(root)
    return adopted.context if adopted else ""


def refuse(root: Path) -> None:
    """Raise ClusterError when the project has adopted a cluster: for tasks that create, stop or delete one."""
    if adopted := context(root):
        raise ClusterError(
            f"the cluster of the context {adopted} is adopted, not ours: it is not created, started, stopped or "
            "deleted here, and its engine is not used",
            fix="for a cluster of ours beside it add --name NAME; to give the adopted one back: "
            "./run invoke cluster.adopt --remove",
        )


def _file(root: Path) -> Path:
    return paths.state_dir() / "adopted" / f"{hashlib.sha256(str(root).encode()).hexdigest()[:16]}.json"
