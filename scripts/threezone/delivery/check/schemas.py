"""The schemas that the last lab served, kept in the cache for checks without a lab."""

from __future__ import annotations

import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from threezone.clients.kubernetes.api import Api, Json
from threezone.core import paths
from threezone.core.errors import ThreezoneError
from threezone.core.files import read, write_atomic
from threezone.delivery.check import schema
from threezone.delivery.check.schema import Schemas

INDEX = "index.json"  # what each document's address was: it names its content's hash
WORKERS = 4


def directory() -> Path:
    """The directory with the schemas. Nothing in it is secret, and it can be deleted."""
    return paths.cache_dir() / "schemas"


def save(api: Api) -> None:
    """Keep the schemas that the API server serves; those that are kept already are not fetched again.

    Raises ClusterError, UsageError for a directory that cannot be written to.
    """
    index = {
        version: str(entry["serverRelativeURL"])
        for version, entry in ((api.get("/openapi/v3") or {}).get("paths") or {}).items()
        if re.fullmatch(r"apis?/[^/]+(/[^/]+)?", version) and version not in ("api", "apis")
    }
    old = _index()
    if old == index:
        return
    wanted = [version for version in index if old.get(version) != index[version] or not _file(version).is_file()]

    def fetch(version: str) -> None:
        if document := api.get(index[version]):
            write_atomic(_file(version), json.dumps(document))

    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(fetch, wanted))
    write_atomic(directory() / INDEX, json.dumps(index))


def _index() -> dict[str, str]:
    try:
        return dict(json.loads(read(directory() / INDEX)))
    except (OSError, ValueError, ThreezoneError):
        return {}


def _file(version: str) -> Path:
    return directory() / f"{re.sub('[^a-z0-9.]+', '-', version)}.json"


@dataclass(frozen=True)
class Kept:
    """The schemas of the cache, each read when it is first needed."""

    index: dict[str, str] = field(default_factory=_index)
    _read: dict[str, Schemas] = field(default_factory=dict)

    def of(self, version: str) -> Schemas | None:
        """The schemas of an apiVersion; None where the last lab did not serve it."""
        name = f"apis/{version}" if "/" in version else f"api/{version}"
        if name not in self.index:
            return None
        if version not in self._read:
            document: Json = {}
            try:
                document = json.loads(read(_file(name)))
            except (OSError, ValueError):
                return None
            self._read[version] = schema.read(document)
        return self._read[version]

    def serves(self, version: str, kind: str) -> bool | None:
        """Whether the last lab served a kind; None without one."""
        if not self.index:
            return None
        schemas = self.of(version)
        return schemas is not None and (version, kind) in schemas.kinds
