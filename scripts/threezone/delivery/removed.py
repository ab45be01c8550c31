"""What a commit removed: gone, or still there because a finalizer holds it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from threezone.clients.kubernetes.api import Api, Forbidden
from threezone.clients.kubernetes.watch import World
from threezone.flux import deletion
from threezone.flux.objects import Entry


def terminating(api: Api, entries: Iterable[Entry]) -> dict[str, list[str]]:
    """Those of the entries that are being deleted, as `namespace/name` by their collections.

    An object that nobody deletes was left by intent (`prune: disabled`), or somebody else applies it now.
    """
    lasting: dict[str, list[str]] = {}
    for entry in entries:
        try:
            item = api.get(f"{entry.collection}/{entry.name}")
        except Forbidden:  # this login may not see it
            continue
        if item and item["metadata"].get("deletionTimestamp"):
            lasting.setdefault(entry.collection, []).append(entry.key)
    return lasting


def remaining(world: World, wanted: Mapping[str, Iterable[str]]) -> list[str]:
    """A line for each of these objects that is not gone yet, as far as the world shows. Pure."""
    unlisted = [f"the list of {path}" for path in wanted if path not in world]
    return [*unlisted, *deletion.remaining(world, {path: keys for path, keys in wanted.items() if path in world})]
