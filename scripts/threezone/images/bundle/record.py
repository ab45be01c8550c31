"""Images that came from a bundle: which content hash is accepted for which inputs.

The hash in an image's label depends on the machine that built it (images/build.py: made_from). On another machine the
image would count as out of date, so the bundle's hashes are kept in the cache.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import msgspec

from threezone.core import paths
from threezone.core.errors import ThreezoneError
from threezone.core.files import read, write_atomic
from threezone.images.bundle.format import BundledImage


def _file() -> Path:
    return paths.cache_dir() / "bundle.json"


def accepted() -> dict[str, BundledImage]:
    """The images of loaded bundles, by reference."""
    try:
        return msgspec.json.decode(read(_file()), type=dict[str, BundledImage])
    except (OSError, ThreezoneError, msgspec.DecodeError):
        return {}


def add(images: Mapping[str, BundledImage]) -> None:
    """Accept the images of a bundle beside those of earlier ones."""
    write_atomic(_file(), msgspec.json.encode({**accepted(), **images}, order="deterministic"))
