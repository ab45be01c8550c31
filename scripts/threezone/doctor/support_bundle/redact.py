"""Removal of secrets from the texts of a support bundle: known values, and everything that looks like a secret.

No rule repeats a repetition without a fixed start, so that the time grows with the length of the text only.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote, quote_plus

from threezone.core import redaction

HIDDEN = "***"
# Shorter values occur in ordinary words: they are hidden where they stand alone.
_SHORTEST, _SHORTEST_WORD = 8, 4
_LONGEST_INNER = 200  # of a value that is looked for inside other base64, such as that of `user:password`
_WIDTHS = (60, 64, 70, 76)  # at which programs break base64 into lines

# Short values that are ordinary words or numbers: `default`, `Admin`, `8080`.
_WORD = re.compile(r"[a-z]+|[A-Z]+|[A-Z][a-z]+|[\d.:]{1,5}")

# Names of fields and variables whose value is a secret; endings of names whose value only tells of one.
_KEYS = r"(?:api|access|private|encryption|signing)[_-]?key"
_NAME = rf"[\w.-]*(?:token|passw(?:or)?d|passphrase|pwd|secret|credentials?|{_KEYS})"
_ABOUT = (
    "names?|refs?|files?|paths?|dir|types?|kinds?|versions?|urls?|uri|ids?|count|size|seconds|ttl|mode|mounts?|policy"
    "|provider|controllers?|signer|cleaner|stores?|class|groups?|namespaces?|manager|reviews?|requests?|audiences?"
    r"|sources?|volumes?|projection|expiration\w*|hash|bytes|generator|limit|usage"
)
_PLAIN_VALUES = r"true|false|null|nil|none|yes|no|unset|\d{1,6}|[{\[<>(].*|\*{3}.*"
_ASSIGNED = re.compile(
    rf"(?i)(?<![\w.-])({_NAME}(?!(?:{_ABOUT})\b)[\w.-]{{0,40}}\\?[\"']?[ \t]{{0,3}}(?:=>|[:=])[ \t]{{0,3}})"
    r"(\\\"(?:[^\"\\\n]|\\[^\"\n])*\\\"|\"(?:[^\"\\\n]|\\[^\n])*\"|'[^'\n]*'|[^\s,;&\"'}\]]+)"
)

_FORMS = (
    # Private keys, in PEM (RFC 7468) and as in kubeconfigs and Secrets; in a log line the line ends may be escaped.
    (
        re.compile(
            r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----.*?(?:-----END [A-Z ]{0,40}PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        HIDDEN,
    ),
    (
        re.compile(
            r"((?:client-key|client-certificate|certificate-authority)-data\\?[\"']?\s*[:=]\s*\\?[\"']?)[\w+/=-]+"
        ),
        rf"\1{HIDDEN}",
    ),
    # Base64 of "-----BEGIN": a certificate or key in data of any name.
    (re.compile(r"LS0tLS1CRUdJTi[\w+/=]+"), HIDDEN),
    # JSON web tokens, such as those of service accounts.
    (re.compile(r"(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]+"), HIDDEN),
    # Kubernetes' bootstrap tokens (bootstrapapi, BootstrapTokenPattern), behind the word token.
    (re.compile(r"(token\\?[\"']?\s*[:=]\s*\\?[\"']?)[a-z0-9]{6}\.[a-z0-9]{16}\b", re.IGNORECASE), rf"\1{HIDDEN}"),
    # Tokens with the prefix of their issuer: GitHub, GitLab, Slack, AWS, Google, Vault, npm, PyPI, Docker, OpenShift.
    (
        re.compile(r"(?<![A-Za-z0-9])(?:gh[opusr]_|github_pat_|gl(?:pat|agent|rt|cbt|dt|ptt|ft|soat|imt)-)[\w.-]{8,}"),
        HIDDEN,
    ),
    (
        re.compile(
            r"(?<![A-Za-z0-9])(?:xox[abeoprs]-|npm_|pypi-|dckr_(?:pat|oat)_|hf_|hv[sbr]\.|sha256~|ya29\.|sk-|AIza)[\w.-]{10,}"
        ),
        HIDDEN,
    ),
    (re.compile(r"(?<![A-Z0-9])(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"), HIDDEN),
    (re.compile(r"(certificate-?key[\"']?\s*[:= ]\s*[\"']?)[0-9a-f]{64}\b", re.IGNORECASE), rf"\1{HIDDEN}"),
    (
        re.compile(
            r"(authorization\\?[\"']?\s{0,3}[:=]\s{0,3}\\?[\"']?(?:bearer|basic|token)\s+)[^\s\"'\\]+", re.IGNORECASE
        ),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"\b((?:bearer|basic) )[\w+/=.~-]{16,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    (
        re.compile(r"((?<!\S)--?[\w-]{0,40}(?:token|password|passwd|secret|api-?key)[ \t]+)[^\s-]\S*", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
    (re.compile(r"((?:set-)?cookie\\?[\"']?[ \t]{0,3}[:=][ \t]{0,3})[^\n]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    # "auth" in Docker's config.json: base64 of user and password.
    (re.compile(r"(\\?[\"']auth\\?[\"']\s{0,3}:\s{0,3}\\?[\"'])[\w+/=]+"), rf"\1{HIDDEN}"),
    # User and password in an address (RFC 3986, 3.2.1).
    (
        re.compile(
            r"((?<![A-Za-z0-9+.-])[a-z][a-z0-9+.-]{0,30}://)[^\s/@:\"']{0,200}:[^\s/@\"']{1,500}@", re.IGNORECASE
        ),
        rf"\1{HIDDEN}@",
    ),
)


def forms(value: str) -> set[str]:
    """The texts in which a secret may appear.

    As it is, line by line, in base64 (whole, in lines, or inside other base64), in hexadecimal, and escaped for
    addresses and JSON. Of JSON, as a dockerconfigjson has it, the same for each text in it.
    """
    plain = {value, value.strip(), *(line.strip() for line in value.splitlines())}
    with suppress(ValueError):  # it is not base64, or not text
        decoded = base64.b64decode(value, validate=True).decode("ascii")
        plain |= {decoded.strip(), *(line.strip() for line in decoded.splitlines())}
    with suppress(ValueError, RecursionError):
        plain |= set(_leaves(json.loads(value)))
    plain = {text for text in plain if _is_telling(text)}
    return plain | {text for each in plain for text in _encoded(each) if len(text) >= _SHORTEST_WORD}


def _is_telling(text: str) -> bool:
    """Whether a value would not be found everywhere."""
    if len(text) >= _SHORTEST:
        return not text.startswith("-----")
    return len(text) >= _SHORTEST_WORD and not _WORD.fullmatch(text)


def _leaves(data: Any) -> Iterator[str]:
    """The texts in JSON that are secrets: all but the names in a dockerconfigjson, and its users."""
    if isinstance(data, dict):
        for key, item in data.items():
            if key not in ("username", "email"):
                yield from _leaves(item)
    elif isinstance(data, list):
        for item in data:
            yield from _leaves(item)
    elif isinstance(data, str):
        yield data


def _encoded(text: str) -> Iterator[str]:
    raw = text.encode()
    whole = base64.b64encode(raw).decode()
    yield from (whole, whole.rstrip("="), base64.urlsafe_b64encode(raw).decode().rstrip("="))
    yield from (text.replace("\n", "\\n"), quote(text, safe=""), quote(text), quote_plus(text))
    for escaped in (json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]):
        yield from (escaped, escaped.replace("\\", "\\\\"))
        yield re.sub("[<>&]", lambda match: f"\\u{ord(match[0]):04x}", escaped)  # as Go writes JSON
    for width in _WIDTHS:
        if len(whole) > width:
            yield from (whole[start : start + width] for start in range(0, len(whole), width))
    if _SHORTEST <= len(raw) <= _LONGEST_INNER:
        yield raw.hex()
        for before in range(3):  # bytes of the group of three in which it begins
            inside = base64.b64encode(b"\0" * before + raw).decode().rstrip("=")
            first = (before * 8 + 5) // 6
            yield inside[first : (before + len(raw)) * 8 // 6]


def redact(text: str, known: Iterable[str] = ()) -> str:
    """Replace the `known` texts (the longest first), and everything that looks like a secret."""
    for value in sorted(known, key=len, reverse=True):
        if value not in text:
            continue
        if len(value) >= _SHORTEST:
            text = text.replace(value, HIDDEN)
        else:
            text = re.sub(rf"(?<![\w-]){re.escape(value)}(?![\w-])", HIDDEN, text)
    for form, replacement in _FORMS:
        text = form.sub(replacement, text)
    return redaction.redact(_ASSIGNED.sub(_without_value, text))


def _without_value(match: re.Match[str]) -> str:
    value = match[2].strip("\\\"'")
    if re.fullmatch(_PLAIN_VALUES, value, re.IGNORECASE) or not value:
        return match[0]
    opening = re.match(r"\\?[\"']", match[2])
    quotes = opening[0] if opening else ""
    return f"{match[1]}{quotes}{HIDDEN}{quotes}"
