"""Removal of secrets from the texts of a support bundle: known values, and everything that looks like a secret."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from contextlib import suppress

from threezone.core import process

HIDDEN = "***"
# Shorter values occur in ordinary words; no password of ours or of Kubernetes is that short.
_SHORTEST = 8
_FORMS = (
    # Private keys, in PEM (RFC 7468) and as in kubeconfigs and Secrets; in a log line the line ends may be escaped.
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (
        re.compile(r"((?:client-key|client-certificate|certificate-authority)-data[\"']?\s*[:=]\s*[\"']?)[\w+/=-]+"),
        rf"\1{HIDDEN}",
    ),
    # Base64 of "-----BEGIN": a certificate or key in data of any name.
    (re.compile(r"LS0tLS1CRUdJTi[\w+/=]+"), HIDDEN),
    # JSON web tokens, such as those of service accounts.
    (re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+"), HIDDEN),
    # Kubernetes' bootstrap tokens (bootstrapapi, BootstrapTokenPattern), behind the word token.
    (re.compile(r"(token[\"']?\s*[:=]\s*[\"']?)[a-z0-9]{6}\.[a-z0-9]{16}\b", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"((?:--)?(?:token|password|passwd|secret)=)[^\s\"',&]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"(certificate-?key[\"']?\s*[:= ]\s*[\"']?)[0-9a-f]{64}\b", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"(authorization[\"']?\s*[:=]\s*[\"']?(?:bearer|basic)\s+)[^\s\"']+", re.IGNORECASE), rf"\1{HIDDEN}"),
    # User and password in an address (RFC 3986, 3.2.1).
    (re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@:\"']*:[^\s/@\"']+@", re.IGNORECASE), rf"\1{HIDDEN}@"),
)


def forms(value: str) -> set[str]:
    """The texts in which a secret may appear: as it is, line by line, in base64, and with escaped line ends."""
    texts = {value, value.strip(), value.strip().replace("\n", "\\n")}
    texts |= {base64.b64encode(text.encode()).decode() for text in (value, value.strip())}
    texts |= {line.strip() for line in value.splitlines()}
    with suppress(ValueError):  # it is not base64, or not text
        decoded = base64.b64decode(value, validate=True).decode("ascii")
        texts |= {decoded.strip(), *(line.strip() for line in decoded.splitlines())}
    return {text for text in texts if len(text) >= _SHORTEST and not text.startswith("-----")}


def redact(text: str, known: Iterable[str] = ()) -> str:
    """Replace the `known` texts (the longest first), and everything that looks like a secret."""
    for value in sorted(known, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    for form, replacement in _FORMS:
        text = form.sub(replacement, text)
    return process.redact(text)
