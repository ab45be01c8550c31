"""Files of this repository that another project gets a copy of: the sample app, add-ons, a devcontainer.

The wheel has copies of them (pyproject.toml, force-include); in a checkout they are the files themselves.
"""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parents[1]
_INSTALLED = _PACKAGE / "templates"
_ROOT = _INSTALLED if _INSTALLED.is_dir() else _PACKAGE.parents[1]


def read(path: str) -> str:
    """The text of a file of this repository, such as local/gitops/apps/hello/service.yaml."""
    return (_ROOT / path).read_text(encoding="utf-8")


def below(directory: str) -> list[str]:
    """The files in a directory of this repository and below."""
    found = (path for path in (_ROOT / directory).rglob("*") if path.is_file() and path.suffix != ".pyc")
    return sorted(path.relative_to(_ROOT).as_posix() for path in found)
