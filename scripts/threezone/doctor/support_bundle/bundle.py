"""cluster.logs: logs and state of a cluster in one archive, without secrets.

Each file has a deadline of its own and may fail by itself: the archive of a broken cluster has what could be collected,
and names what is missing.
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
from threezone.doctor.support_bundle import contents
from threezone.doctor.support_bundle.redact import forms, redact
from threezone.kubeconfig import document
from threezone.zones.admin_kubeconfig import kubeconfig

_WORKERS = 4
_ERROR_LENGTH = 300  # characters of kind's message about what it could not export


@dataclass(frozen=True)
class Bundle:
    """The archive, the number of its files, and a line for each file that could not be collected."""

    path: Path
    files: int
    missing: tuple[str, ...]


def collect(lab: Lab, output: str = "") -> Bundle:
    """Write the archive, readable by its owner only; `output` names it. Raises UsageError when it cannot be written.

    The values in the cluster's Secrets, its kubeconfig and our own files are removed from all texts, and so is
    everything that looks like a key, a token or a password.
    """
    name = lab.name
    path = Path(output) if output else paths.state_dir() / "logs" / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}.tar.gz"
    with step(f"collect the logs of {name}") as running:
        api = _api(lab)
        known, unknown = secrets(lab, api)
        missing = [f"the values of Secrets, to remove them: {unknown}"] if unknown else []
        with _archive(path) as add, kind.private(name, "logs") as export, ThreadPoolExecutor(_WORKERS) as pool:
            wanted = {**contents.engine(name), **contents.nodes(name), **contents.threezone(lab)}
            if api is None:
                missing.append("kubernetes: the API server does not answer")
            else:
                wanted |= contents.kubernetes(api)
            add("README.txt", _readme(unknown))
            exported = pool.submit(_export, lab, export)
            texts = {file: pool.submit(get) for file, get in wanted.items()}
            for file, text in texts.items():
                running.say(file)
                try:
                    add(file, redact(text.result(), known))
                except ThreezoneError as error:
                    missing.append(f"{file}: {error.message}")
            missing += exported.result()
            for source in sorted(export.rglob("*")):
                if source.is_file() and not source.is_symlink():
                    content = source.read_bytes().decode(errors="replace")
                    add(f"kind/{source.relative_to(export)}", redact(content, known))
            files = add("missing.txt", redact("".join(f"{line}\n" for line in missing), known))
        running.result = f"{files} files"
    if api is not None:
        api.close()
    return Bundle(path.absolute(), files, tuple(missing))


@contextmanager
def _archive(path: Path) -> Iterator[Callable[[str, str], int]]:
    """A tar.gz that appears when it is complete; gives a function that adds a file and returns the number of files."""
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


def _api(lab: Lab) -> Api | None:
    """The API server by the user's entry; None when it does not answer."""
    try:
        lab.api.text("/readyz")
    except ThreezoneError:
        return None
    return lab.api


def _readme(unknown: str) -> str:
    """What was removed from the files, and what was not."""
    values = (
        f"The values of the cluster's Secrets could NOT be removed by value: {unknown}.\n"
        "Only what looks like a secret was removed. Read the files before you share them.\n"
        if unknown
        else "Removed: the values in the cluster's Secrets, its kubeconfig and threezone's own files, also in base64,\n"
        "hexadecimal, JSON and addresses.\n"
    )
    return (
        f"{values}Removed by their form: private keys, certificates, JSON web tokens, tokens with the prefix of their\n"
        "issuer, passwords in addresses, and the values of fields named token, password, secret, key and the like.\n"
        "Not removed: names, addresses, images, environment variables and arguments with other names, and values\n"
        "shorter than 4 characters. missing.txt lists what could not be collected.\n"
    )


def secrets(lab: Lab, api: Api | None) -> tuple[frozenset[str], str]:
    """All texts in which a secret of this cluster may appear; and why the values of Secrets are unknown, or ""."""
    values: list[str] = []
    unknown = "the API server does not answer"
    with suppress(ThreezoneError):  # of a stopped cluster: these are recognised by their form alone
        fresh = document.parse(kubeconfig(lab.name).encode(), "kind's kubeconfig")
        for user in document.items(fresh, "users").values():
            values += [value for value in (user.get("user") or {}).values() if isinstance(value, str)]
    file = git_server.password_file(lab.key)
    if file.is_file():
        values.append(file.read_text(encoding="utf-8"))
    if api is not None:
        try:
            values += of_secrets((api.get("/api/v1/secrets") or {}).get("items") or [])
            unknown = ""
        except ThreezoneError as error:
            unknown = error.message
    return frozenset(text for value in values for text in forms(value)), unknown


def of_secrets(items: list[Json]) -> Iterator[str]:
    """The values in Secrets, decoded where they are text. Pure."""
    for value in (value for item in items for value in (item.get("data") or {}).values()):
        try:
            yield base64.b64decode(value).decode()
        except ValueError:
            yield str(value)


def _export(lab: Lab, directory: Path) -> list[str]:
    """Run kind's own export (journals, logs of kubelet, containerd and pods); returns what it could not get."""
    from threezone.toolchain import install

    tool = install.find("kind", lab.requested_channel, lab.root)
    if tool is None:
        return ["kind: kind is not installed"]
    if not any(node.state == "running" for node in kind.nodes(lab.name)):
        return ["kind: its export needs a running node"]
    try:
        done = kind.export_logs(tool.path, lab.name, directory)
    except ThreezoneError as error:
        return [f"kind: {error.message}"]
    errors = " ".join(line for line in done.stderr.splitlines() if line.startswith("ERROR"))
    return [] if done.exit_code == 0 else [f"kind: {errors[:_ERROR_LENGTH]}"]
