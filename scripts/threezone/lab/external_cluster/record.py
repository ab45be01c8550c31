"""The context that a project has adopted: a cluster that is there already is the one that its tasks work with.

One small file for each project and user, below the state directory (0600). It holds a name and a way, never a key.
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

Way = tuple[str, str]  # server, TLS server name or ""


@dataclass(frozen=True)
class Adopted:
    """A context, and the way in its entry: as it was `before` we changed it and as we have `written` it, if we did."""

    context: str
    before: Way | None = None
    written: Way | None = None


def read(root: Path) -> Adopted | None:
    """What the project at `root` has adopted, or None."""
    try:
        data = json.loads(_file(root).read_text(encoding="utf-8"))
        ways = {key: (str(data[key][0]), str(data[key][1])) if data[key] else None for key in ("before", "written")}
        return Adopted(str(data["context"]), **ways)
    except (FileNotFoundError, ValueError, TypeError, KeyError, IndexError):
        return None  # what cannot be read adopts nothing, and is written anew by the next adoption


def write(root: Path, adopted: Adopted) -> None:
    """Record it, in one step."""
    write_atomic(_file(root), json.dumps(asdict(adopted) | {"root": str(root)}, indent=1))


def forget(root: Path) -> None:
    """Adopt nothing any more."""
    path = _file(root)
    path.unlink(missing_ok=True)
    with suppress(OSError):  # another project's record is there, or there was none
        path.parent.rmdir()


def context(root: Path) -> str:
    """The adopted context, "" when there is none."""
    found = read(root)
    return found.context if found else ""


def refuse(root: Path) -> None:
    """For what makes, stops or deletes a cluster. Raises ClusterError when the project has adopted one."""
    if held := context(root):
        raise ClusterError(
            f"the cluster of the context {held} is adopted, not ours: it is not created, started, stopped or deleted "
            "here, and nothing is asked of its engine",
            fix="for a cluster of ours beside it add --name NAME; to give the adopted one back: "
            "./run invoke cluster.adopt --remove",
        )


def _file(root: Path) -> Path:
    return paths.state_dir() / "adopted" / f"{hashlib.sha256(str(root).encode()).hexdigest()[:16]}.json"
