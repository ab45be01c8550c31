"""Versions of programs: read from text, compared as numbers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

RELEASE = r"\d+\.\d+\.\d+"
KUBERNETES = r"1\.\d+(\.\d+)?"  # a minor version or a release
FLUX = r"2\.\d+(\.\d+)?"


class Version(NamedTuple):
    """The numbers of a version. `Version()` is false, and older than any other."""

    major: int = 0
    minor: int = 0
    patch: int = 0

    def __bool__(self) -> bool:
        return any(self)

    @property
    def series(self) -> tuple[int, int]:
        """The numbers without the patch."""
        return self.major, self.minor


def parse(text: str) -> Version:
    """The version at the start of a text such as v1.35, 2.7.3 or 20.10.24+dfsg1; `Version()` for any other text.

    A pre-release counts as its release.
    """
    match = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", text)
    return Version(*(int(number or 0) for number in match.groups())) if match else Version()


def parse_release(text: str) -> Version:
    """The version of a whole text such as 1.35.0 or 1.35.0+k3s1; `Version()` for a pre-release or any other text."""
    return parse(text) if re.fullmatch(rf"{RELEASE}(\+.*)?", text) else Version()


def dotted(numbers: Iterable[int]) -> str:
    """The numbers as text, such as 1.35."""
    return ".".join(map(str, numbers))
