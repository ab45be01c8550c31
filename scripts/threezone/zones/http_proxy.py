"""Find the HTTP proxy that kubectl would use for a server, by the rules of Go's net/http.

Source: golang.org/x/net/http/httpproxy (`proxy.go`), which `http.ProxyFromEnvironment` uses. A proof (`prove.py`) never
uses a proxy, so it cannot show whether a proxy reaches the server.
"""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Mapping
from urllib.parse import urlsplit


def proxied(server: str, env: Mapping[str, str]) -> str:
    """Return a sentence that says which proxy of `env` kubectl would use for `server`, and how to avoid it; else "".

    The proxy's credentials are not shown. An entry's own `proxy-url` goes before the environment and is not read here.
    """
    variable, proxy = _first(env, "HTTPS_PROXY", "https_proxy")
    try:
        parts = urlsplit(server)
        host, port = parts.hostname or "", str(parts.port or 443)
    except ValueError:  # an invalid port, a missing bracket: nobody goes there
        return ""
    if not proxy or parts.scheme != "https" or not host:
        return ""
    no_proxy, exceptions = _first(env, "NO_PROXY", "no_proxy")
    if _direct(host, port, exceptions):
        return ""
    value = f'"${no_proxy},"{shlex.quote(host)}' if no_proxy else shlex.quote(host)
    return (
        f"kubectl would send its calls to {server} through the proxy {_shown(proxy)} (${variable}), which the proof "
        f"did not use; to go there directly: export NO_PROXY={value}"
    )


def _first(env: Mapping[str, str], *names: str) -> tuple[str, str]:
    """The first variable that is set and not empty, and its value."""
    return next(((name, env[name]) for name in names if env.get(name)), ("", ""))


def _shown(proxy: str) -> str:
    """The proxy without its credentials and path; without a scheme it is an http proxy."""
    address = proxy if "://" in proxy else f"http://{proxy}"
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}"


def _direct(host: str, port: str, exceptions: str) -> bool:
    """Whether the host is asked directly: it is this machine itself, or an exception in NO_PROXY names it."""
    ip = _ip(host)
    if host == "localhost" or (ip is not None and ip.is_loopback):
        return True
    return any(_matches(word.strip().lower(), host, port, ip) for word in exceptions.split(","))


def _matches(word: str, host: str, port: str, ip: ipaddress.IPv4Address | ipaddress.IPv6Address | None) -> bool:
    """Whether one word of NO_PROXY names the host: *, a network, an address, a name or a domain, with a port or not."""
    if word in ("", "*"):
        return word == "*"
    if (network := _network(word)) is not None:
        return ip is not None and ip in network
    name, word_port = _split(word)
    if (address := _ip(name)) is not None or ip is not None:
        return address is not None and address == ip and word_port in ("", port)
    name = name[1:] if name.startswith("*.") else name
    domain = name if name.startswith(".") else f".{name}"
    return bool(name) and (host.endswith(domain) or host == name) and word_port in ("", port)


def _split(word: str) -> tuple[str, str]:
    """Host and port of `host:port` and `[address]:port`; a bare IPv6 address is a host."""
    host, _, port = word.rpartition(":")
    if host and (host.startswith("[") == host.endswith("]")) and (host.startswith("[") or ":" not in host):
        return host.strip("[]"), port
    return word, ""


def _network(word: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    prefix = word.partition("/")[2]
    try:
        return ipaddress.ip_network(word, strict=False) if prefix.isdecimal() else None
    except ValueError:
        return None


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address
