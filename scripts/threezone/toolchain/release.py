"""The channel `release`: published files, trusted only by their pinned SHA-256."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from threezone.core import events, net
from threezone.core.errors import ToolError, UsageError
from threezone.core.net import Limits
from threezone.core.pins import ToolPin
from threezone.toolchain import golang

if TYPE_CHECKING:
    from urllib3 import BaseHTTPResponse

PIECE = 1 << 18
NOTE_SECONDS = 2.0  # between two notes of progress
SOURCE = "build it instead: ./run invoke tools.install --channel source"


def system() -> str:
    """The name of this system in releases: linux or darwin. Raises ToolError for others."""
    name = os.uname().sysname.lower()
    if name not in ("linux", "darwin"):
        raise ToolError(f"there are no programs for {name}", fix="use Linux, macOS or WSL 2")
    return name


def address(pin: ToolPin) -> str:
    """The address of the release for this machine. Raises UsageError for an unknown {name} in the pin's path."""
    return f"{pin.base.rstrip('/')}/{fill_in(pin.path, pin.version)}"


def fill_in(text: str, version: str) -> str:
    """A pin's path or member for this machine. Raises UsageError for an unknown {name}."""
    try:
        return text.format(version=version, os=system(), arch=golang.architecture())
    except (LookupError, ValueError):
        raise UsageError(
            f"{text!r} in pins.toml cannot be filled in: only {{version}}, {{os}} and {{arch}} can",
            fix="correct local/pins.toml",
        ) from None


def checksum(name: str, pin: ToolPin) -> str:
    """The pinned SHA-256 of the release for this machine. Raises ToolError when there is none."""
    platform = f"{system()}-{golang.architecture()}"
    pinned = getattr(pin.sha256, platform.replace("-", "_"), None)
    if pinned is None:
        raise ToolError(
            f"no checksum is pinned for {name} {pin.version} on {platform}: only the channel source has it",
            fix=f'add one that you trust to local/pins.toml:\n[tools.{name}.others."{pin.version}"]\n{platform} = "…"\n'
            f"or {SOURCE}",
        )
    return str(pinned)


def install(name: str, pin: ToolPin, into: Path, limits: Limits | None = None) -> None:
    """Download the released program `name` into the directory `into`. Raises ToolError."""
    with events.step(f"download {name} {pin.version}") as step:
        program = into / name
        target = into / ".archive" if pin.member else program
        fetch(address(pin), checksum(name, pin), target, limits or Limits())
        if pin.member:
            unpack(target, fill_in(pin.member, pin.version), program)
            target.unlink()
        program.chmod(0o755)
        step.result = f"{program.stat().st_size / 1e6:.0f} MB from {urlsplit(pin.base).netloc}, checksum as pinned"


def fetch(url: str, sha256: str, to: Path, limits: Limits) -> None:
    """Download `url` to the file `to`. With another SHA-256 than `sha256`, raise ToolError and leave no file.

    After a lost connection the download starts again.
    """
    for attempt in range(1, limits.attempts + 1):
        try:
            digest = _receive(url, to, limits)
        except net.ConnectionLost as error:
            to.unlink(missing_ok=True)
            if attempt == limits.attempts:
                raise ToolError(
                    f"{error.message} ({attempt} attempts)",
                    evidence=error.evidence or url,
                    fix=f"try again, or {SOURCE}",
                ) from None
            events.note(f"{error.message}; trying again")
            time.sleep(limits.pause * attempt)  # a restarting server needs a moment
        except BaseException:
            to.unlink(missing_ok=True)
            raise
        else:
            if digest != sha256:
                size = to.stat().st_size
                to.unlink()
                raise ToolError(
                    f"the checksum of {url} is wrong: pinned {sha256}, received {digest}",
                    evidence=f"{size:,} bytes received and deleted",
                    fix="do not use the file; compare the pin with the publisher's checksum",
                )
            return


def _receive(url: str, to: Path, limits: Limits) -> str:
    """Write the body to `to`. Returns its SHA-256."""
    began = time.monotonic()
    answer = net.request("GET", url, limits)
    try:
        if answer.status != net.SUCCESS:
            raise ToolError(
                f"{urlsplit(url).netloc} answered {answer.status} {answer.reason or ''}".rstrip() + f" for {url}",
                fix=f"check the version and address in pins.toml, or {SOURCE}",
            )
        length = answer.headers.get("Content-Length", "")
        total = int(length) if length.isdigit() else None
        digest = hashlib.sha256()
        received, noted = 0, began
        with to.open("wb") as file:
            while True:
                if max(received, total or 0) > limits.size:
                    raise ToolError(f"{url} is larger than {limits.size / 1e6:.0f} MB: it is not the program")
                if time.monotonic() - began > limits.total:
                    raise ToolError(f"{url} is too slow: {_of(received, total)} after {limits.total:.0f} s", fix=SOURCE)
                data = _piece(answer, url, received, total, limits)
                if not data:
                    return digest.hexdigest()
                digest.update(data)
                file.write(data)
                received += len(data)
                if time.monotonic() - noted >= NOTE_SECONDS:
                    noted = time.monotonic()
                    events.note(_progress(received, total, noted - began))
    finally:
        answer.close()


def _piece(answer: BaseHTTPResponse, url: str, received: int, total: int | None, limits: Limits) -> bytes:
    """The next bytes, b"" at the end. Raises ToolError when the server stalls, net.ConnectionLost when it hangs up."""
    from urllib3 import exceptions

    host = urlsplit(url).netloc
    try:
        data = answer.read1(PIECE, decode_content=False)
    except exceptions.ReadTimeoutError:
        raise ToolError(
            f"{host} sent nothing for {limits.stall:.0f} s after {_of(received, total)}",
            evidence=url,
            fix=f"try again, or {SOURCE}",
        ) from None
    except (exceptions.HTTPError, OSError) as error:
        if not isinstance(error.args[-1], exceptions.IncompleteRead):
            message = f"the connection to {host} broke after {_of(received, total)}"
            raise net.ConnectionLost(message, evidence=str(error)) from None
        data = b""
    if not data and total is not None and received < total:
        raise net.ConnectionLost(f"{host} ended the file after {_of(received, total)}: it is truncated", evidence=url)
    return data


def _of(received: int, total: int | None) -> str:
    return f"{received:,} of {total:,} bytes" if total is not None else f"{received:,} bytes"


def _progress(received: int, total: int | None, seconds: float) -> str:
    rate = received / max(seconds, 0.001)
    if total is None:
        return f"{received / 1e6:.1f} MB, {rate / 1e6:.1f} MB/s"
    remaining = (total - received) / max(rate, 1.0)
    return f"{100 * received // max(total, 1)} % of {total / 1e6:.0f} MB, {rate / 1e6:.1f} MB/s, {remaining:.0f} s left"


def unpack(archive: Path, member: str, to: Path) -> None:
    """Write only the regular file `member` of a .tar.gz to `to`."""
    import tarfile

    try:
        with tarfile.open(archive, "r:gz") as tar:
            for entry in tar:
                source = tar.extractfile(entry) if entry.name.removeprefix("./") == member and entry.isreg() else None
                if source is not None:
                    with source, to.open("wb") as file:
                        shutil.copyfileobj(source, file)
                    return
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ToolError(f"the archive of {member} cannot be read", evidence=str(error)) from None
    raise ToolError(f"the archive has no file {member}", evidence=str(archive))
