"""Image archives made by tests: OCI layouts, with parts left out."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from threezone.images import oci_layout


def packed(path: Path, files: dict[str, Any]) -> Path:
    """A tar of JSON files."""
    with tarfile.open(path, "w") as tar:
        for name, content in files.items():
            data = content if isinstance(content, bytes) else json.dumps(content).encode()
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return path


def blob(content: Any) -> tuple[str, str, bytes]:
    data = json.dumps(content).encode()
    digest = hashlib.sha256(data).hexdigest()
    return f"sha256:{digest}", f"blobs/sha256/{digest}", data


NAME = "docker.io/library/app:1"
NAME_KEY = "io.containerd.image.name"
MARKS = {NAME_KEY: NAME, "org.opencontainers.image.ref.name": "1"}


class Layout:
    """An OCI image layout that is being made: `files` by path."""

    def __init__(self) -> None:
        self.files: dict[str, Any] = {"oci-layout": {"imageLayoutVersion": "1.0.0"}}

    def put(self, content: Any) -> str:
        """Add a content. Returns its digest."""
        digest, path, self.files[path] = blob(content)
        return digest

    def image(self, architecture: str, *, without: str = "") -> dict[str, Any]:
        """The descriptor of an image for an architecture; `without` is the part that is left out of the archive."""
        layer = self.put({"layer": architecture})
        config = self.put({"architecture": architecture, "os": "linux"})
        manifest = self.put({"config": {"digest": config}, "layers": [{"digest": layer}]})
        for part in {"layer": [layer], "config": [config], "all": [layer, config, manifest]}.get(without, []):
            del self.files[oci_layout.blob(part)]
        system = "unknown" if architecture == "unknown" else "linux"
        return {"digest": manifest, "size": 1, "platform": {"architecture": architecture, "os": system}}

    def index(self, *descriptors: dict[str, Any]) -> dict[str, Any]:
        return {"digest": self.put({"manifests": descriptors})}

    def name(self, descriptor: dict[str, Any], **more: Any) -> dict[str, Any]:
        """The files, with one image that is named."""
        return {**self.files, "index.json": {"manifests": [{**descriptor, "annotations": MARKS}]}, **more}


def unpacked(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]


CONFIG = {name: blob({"architecture": name, "os": "linux"})[0] for name in ("amd64", "arm64")}
