"""Secrets that this process knows: they are replaced in whatever it shows or records."""

from __future__ import annotations

import re

_secrets: set[str] = set()
_IN_ADDRESS = re.compile(r"(://[^/@:\s\"']*):[^/@\s\"']+@")


def keep_secret(value: str) -> None:
    """Redact `value` from now on: it becomes *** in every command line, tail and streamed line."""
    if value:
        _secrets.add(value)


def redact(text: str) -> str:
    """Replace every known secret, the longest first, as one may contain another; and passwords in addresses."""
    for value in sorted(_secrets, key=len, reverse=True):
        text = text.replace(value, "***")
    return without_passwords(text)


def without_passwords(text: str) -> str:
    """Replace the passwords in addresses (RFC 3986, 3.2.1), such as that of DOCKER_HOST or of a proxy."""
    return _IN_ADDRESS.sub(r"\1:***@", text) if "://" in text and "@" in text else text
