"""HTTPS requests for downloads: with the environment's proxies, verified TLS, and redirects that keep TLS.

TLS trusts the system's authorities, where companies install their own, and those of `certifi`: some Pythons have no
others.
"""

from __future__ import annotations

import ipaddress
import socket
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from threezone.core import network_ca
from threezone.core.errors import ToolError

if TYPE_CHECKING:  # urllib3 is imported only for a download: the import takes as long as all others together
    from urllib3 import BaseHTTPResponse, PoolManager

REDIRECTS = 5
MOVED = frozenset({301, 302, 303, 307, 308})
SUCCESS = 200


@dataclass(frozen=True)
class Limits:
    """Seconds to connect, between two pieces of data and in total; bytes; attempts after a lost connection.

    `pause` is the time before the second attempt, in seconds; it grows with each.
    """

    connect: float = 10.0
    stall: float = 30.0
    total: float = 1800.0
    size: int = 512 * 2**20
    attempts: int = 3
    pause: float = 0.5


class Unreachable(ToolError):
    """The server cannot be reached: its name, the connection, the proxy or TLS failed."""


class ConnectionLost(ToolError):
    """The connection broke; another attempt may succeed."""


def request(method: str, url: str, limits: Limits) -> BaseHTTPResponse:
    """The response after redirects; its body is not read yet. The caller closes it.

    Raises Unreachable, ConnectionLost (both ToolError), or ToolError for a forbidden redirect.
    """
    target = url
    for _ in range(REDIRECTS + 1):
        if not _allowed(target, url):
            raise ToolError(
                f"{url} leads to {target}: only https is allowed (http only on this machine, if the pin says http)",
                fix="check the addresses in local/pins.toml",
            )
        response = _send(method, target, limits)
        location = response.headers.get("Location")
        if response.status not in MOVED or location is None:
            return response
        response.close()
        target = urljoin(target, location)
    raise ToolError(f"{url} redirects more than {REDIRECTS} times")


def _send(method: str, url: str, limits: Limits) -> BaseHTTPResponse:
    from urllib3 import Timeout, exceptions

    host = urlsplit(url).netloc
    headers = {"User-Agent": "threezone", "Accept-Encoding": "identity"}  # the hash is of the content as sent
    try:
        return _pool(_proxy(url)).request(
            method,
            url,
            headers=headers,
            redirect=False,
            retries=False,
            preload_content=False,
            timeout=Timeout(connect=limits.connect, read=limits.stall),
        )
    except exceptions.ReadTimeoutError:
        raise ToolError(f"{host} accepted the request but sent no answer for {limits.stall:.0f} s") from None
    except exceptions.ProtocolError as error:
        raise ConnectionLost(f"{host} closed the connection before it answered", evidence=str(error)) from None
    except exceptions.HTTPError as error:  # names, refused connections, TLS and the proxy
        fix = network_ca.advice(str(error))
        raise Unreachable(f"no connection to {host}", evidence=str(error), fix=fix) from None


def test_connection(url: str, timeout: float) -> None:
    """Connect to the host of `url`, or to its proxy, and disconnect. Raises OSError after `timeout` per address."""
    parts = urlsplit(_proxy(url) or url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    socket.create_connection((parts.hostname or "", port), timeout).close()


def _proxy(url: str) -> str | None:
    """The proxy that the environment (on macOS also the system) names for `url`."""
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxies = getproxies()
    if parts.hostname is None or proxy_bypass(parts.netloc) or is_loopback(parts.hostname):
        return None
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    return (proxy if "://" in proxy else f"http://{proxy}") if proxy else None


@cache
def _pool(proxy: str | None) -> PoolManager:
    import ssl

    import urllib3

    trust = ssl.create_default_context()
    try:
        import certifi
    except ImportError:
        pass
    else:
        trust.load_verify_locations(certifi.where())
    if proxy is None:
        return urllib3.PoolManager(ssl_context=trust)
    user = urlsplit(proxy)
    headers = None
    if user.username is not None:
        from urllib.parse import unquote

        login = f"{unquote(user.username)}:{unquote(user.password or '')}"
        headers = urllib3.make_headers(proxy_basic_auth=login)
    return urllib3.ProxyManager(proxy, ssl_context=trust, proxy_ssl_context=trust, proxy_headers=headers)


def is_loopback(host: str) -> bool:
    """Whether `host` is this machine, by name or address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _allowed(url: str, first: str) -> bool:
    parts = urlsplit(url)
    plain = parts.scheme == "http" and parts.hostname is not None and is_loopback(parts.hostname)
    return parts.scheme == "https" or (plain and urlsplit(first).scheme == "http")
