"""Facts recorded from real labs: a healthy one, and what differed from it in broken ones.

`record` writes them: `tests/e2e/test_doctor.py` calls it for each fault when THREEZONE_RECORD is set.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from threezone.clients.kubernetes.watch import key_of
from threezone.doctor.facts import Facts

HERE = Path(__file__).with_name("recorded")
KEPT = {  # of an object: what the rows read
    "metadata": ("name", "namespace", "labels", "deletionTimestamp", "finalizers", "generation"),
    "spec": ("replicas", "suspend", "url", "template", "type"),
    "status": (
        "phase", "reason", "message", "conditions", "containerStatuses", "initContainerStatuses", "nodeInfo",
        "desiredNumberScheduled", "numberReady", "availableReplicas", "updatedReplicas", "replicas",
        "observedGeneration", "artifact",
    ),
}  # fmt: skip


def load(name: str) -> Facts:
    """The healthy facts, or those with a recorded fault."""
    data = json.loads((HERE / "healthy.json").read_text())
    if name != "healthy":
        patch = json.loads((HERE / f"{name}.json").read_text())
        world = patch.pop("world", {})
        data.update(patch)
        data["world"] = None if world is None else _patched(data["world"], world)
    return msgspec.convert(data, Facts)


def record(name: str, facts: Facts) -> None:
    """Write recorded facts, without what no row reads; of a broken lab only what differs from the healthy one."""
    data = json.loads(msgspec.json.encode(facts))
    data["environment"] = {key: value for key, value in data["environment"].items() if key == "DOCKER_HOST"}
    if data["world"]:
        data["world"] = {key: _trimmed(value) for key, value in data["world"].items()}
    if name != "healthy":
        healthy = json.loads((HERE / "healthy.json").read_text())
        data = {key: value for key, value in data.items() if value != healthy[key] and key not in ("now", "seconds")}
        if data.get("world"):
            data["world"] = _difference(healthy["world"], data["world"])
    (HERE / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")


def _object(item: Any) -> Any:
    """The object of a listed item: Flux's have their kind beside them."""
    return item.get("item", item)


def _trimmed(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    return [
        {**item, "item": _object_trimmed(item["item"])} if "item" in item else _object_trimmed(item) for item in value
    ]


def _object_trimmed(item: Any) -> Any:
    kept = {
        part: {key: item.get(part, {})[key] for key in keys if key in item.get(part, {})} for part, keys in KEPT.items()
    }
    if template := kept["spec"].get("template"):
        containers = [{"name": each["name"], "image": each["image"]} for each in template["spec"]["containers"]]
        kept["spec"]["template"] = {"spec": {"containers": containers}}
    for each in kept["status"].get("containerStatuses", []) + kept["status"].get("initContainerStatuses", []):
        for key in set(each) - {"name", "state", "lastState", "ready"}:
            del each[key]
    for each in kept["status"].get("conditions", []):
        for key in set(each) - {"type", "status", "reason", "message"}:
            del each[key]
    return kept


def _keyed(items: Iterable[Any]) -> dict[str, Any]:
    return {
        f"{item['kind']['kind']} {key_of(item['item'])}" if "item" in item else key_of(item): item for item in items
    }


def _difference(before: Any, after: Any) -> Any:
    changed: dict[str, Any] = {}
    for key, value in after.items():
        if isinstance(value, list):
            old, new = _keyed(before[key]), _keyed(value)
            rows = {name: new.get(name) for name in {**old, **new} if old.get(name) != new.get(name)}
            changed |= {key: rows} if rows else {}
        elif value != before[key]:
            changed[key] = value
    return changed


def _patched(before: Any, changes: Any) -> Any:
    after = dict(before)
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(before[key], list):
            merged = {**_keyed(before[key]), **value}
            after[key] = [item for item in merged.values() if item is not None]
        else:
            after[key] = value
    return after
