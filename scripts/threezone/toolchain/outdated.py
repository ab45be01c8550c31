"""Which pinned programs have newer releases. Asks the Go module proxy of this machine (GOPROXY); without one, a note.

The proxy's `MODULE/@v/list` names the released versions (https://go.dev/ref/mod#goproxy-protocol); a proxy may know
only some of them. All modules are asked at the same time, under one deadline.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from threezone.core import net, pins, versions
from threezone.core.errors import ThreezoneError, ToolError
from threezone.toolchain import flux_cli, kubernetes, source

SECONDS = 10.0
ANSWER_BYTES = 2**20
DEFAULT_PROXY = "https://proxy.golang.org"
MODULES = {
    "kubectl": kubernetes.MODULE,
    "flux": flux_cli.MODULE,
    **{name: module for name, (module, _, _) in source.MODULES.items()},
}


@dataclass(frozen=True)
class Newer:
    """The newest patch of the pinned minor version and the newest release, "" for none; `note`: why it is not known."""

    name: str
    wanted: str
    patch: str = ""
    newest: str = ""
    note: str = ""

    @property
    def data(self) -> dict[str, str | None]:
        """For programs; its keys are an interface."""
        return {"patch": self.patch or None, "newest": self.newest or None, "note": self.note or None}


def ask(names: Iterable[str], root: Path | None = None, seconds: float = SECONDS) -> dict[str, Newer]:
    """What is newer than the pinned version of each program, by name. Raises nothing when the proxy does not answer."""
    tools = pins.tools(root)
    wanted = {name: tools.pin(name).version for name in names}
    address, why_not = proxy(os.environ.get("GOPROXY", ""))
    if why_not:
        return {name: Newer(name, version, note=why_not) for name, version in wanted.items()}
    end = time.monotonic() + seconds
    answers = {name: Future[list[str]]() for name in wanted}
    for name, future in answers.items():
        # Daemon threads: a hanging name service must not delay the end of the process.
        url = f"{address}/{MODULES[name]}/@v/list"
        threading.Thread(target=_fetch, args=(url, future, seconds), daemon=True).start()
    found = {}
    for name, future in answers.items():
        try:
            listed = future.result(max(0.0, end - time.monotonic()))
        except TimeoutError:
            found[name] = Newer(name, wanted[name], note=f"{urlsplit(address).netloc}: no answer in {seconds:.0f} s")
        except (ThreezoneError, OSError, ValueError) as error:
            found[name] = Newer(name, wanted[name], note=str(getattr(error, "message", "") or error))
        else:
            found[name] = compare(name, wanted[name], listed)
    return found


def proxy(setting: str) -> tuple[str, str]:
    """The first Go module proxy of a GOPROXY setting, or why it has none to ask here. Pure."""
    for entry in re.split("[,|]", setting or DEFAULT_PROXY):
        parts = urlsplit(entry.strip())
        if parts.scheme in ("http", "https") and parts.hostname:
            if parts.username is not None:  # an error's message names the address
                return "", "GOPROXY has credentials: ask it with go list -m -versions MODULE"
            return entry.strip().rstrip("/"), ""
    return "", "GOPROXY names no server to ask"


def compare(name: str, wanted: str, listed: Iterable[str]) -> Newer:
    """What is newer than `wanted` among the listed versions; pre-releases do not count. Pure."""
    pinned = versions.parse(wanted)
    released = [version for text in listed if (version := versions.parse_release(text.strip().removeprefix("v")))]
    newer = [version for version in released if version > pinned]
    patches = [version for version in newer if version.series == pinned.series]
    return Newer(name, wanted, *(versions.dotted(max(found)) if found else "" for found in (patches, newer)))


def _fetch(url: str, future: Future[list[str]], seconds: float) -> None:
    try:
        future.set_result(_list(url, seconds))
    except Exception as error:  # noqa: BLE001  whatever it is, the caller says it in a note
        future.set_exception(error if isinstance(error, (ThreezoneError, OSError)) else ValueError(str(error)))


def _list(url: str, seconds: float) -> list[str]:
    """The lines of the proxy's answer. Raises ToolError, and urllib3's errors for a broken body."""
    answer = net.request("GET", url, net.Limits(connect=seconds / 2, stall=seconds))
    try:
        body = answer.read(ANSWER_BYTES)
    finally:
        answer.close()
    if answer.status != net.SUCCESS:
        raise ToolError(f"{urlsplit(url).netloc} answered {answer.status}")
    return body.decode("utf-8", "replace").splitlines()
