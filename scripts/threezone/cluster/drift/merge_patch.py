"""Patches of a cluster file: whether they are in force in what a node has, and what to keep of them. Pure.

kind applies kubeadmConfigPatches to kubeadm's documents and containerdConfigPatches to containerd's settings, both as
RFC 7386 merge patches (kind, pkg/internal/patch). Such a patch changes nothing of what holds it already.
"""

from __future__ import annotations

import copy
import hashlib
import json
import tomllib
from collections.abc import Sequence
from typing import Any

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
    """The YAML documents of a text that are mappings; none of a text that is no YAML."""
    import yaml

    from threezone.core import safe_yaml

    try:
        return [each for each in safe_yaml.load_all(text) if isinstance(each, dict)]
    except yaml.YAMLError:
        return []


def kubeadm(found: Sequence[Json], patches: Sequence[str]) -> list[Json]:
    """The documents of kubeadm with patches applied as kind does: by kind, and apiVersion where the patch has one."""
    result = list(found)
    for patch in (each for text in patches for each in documents(text)):
        for index, document in enumerate(result):
            if document.get("kind") == patch.get("kind") and patch.get("apiVersion", document.get("apiVersion")) == (
                document.get("apiVersion")
            ):
                change = {key: value for key, value in patch.items() if key != "metadata"}  # kind takes it out again
                result[index] = merged(document, change)
    return result


def containerd(found: Json, patches: Sequence[str]) -> Json:
    """The settings of containerd with TOML patches applied; a patch that is no TOML changes nothing."""
    result = found
    for patch in patches:
        try:
            result = merged(result, tomllib.loads(patch))
        except tomllib.TOMLDecodeError:
            continue
    return result


def kept(patch: Any) -> Json:
    """What may be written down of a patch: what it is about, and a digest. Its text may hold a registry's password.

    Comments, order and indentation do not count.
    """
    about, plain = _read(patch)
    return {"about": about, "sha256": hashlib.sha256(plain.encode()).hexdigest()}


def _read(patch: Any) -> tuple[str, str]:
    if isinstance(patch, dict):  # kubeadmConfigPatchesJSON6902
        plain = {**patch, "patch": _yaml(str(patch.get("patch", "")))}
        return f"{patch.get('kind', 'JSON 6902')} (6902)", _canonical(plain)
    text = str(patch)
    found = documents(text)
    if found and all("kind" in each for each in found):
        return ", ".join(str(each["kind"]) for each in found), _canonical(found)
    try:
        settings = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return "text", text.strip()
    return ", ".join(sorted(settings)) or "nothing", _canonical(settings)


def _yaml(text: str) -> Any:
    import yaml

    from threezone.core import safe_yaml

    try:
        return safe_yaml.load(text)
    except yaml.YAMLError:
        return text


def _canonical(data: Any) -> str:
    return json.dumps(data, sort_keys=True, default=str)
