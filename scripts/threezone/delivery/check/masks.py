"""Hide values of Secrets."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

SAME = "***"  # kubectl, pkg/cmd/diff/diff.go: sensitiveMaskDefault
SHORTEST = 4  # characters of a secret value that is looked for inside of texts: shorter ones are in many words


def hide(value: Any, secrets: Collection[str]) -> Any:
    """The same data with `***` in place of secret values, alone or inside of a text."""
    if isinstance(value, dict):
        return {key: hide(each, secrets) for key, each in value.items()}
    if isinstance(value, list):
        return [hide(each, secrets) for each in value]
    if not secrets or isinstance(value, bool) or value is None:
        return value
    text = str(value)
    if text in secrets:
        return SAME
    if isinstance(value, str):
        for secret in sorted(secrets, key=len, reverse=True):
            value = value.replace(secret, SAME) if len(secret) >= SHORTEST else value
    return value
