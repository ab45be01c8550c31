"""What a node keeps of its own making: the configuration that kind was given. Pure.

Not everything that is declared can be read back from a node. It is written into the mark of a finished creation
(kind.MARK); clusters of an older threezone have an empty one. Where there is better evidence, that counts.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from threezone.cluster.drift.merge_patch import kept

VERSION = 1
ANNOTATION = "threezone.io/declared"  # on the control planes: the digest of what they were made from
PATCHES = (
    "kubeadmConfigPatches",
    "kubeadmConfigPatchesJSON6902",
    "containerdConfigPatches",
    "containerdConfigPatchesJSON6902",
)


@dataclass(frozen=True)
class Record:
    """What a cluster was made from: kind's configuration with digests for patches, and the Kubernetes version."""

    config: dict[str, Any]
    kubernetes: str = ""


def plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of kind's as it may be written down: a patch may hold a password, so only its digest stays."""
    result = {key: [kept(each) for each in value or ()] if key in PATCHES else value for key, value in config.items()}
    if nodes := config.get("nodes"):
        result["nodes"] = [plain(node) for node in nodes]
    return result


def write(config: Mapping[str, Any], kubernetes: str) -> str:
    """The mark's text for a cluster that kind made from `config` (raw, with patches)."""
    return json.dumps({"version": VERSION, "kubernetes": kubernetes, "config": plain(config)}, sort_keys=True) + "\n"


def rewrite(record: Record) -> str:
    """The mark's text for a record that was read and changed."""
    return json.dumps({"version": VERSION, "kubernetes": record.kubernetes, "config": record.config}, sort_keys=True)


def parse(text: str) -> Record | None:
    """The record in a mark; None for an empty one, and for one of a version that is not known here."""
    try:
        data = json.loads(text)
    except ValueError:
        return None
    if not isinstance(data, dict) or data.get("version") != VERSION or not isinstance(data.get("config"), dict):
        return None
    return Record(data["config"], str(data.get("kubernetes", "")))


def noted(nodes: Iterable[Mapping[str, Any]]) -> str:
    """The digest that the nodes of an API server carry; "" when they carry none, or not all the same."""
    found = {(node["metadata"].get("annotations") or {}).get(ANNOTATION, "") for node in nodes if _plane(node)}
    return found.pop() if len(found) == 1 else ""


def _plane(node: Mapping[str, Any]) -> bool:
    return "node-role.kubernetes.io/control-plane" in (node["metadata"].get("labels") or {})


def digest(config: str, kubernetes: str) -> str:
    """A short digest of what a cluster is made from: a cheap look whether anything can differ at all."""
    return hashlib.sha256(f"{kubernetes}\n{config}".encode()).hexdigest()[:16]
