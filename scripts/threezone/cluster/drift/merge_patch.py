"""Patches of a cluster file: apply them to what a node has, and digest them. Pure.

kind applies kubeadmConfigPatches to kubeadm's documents and containerdConfigPatches to containerd's settings, both as
RFC 7386 merge patches (kind, pkg/internal/patch). To apply a patch again changes nothing.
"""

from __future__ import annotations

import copy
import hashlib
import json
import tomllib
from collections.abc import Sequence
from typing import Any

from threezone.cluster.spec import patches
from threezone.core import go_yaml

Json = dict[str, Any]


def merged(target: Any, patch: Any) -> Any:
    """`target` with an RFC 7386 merge patch applied; neither is changed."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def documents(text: str) -> list[Json]:
    """The YAML documents of a text that are mappings, as kind reads them; those that are not YAML are left out."""
    found = (_yaml(part) for part, _ in patches.split(text))
    return [document for document in found if isinstance(document, dict)]


def _toml(text: str) -> Json | None:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return None


def kubeadm(targets: Sequence[Json], texts: Sequence[str]) -> list[Json]:
    """Apply patches to the documents of kubeadm as kind does: by kind, and by the apiVersion if the patch has one."""
    result = list(targets)
    for patch in (document for text in texts for document in documents(text)):
        change = {key: value for key, value in patch.items() if key != "metadata"}  # kind removes it again
        for index, target in enumerate(result):
            version = target.get("apiVersion")
            if target.get("kind") == patch.get("kind") and patch.get("apiVersion", version) == version:
                result[index] = merged(target, change)
    return result


def containerd(settings: Json, texts: Sequence[str]) -> Json:
    """The settings of containerd with TOML patches applied; a patch that is not TOML changes nothing."""
    for text in texts:
        settings = merged(settings, _toml(text) or {})
    return settings


def digest_of(patch: Any) -> Json:
    """A patch's subject and digest, instead of its text, which may hold a registry's password.

    Comments, order and indentation do not count.
    """
    about, content = _content(patch)
    text = content if isinstance(content, str) else json.dumps(content, sort_keys=True, default=str)
    return {"about": about, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def _content(patch: Any) -> tuple[str, Any]:
    if isinstance(patch, dict):  # kubeadmConfigPatchesJSON6902
        return f"{patch.get('kind', 'JSON 6902')} (6902)", {**patch, "patch": _yaml(str(patch.get("patch", "")))}
    text = str(patch)
    mappings = documents(text)
    if mappings and all("kind" in document for document in mappings):
        return ", ".join(str(document["kind"]) for document in mappings), mappings
    settings = _toml(text)
    return ("text", text.strip()) if settings is None else (", ".join(sorted(settings)) or "nothing", settings)


def _yaml(text: str) -> Any:
    try:
        return go_yaml.load(text.encode())[0]
    except go_yaml.Broken:
        return text
