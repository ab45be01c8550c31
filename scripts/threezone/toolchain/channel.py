"""Choose the channel for `auto`: `release` if every release host answers, else `source`. Asks once per process.

The files themselves are requested, with the same proxies, TLS and redirects as for the download, and the connection is
closed before the body. (Signed addresses may refuse HEAD.) Dropped packets cost CONNECT seconds, a server that accepts
connections but does not answer costs ANSWER seconds.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from concurrent.futures import Future
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from threezone.core import events, net, pins
from threezone.core.errors import ThreezoneError
from threezone.core.settings import Channel
from threezone.toolchain import release

CONNECT = 2.0
ANSWER = 8.0
REFUSED = frozenset({403, 407, 451})  # the answers of a filter in between
SERVER_ERROR = 500

_answers: dict[str, str] = {}  # address → why it cannot be reached, "" when it can


def resolve_channel(
    channel: Channel, urls: Iterable[str] | None = None, root: Path | None = None
) -> Literal["release", "source"]:
    """`channel` itself, or the channel to use for `auto`.

    `urls` are the files to fetch; by default the releases of all pinned programs.
    """
    if channel != "auto":
        return channel
    files = list(urls) if urls is not None else releases(root)
    is_new = any(url not in _answers for url in files)
    reasons = {url: reason for url, reason in why_not(files).items() if reason}
    if not reasons:
        return "release"
    if is_new:
        hosts = sorted({urlsplit(url).netloc for url in reasons})
        events.note(f"building from source: {', '.join(hosts)} cannot be reached ({next(iter(reasons.values()))})")
    return "source"


def why_not(urls: Iterable[str]) -> dict[str, str]:
    """Why each address cannot be reached, "" when it can. Every address is asked once per process."""
    urls = list(dict.fromkeys(urls))
    futures = {url: Future[str]() for url in urls if url not in _answers}
    connected = {url: threading.Event() for url in futures}
    began = time.monotonic()
    for url, future in futures.items():
        # Daemon threads: a hanging name service must not delay the end of the process.
        threading.Thread(target=_ask, args=(url, future, connected[url]), daemon=True).start()
    for url, future in futures.items():
        deadline = CONNECT if not connected[url].wait(max(0.0, began + CONNECT - time.monotonic())) else ANSWER
        try:
            _answers[url] = future.result(max(0.0, began + deadline - time.monotonic()))
        except TimeoutError:
            _answers[url] = f"no answer within {deadline:.0f} s"
    return {url: _answers[url] for url in urls}


def _ask(url: str, future: Future[str], connected: threading.Event) -> None:
    try:
        net.test_connection(url, CONNECT / 2)
        connected.set()
        answer = net.request("GET", url, net.Limits(connect=CONNECT, stall=ANSWER))
        answer.close()
        refused = answer.status in REFUSED or answer.status >= SERVER_ERROR
        future.set_result(f"answer {answer.status}" if refused else "")
    except ThreezoneError as error:
        future.set_result(error.message)
    except (OSError, ValueError) as error:  # ValueError: an invalid address or proxy
        future.set_result(str(error) or type(error).__name__)
    finally:
        connected.set()


def releases(root: Path | None = None) -> list[str]:
    """The files of all pinned programs."""
    tools = pins.tools(root)
    return [release.address(pin) for pin in (tools.kind, tools.kubectl, tools.flux)]
