"""What must not leave the machine in an archive of logs: known values wherever they stand, and what has their form."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable

from threezone.core import process

HIDDEN = "***"
# Shorter ones stand in ordinary words; no password of ours or of Kubernetes is that short.
_SHORTEST = 8
_FORMS = (
    # Private keys, in PEM (RFC 7468) and as kubeconfigs and Secrets have them; a log's line may hold the escaped form.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (
        re.compile(r"((?:client-key|client-certificate|certificate-authority)-data[\"']?\s*[:=]\s*[\"']?)[\w+/=-]+"),
        rf"\1{HIDDEN}",
    ),
    # Base64 of "-----BEGIN": a certificate or key in data of any name.
    (re.compile(r"LS0tLS1CRUdJTi[\w+/=]+"), HIDDEN),
    # JSON web tokens: service accounts' are such.
    (re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+"), HIDDEN),
    # Kubernetes' bootstrap tokens (bootstrapapi, BootstrapTokenPattern), where they are called so.
    (re.compile(r"(token[\"']?\s*[:=]\s*[\"']?)[a-z0-9]{6}\.[a-z0-9]{16}\b", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"((?:--)?(?:token|password|passwd|secret)=)[^\s\"',&]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"(certificate-?key[\"']?\s*[:= ]\s*[\"']?)[0-9a-f]{64}\b", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic)\s+)[^\s\"']+", re.IGNORECASE), rf"\1{HIDDEN}"),
    # User and password in an address (RFC 3986, 3.2.1).
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@:\"']*:[^\s/@\"']+@", re.IGNORECASE), rf"\1{HIDDEN}@"),
)


def forms(value: str) -> set[str]:
    """How a secret value may stand in a text: as it is, line by line, in base64, and with its line ends escaped."""
    found = {value, value.strip()}
    found |= {line.strip() for line in value.splitlines()}
    found.add(value.strip().replace("\n", "\\n"))
    for text in (value, value.strip()):
        found.add(base64.b64encode(text.encode()).decode())
    try:
        decoded = base64.b64decode(value, validate=True).decode("ascii")
        found |= {decoded.strip(), *(line.strip() for line in decoded.splitlines())}
    except (binascii.Error, ValueError):
        pass
    return {text for text in found if len(text) >= _SHORTEST and not text.startswith("-----")}


def redact(text: str, known: Iterable[str] = ()) -> str:
    """`text` without any of the `known` texts (longest first) and without what has the form of a secret."""
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    for form, instead in _FORMS:
        text = form.sub(instead, text)
    return process.redact(text)
