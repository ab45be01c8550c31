"""cluster.logs: everything that helps to see what went wrong, in one archive, without secrets.

Each piece has its own deadline and may fail by itself: an archive of a cluster that is half gone holds the other half,
and says what could not be had.
"""

from __future__ import annotations

import base64
import io
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from threezone.clients import kind
from threezone.clients.kubernetes.api import Api, Json
from threezone.cluster.lab import Lab
from threezone.core import paths
from threezone.core.errors import ThreezoneError
from threezone.core.events import step
from threezone.core.files import output as open_output
from threezone.delivery import git_server
from threezone.doctor.support_bundle import contents as pieces
from threezone.doctor.support_bundle.contents import Piece
from threezone.doctor.support_bundle.redact import forms, redact
from threezone.kubeconfig import document
from threezone.zones.admin_kubeconfig import kubeconfig

_AT_ONCE = 4
_WORDS = 300  # characters of kind's own about what it could not get


@dataclass(frozen=True)
class Collected:
    """The archive, how many files are in it, and a line for each piece that could not be had."""

    path: Path
    files: int
    missing: tuple[str, ...]


def collect(lab: Lab, output: str = "") -> Collected:
    """Write the archive, for its owner alone; `output` names it. Raises UsageError when it cannot be written.

    What the cluster's Secrets, its kubeconfig and our own files hold is taken out wherever it stands, and so is what
    has the form of a key, a token or a password.
    """
    name = lab.name
    path = Path(output) if output else paths.state_dir() / "logs" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz"
    with step(f"collect the logs of {name}") as running:
        api = _api(lab)
        known = secrets(lab, api)
        missing: list[str] = []
        with _archive(path) as add, kind.private(name, "logs") as place:
            wanted = {**pieces.engine(name), **pieces.nodes(name), **pieces.ours(lab)}
            wanted |= pieces.kubernetes(api) if api else {}
            if api is None:
                missing.append("kubernetes: the API server does not answer")
            with ThreadPoolExecutor(_AT_ONCE) as pool:
                exported = pool.submit(_export, lab, place)
                for (file, _), text in zip(wanted.items(), pool.map(_attempt, wanted.values()), strict=True):
                    running.say(file)
                    if isinstance(text, ThreezoneError):
                        missing.append(f"{file}: {text.message}")
                    else:
                        add(file, redact(text, known))
                missing += exported.result()
            for source in sorted(place.rglob("*")):
                if source.is_file() and not source.is_symlink():
                    text = source.read_bytes().decode(errors="replace")
                    add(f"kind/{source.relative_to(place)}", redact(text, known))
            files = add("missing.txt", redact("".join(f"{line}\n" for line in missing), known))
        running.result = f"{files} files"
    if api is not None:
        api.close()
    return Collected(path.absolute(), files, tuple(missing))


@contextmanager
def _archive(path: Path) -> Iterator[Callable[[str, str], int]]:
    """A tar.gz that is there whole or not at all, for its owner alone; what is given adds a file and counts them."""
    with (
        open_output(path, fix="name another one with --output") as stream,
        tarfile.open(fileobj=stream, mode="w|gz") as archive,
    ):

        def add(name: str, text: str) -> int:
            data = text.encode()
            entry = tarfile.TarInfo(f"{path.name.removesuffix('.tar.gz')}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(data))
            return len(archive.getmembers())

        yield add


def _attempt(piece: Piece) -> str | ThreezoneError:
    try:
        return piece()
    except ThreezoneError as error:
        return error


def _api(lab: Lab) -> Api | None:
    """The API server by the user's entry, when it answers."""
    try:
        lab.api.text("/readyz")
    except ThreezoneError:
        return None
    return lab.api


def secrets(lab: Lab, api: Api | None) -> frozenset[str]:
    """Every text by which a secret of this cluster may be known: nobody is shown it."""
    values: list[str] = []
    with suppress(ThreezoneError):  # it is stopped, say: then these are known by their form alone
        fresh = document.parse(kubeconfig(lab.name).encode(), "kind's kubeconfig")
        for user in document.items(fresh, "users").values():
            values += [value for value in (user.get("user") or {}).values() if isinstance(value, str)]
    file = git_server.password_file(lab.key)
    if file.is_file():
        values.append(file.read_text(encoding="utf-8"))
    if api is not None:
        with suppress(ThreezoneError):
            values += of_secrets((api.get("/api/v1/secrets") or {}).get("items") or [])
    return frozenset(text for value in values for text in forms(value))


def of_secrets(items: list[Json]) -> Iterator[str]:
    """The values in Secrets, decoded where they are text. Pure."""
    for item in items:
        for value in (item.get("data") or {}).values():
            try:
                yield base64.b64decode(value).decode()
            except ValueError:
                yield str(value)


def _export(lab: Lab, place: Path) -> list[str]:
    """Kind's own export, as far as it comes: nodes' journals, the kubelet's and containerd's logs, pods' logs."""
    from threezone.toolchain import install

    tool = install.find("kind", lab.requested_channel, lab.root)
    if tool is None:
        return ["kind: kind is not installed"]
    if not any(node.state == "running" for node in kind.nodes(lab.name)):
        return ["kind: its export needs a node that runs"]
    try:
        done = kind.export_logs(tool.path, lab.name, place)
    except ThreezoneError as error:
        return [f"kind: {error.message}"]
    words = " ".join(line for line in done.stderr.splitlines() if line.startswith("ERROR"))
    return [] if done.exit_code == 0 else [f"kind: {words[:_WORDS]}"]
