"""The configuration that a cluster was created from, as its nodes keep it. Pure.

Not every declared field can be read back from a node, so kind's configuration is written into the mark of a finished
creation (`marks.MARK`); clusters of an older threezone have an empty one. Better evidence overrules it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from threezone.cluster.drift.merge_patch import digest_of

VERSION = 1
ANNOTATION = "threezone.io/declared"  # on the control planes: the digest of the configuration they were created from
PATCHES = (
    "kubeadmConfigPatches",
    "kubeadmConfigPatchesJSON6902",
    "containerdConfigPatches",
    "containerdConfigPatchesJSON6902",
)


@dataclass(frozen=True)
class LastApplied:
    """kind's configuration with digests instead of patches, and the Kubernetes version."""

    config: dict[str, Any]
    kubernetes: str = ""

    @property
    def text(self) -> str:
        """The mark's text."""
        data = {"version": VERSION, "kubernetes": self.kubernetes, "config": self.config}
        return json.dumps(data, sort_keys=True) + "\n"


def without_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of kind's with a digest instead of each patch, which may hold a password."""
    result = {
        key: [digest_of(patch) for patch in value or ()] if key in PATCHES else value for key, value in config.items()
    }
    if nodes := config.get("nodes"):
        result["nodes"] = [without_secrets(node) for node in nodes]
    return result


def write(config: Mapping[str, Any], kubernetes: str) -> str:
    """The mark's text for a cluster that kind created from `config`, which has its patches."""
    return LastApplied(without_secrets(config), kubernetes).text


def parse(text: str) -> LastApplied | None:
    """The configuration in a mark; None for an empty mark or one of an unknown version."""
    try:
        data = json.loads(text)
    except ValueError:
        return None
    if not isinstance(data, dict) or data.get("version") != VERSION or not isinstance(data.get("config"), dict):
        return None
    return LastApplied(data["config"], str(data.get("kubernetes", "")))


def annotated(nodes: Iterable[Mapping[str, Any]]) -> str:
    """The digest in the annotations of the control planes; "" without one, or when they differ."""
    label = "node-role.kubernetes.io/control-plane"
    planes = [meta for node in nodes if label in ((meta := node["metadata"]).get("labels") or {})]
    digests = {(meta.get("annotations") or {}).get(ANNOTATION, "") for meta in planes}
    return digests.pop() if len(digests) == 1 else ""


def digest(config: str, kubernetes: str) -> str:
    """A short digest of a cluster's configuration: a cheap check whether anything can differ at all."""
    return hashlib.sha256(f"{kubernetes}\n{config}".encode()).hexdigest()[:16]
