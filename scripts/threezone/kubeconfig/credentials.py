"""The CA and the login (client certificate or token) of a kubeconfig entry, ready for Python's ssl."""

from __future__ import annotations

import base64
import binascii
import os
import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from threezone.core.errors import UsageError
from threezone.core.files import read
from threezone.kubeconfig.document import Entry


@dataclass(frozen=True)
class Trust:
    """`context` has the cluster's CA and the client's certificate; `headers` have a token.

    `unusable` says why we cannot send requests as this user (we never run a credential plugin).
    """

    context: ssl.SSLContext = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    unusable: str = ""


def trust(entry: Entry, *, cluster_directory: Path = Path(), user_directory: Path = Path()) -> Trust:
    """Load the CA and login of the entry. Its relative paths refer to the two directories.

    Raises UsageError for data that is not base64 or PEM, a missing file, or a key that does not fit its certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # always verifies the chain and the name
    authority = material(entry.cluster, "certificate-authority", cluster_directory, entry.context)
    certificate = material(entry.user, "client-certificate", user_directory, entry.context)
    key = material(entry.user, "client-key", user_directory, entry.context)
    try:
        if authority:
            context.load_verify_locations(cadata=authority.decode("ascii"))
        else:
            context.load_default_certs()
        if certificate and key:
            _load_client(context, certificate + b"\n" + key)
    except (ssl.SSLError, ValueError) as error:
        raise UsageError(
            f"the certificates of the context {entry.context} cannot be used", evidence=str(error)
        ) from None
    token = str(entry.user.get("token") or "")
    if entry.user.get("tokenFile"):
        token = _file(user_directory / str(entry.user["tokenFile"]), entry.context).decode().strip()
    plugin = next((key for key in ("exec", "auth-provider") if entry.user.get(key)), "")
    unusable = f"threezone does not run the user's credential plugin ({plugin})" if plugin else ""
    return Trust(context, {"Authorization": f"Bearer {token}"} if token else {}, unusable)


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
