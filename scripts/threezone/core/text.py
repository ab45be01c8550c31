"""Small pure functions on text."""

from __future__ import annotations

import hashlib
import re


def slug(context: str) -> str:
    """A context's name as a part of file names: the same, or with a digest where that loses something. Pure."""
    plain = re.sub(r"[^A-Za-z0-9._-]", "-", context).lstrip("._-")
    return plain if plain == context else f"{plain[-60:]}-{hashlib.sha256(context.encode()).hexdigest()[:8]}"
