"""The CA and the login (client certificate or token) of a kubeconfig entry, ready for Python's ssl."""

from __future__ import annotations

import base64
import binascii
import os
import re
import shlex
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from threezone.core import redaction
from threezone.core.errors import UsageError
from threezone.core.files import read
from threezone.kubeconfig.document import Entry

PROXIES = ("http", "https", "socks5", "socks5h")  # client-go, tools/clientcmd/validation.go; Go resolves names there
_LONG = 8  # characters: a shorter secret is a part of many words, which would be redacted too
_CERTIFICATE = re.compile(rb"^-----BEGIN CERTIFICATE-----\s.*?^-----END CERTIFICATE-----", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Trust:
    """`context` has the cluster's CA and the client's certificate; `headers` have a token.

    `unusable` says why we cannot send requests as this user (we never run a credential plugin).
    """

    context: ssl.SSLContext = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    unusable: str = ""
    proxy: str = field(default="", repr=False)  # the entry's proxy-url, which may have a password


def trust(entry: Entry, *, cluster_directory: Path = Path(), user_directory: Path = Path()) -> Trust:
    """Load the CA and login of the entry, by the rules of Go and kubectl. Relative paths refer to the two directories.

    The server is verified even where the entry says `insecure-skip-tls-verify`; over plain HTTP no login is sent.
    Raises UsageError for data that is not base64 or PEM, a missing file, a key that does not fit its certificate, and
    a token that no HTTP header can carry.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # always verifies the chain and the name
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an intermediate CA may be the anchor, as in Go
    context.hostname_checks_common_name = False  # Go reads the subject's alternative names only
    authority = material(entry.cluster, "certificate-authority", cluster_directory, entry.context)
    certificate = material(entry.user, "client-certificate", user_directory, entry.context)
    key = material(entry.user, "client-key", user_directory, entry.context)
    if authority and entry.cluster.get("insecure-skip-tls-verify"):
        raise UsageError(
            f"the context {entry.context} has a CA and insecure-skip-tls-verify, which kubectl refuses",
            fix=f"kubectl config set-cluster {shlex.quote(entry.cluster_name)} --insecure-skip-tls-verify=false",
        )
    if authority:
        _load_authority(context, authority, entry.context)
    else:
        context.load_default_certs()
    try:
        if certificate and key:
            _load_client(context, certificate + b"\n" + key)
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(
            f"the certificates of the context {entry.context} cannot be used", evidence=str(error)
        ) from None
    plugin = next((key for key in ("exec", "auth-provider") if entry.user.get(key)), "")
    proxy = _proxy(entry)
    if is_plain_http(entry.server):
        return Trust(context, proxy=proxy)
    unusable = f"threezone does not run the user's credential plugin ({plugin})" if plugin else ""
    token = _token(entry, user_directory)
    return Trust(context, {"Authorization": f"Bearer {token}"} if token else {}, unusable, proxy)


def is_plain_http(server: str) -> bool:
    """Whether an entry's server is reached without TLS: kubectl sends no login there (client-go, transport)."""
    return server.lower().startswith("http://")


def _proxy(entry: Entry) -> str:
    """The entry's proxy-url. Raises UsageError, without it, for one that kubectl cannot use."""
    proxy = str(entry.cluster.get("proxy-url") or "")
    try:
        parts = urlsplit(proxy)
        usable = parts.scheme in PROXIES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # an invalid port, a missing bracket
        usable = False
    if proxy and not usable:
        raise UsageError(
            f"the proxy-url of the context {entry.context} is not the address of a proxy ({', '.join(PROXIES)})",
            fix=f"kubectl config set-cluster {shlex.quote(entry.cluster_name)} --proxy-url=http://HOST:PORT",
        )
    if proxy:
        _hide(parts.password or "")
    return proxy


def _token(entry: Entry, directory: Path) -> str:
    """The entry's token as header text: UTF-8 as the bytes that Go would send. A file wins, and is trimmed."""
    token = str(entry.user.get("token") or "").encode()
    where = f"the token of the context {entry.context}"
    if entry.user.get("tokenFile"):
        token = _file(directory / str(entry.user["tokenFile"]), entry.context).strip()
        where = f"{entry.user['tokenFile']}, the token of the context {entry.context},"
    if bad := re.search(rb"[^\t\x20-\x7e\x80-\xff]", token):
        problem = "a line break" if bad[0] in b"\r\n" else f"the control character 0x{bad[0][0]:02x}"
        raise UsageError(
            f"{where} has {problem} (byte {bad.start() + 1} of {len(token)}), which no HTTP header may have",
            fix=f"kubectl config set-credentials {shlex.quote(entry.user_name)} --token=… with the token alone",
        )
    text = token.decode("latin-1")
    _hide(text)
    return text


def _hide(secret: str) -> None:
    if len(secret) >= _LONG:
        redaction.keep_secret(secret)


def _load_authority(context: ssl.SSLContext, pem: bytes, name: str) -> None:
    """Load the CAs as Go does: other text, other blocks and certificates that cannot be read are passed over."""
    problem = "it has no PEM block CERTIFICATE"
    loaded = 0
    for block in _CERTIFICATE.findall(pem):
        try:
            context.load_verify_locations(cadata=block.decode("ascii"))
            loaded += 1
        except (ssl.SSLError, ValueError) as error:
            problem = getattr(error, "reason", None) or "a block is not base64"
    if not loaded:
        raise UsageError(f"the CA of the context {name} cannot be used", evidence=problem)


def material(stanza: Mapping[str, Any], key: str, directory: Path, context: str) -> bytes:
    """Return the PEM text in `<key>-data` of the stanza, or in the file that `<key>` names; empty without both."""
    data = stanza.get(f"{key}-data")
    if data:
        try:
            return base64.b64decode("".join(str(data).split()), validate=True)
        except binascii.Error as error:
            raise UsageError(f"{key}-data of the context {context} is not base64", evidence=str(error)) from None
    return _file(directory / str(stanza[key]), context) if stanza.get(key) else b""


def _file(path: Path, context: str) -> bytes:
    try:
        return read(path)
    except OSError as error:
        reason = os.strerror(error.errno or 0)
        raise UsageError(f"{path}, which the context {context} names, cannot be read: {reason}") from None


def _load_client(context: ssl.SSLContext, pem: bytes) -> None:
    """Load certificate and key from a short-lived private file: `ssl` can only read files."""
    with tempfile.TemporaryDirectory(prefix="threezone-") as private:  # mode 0700
        path = Path(private, "client.pem")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as stream:
            stream.write(pem)
        # An encrypted key would make OpenSSL ask at the terminal; kubectl cannot use one either.
        context.load_cert_chain(path, password=lambda: "")
