"""Facts recorded from real labs: a healthy one, and what differed from it in broken ones.

With THREEZONE_RECORD set, `tests/e2e/test_doctor.py` runs this module in its project for each fault, which writes them.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from dataclasses import replace
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
SAID = ("Ready", "Stalled")  # conditions whose words are read even if they hold


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
    (HERE / f"{name}.json").write_text(json.dumps(data, separators=(",", ":")) + "\n")


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
        for key in set(each) - {"name", "state"}:
            del each[key]
        each["state"] = {kind: words for kind, words in each["state"].items() if kind == "waiting"}
    for each in kept["status"].get("conditions", []):
        said = each["type"] in SAID or each["status"] == "False"
        for key in set(each) - {"type", "status", *(("reason", "message") if said else ())}:
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


def main(name: str) -> None:
    """Record the facts of the project in the current directory, without a path or address of this machine."""
    from threezone.core import paths
    from threezone.doctor import observe
    from threezone.tasks.options import open_lab

    text = msgspec.json.encode(observe.observe(open_lab("", context=""))).decode()
    home = Path(os.environ["KUBECONFIG"]).parent
    for path, shown in ((Path.cwd(), "lab"), (home, ".kube"), (paths.state_dir(), "state")):
        text = text.replace(str(path), f"/home/me/{shown}")
    facts = msgspec.json.decode(text, type=Facts)
    if facts.host is not None:
        bridges = tuple(route for route in facts.host.routes if route[0].startswith(("br-", "docker")))
        facts = replace(facts, host=replace(facts.host, routes=bridges))
    record(name, facts)


if __name__ == "__main__":
    main(sys.argv[1])
