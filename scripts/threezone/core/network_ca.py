"""The authority of a network that intercepts TLS, as companies' networks do: the setting `threezone.network.ca`.

Such a network shows certificates of its own for every host. Programs in here trust it by SSL_CERT_FILE and PIP_CERT;
nodes and Flux's controllers get a file below /etc/ssl/certs, all of whose files Go trusts (crypto/x509, root_linux.go).
"""

from __future__ import annotations

import hashlib
import os
import re
import ssl
from pathlib import Path

from threezone.core import paths
from threezone.core.errors import UsageError
from threezone.core.files import read, write_atomic

SYSTEM = "system"
SETTING = "threezone.network.ca"
FILE = "/etc/ssl/certs/threezone-network-ca.pem"  # in nodes and in Flux's controllers
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----\s.*?-----END CERTIFICATE-----", re.DOTALL)


def certificates(setting: str, root: Path) -> str:
    """The certificates that the setting names, as PEM and nothing else; "" without the setting. Raises UsageError."""
    if not setting:
        return ""
    path = _system_file() if setting == SYSTEM else root / Path(setting).expanduser()
    try:
        blocks = _CERTIFICATE.findall(read(path).decode("utf-8", "replace"))
    except OSError as error:
        raise _unusable(path, os.strerror(error.errno or 0)) from None
    if setting == SYSTEM:
        public = _public()
        blocks = [block for block in blocks if _der(block, path) not in public]
        if not blocks:
            raise UsageError(
                f"{SETTING} is {SYSTEM}, but this machine trusts no authority besides the public ones",
                evidence=str(path),
                fix=f"let {SETTING} be the file of your company's authority, or leave it out",
            )
    if not blocks:
        raise _unusable(path, "it has no PEM block CERTIFICATE")
    for block in blocks:
        _der(block, path)
    return "".join(f"{block}\n" for block in blocks)


def environment(pem: str) -> dict[str, str]:
    """The variables by which programs in here trust the certificates, too. Empty without certificates.

    The programs know one file only, so it is made of the system's authorities (or those of the user's SSL_CERT_FILE)
    and these. It is kept in the cache.
    """
    if not pem:
        return {}
    before = Path(os.environ.get("SSL_CERT_FILE") or _system_file())
    bundle = "\n".join((before.read_text(encoding="utf-8", errors="replace") if before.is_file() else "", pem))
    path = paths.cache_dir() / "network-ca" / f"{hashlib.sha256(bundle.encode()).hexdigest()[:16]}.pem"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, bundle.encode(), mode=0o644)
    return {"SSL_CERT_FILE": str(path), "PIP_CERT": os.environ.get("PIP_CERT") or str(path)}


def advice(words: str, otherwise: str = "") -> str:
    """What to do about a failure in a program's words; `otherwise` where TLS has not failed. Pure.

    The words are those of OpenSSL (pip, our downloads), of Go's crypto/x509 and of uv's rustls.
    """
    unknown = ("CERTIFICATE_VERIFY_FAILED", "certificate signed by unknown authority", "UnknownIssuer")
    if not any(each in words for each in unknown):
        return otherwise
    return (
        f"if your network intercepts TLS, let {SETTING} in invoke.yaml name a PEM file with its authority, or {SYSTEM}"
    )


def trust(setting: str, root: Path) -> None:
    """Let this process and the programs that it starts trust the certificates of the setting. Raises UsageError."""
    os.environ.update(environment(certificates(setting, root)))


def files(pem: str) -> dict[str, str]:
    """The files by which Go's programs in a node trust the certificates, by path."""
    return {FILE: pem} if pem else {}


def _system_file() -> Path:
    """The file with the authorities that this machine trusts, as OpenSSL and Debian, Fedora and Alpine name it."""
    known = ssl.get_default_verify_paths().cafile or ""
    usual = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
    return Path(next((name for name in (known, *usual) if name and Path(name).is_file()), usual[0]))


def _public() -> frozenset[bytes]:
    """The public authorities, as Mozilla lists them."""
    import certifi

    text = Path(certifi.where()).read_text(encoding="utf-8")
    return frozenset(ssl.PEM_cert_to_DER_cert(block) for block in _CERTIFICATE.findall(text))


def _der(block: str, path: Path) -> bytes:
    """A PEM block as DER. Raises UsageError for one that OpenSSL cannot read."""
    try:
        der = ssl.PEM_cert_to_DER_cert(block)
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=der)
    except (ValueError, ssl.SSLError) as error:
        raise _unusable(path, f"a certificate in it cannot be read: {error}") from None
    return der


def _unusable(path: Path, why: str) -> UsageError:
    return UsageError(f"{SETTING}: {path}: {why}", fix=f"let {SETTING} name a PEM file with your company's authority")
