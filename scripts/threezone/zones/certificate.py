"""Read a PEM certificate: fingerprint, end of validity, names. Python's ssl needs a connection for that."""

from __future__ import annotations

import hashlib
import ipaddress
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime

_END = "-----END CERTIFICATE-----"
# ASN.1 tags (X.690): the optional version in front of a TBSCertificate, and the older of the two forms of a time.
_VERSION, _UTC_TIME = 0xA0, 0x17
_LONG = 0x80  # a length of more than one byte
# RFC 5280: the extensions of a TBSCertificate; 2.5.29.17 is subjectAltName, of which these two forms are names here.
_EXTENSIONS, _ALT_NAMES, _DNS, _ADDRESS = 0xA3, b"\x55\x1d\x11", 0x82, 0x87


def fingerprint(pem: bytes) -> str | None:
    """The SHA-256 of the first certificate in PEM text, as browsers and openssl show it; None without one."""
    der = _first(pem)
    return hashlib.sha256(der).hexdigest() if der else None


def not_after(pem: bytes) -> datetime | None:
    """When the first certificate in PEM text ends (RFC 5280, 4.1.2.5); None without one, or for a broken one."""
    try:
        fields = _fields(pem)
        # Before the validity come serialNumber, signature and issuer, and most often the version.
        (_, _), (tag, value), *_ = _elements(fields[4 if fields[0][0] == _VERSION else 3][1])
        text = value.decode("ascii")
        if tag == _UTC_TIME:
            text = ("19" if text >= "50" else "20") + text
        return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)
    except (ValueError, IndexError):
        return None


def names(pem: bytes) -> tuple[str, ...]:
    """The DNS names and addresses of the first certificate in PEM text (RFC 5280, 4.2.1.6); none in a broken one."""
    try:
        ((_, extensions),) = _elements(dict(_fields(pem))[_EXTENSIONS])
        for _, extension in _elements(extensions):
            (_, kind), *_, (_, value) = _elements(extension)  # the optional field "critical" is between them
            if kind == _ALT_NAMES:
                ((_, listed),) = _elements(value)
                return tuple(_name(tag, name) for tag, name in _elements(listed) if tag in (_DNS, _ADDRESS))
    except (ValueError, IndexError, KeyError):
        pass
    return ()


def _name(tag: int, value: bytes) -> str:
    return value.decode("ascii") if tag == _DNS else str(ipaddress.ip_address(value))


def _fields(pem: bytes) -> list[tuple[int, bytes]]:
    """Return the elements of the TBSCertificate. Raises ValueError, IndexError for broken data."""
    (_, certificate), *_ = _elements(_first(pem) or b"")
    (_, to_be_signed), *_ = _elements(certificate)
    return list(_elements(to_be_signed))


def _first(pem: bytes) -> bytes | None:
    try:
        text = pem.decode("ascii")
        return ssl.PEM_cert_to_DER_cert(text[text.index("-----BEGIN CERTIFICATE") : text.index(_END) + len(_END)])
    except ValueError:
        return None


def _elements(der: bytes) -> Iterator[tuple[int, bytes]]:
    """The elements that follow each other in DER: tag and content. Raises ValueError, IndexError for broken data."""
    while der:
        tag, length, der = der[0], der[1], der[2:]
        if length & _LONG:
            size = length & ~_LONG
            length, der = int.from_bytes(der[:size], "big"), der[size:]
        if length > len(der):
            raise ValueError("truncated")
        yield tag, der[:length]
        der = der[length:]
