"""What a commit changes, object by object, as YAML for people. Values of Secrets are never shown.

The conventions are those of `kubectl diff` (kubectl, pkg/cmd/diff/diff.go): no managed fields, `***` for values.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from threezone.clients.kubernetes.api import Json
from threezone.delivery.check.masks import SAME, hide
from threezone.delivery.check.model import OWNER, Id, id_of, is_masked, meta
from threezone.flux.manifests import SERVER_FIELDS

Verb = Literal["create", "change", "delete"]
BEFORE, AFTER = "*** (before)", "*** (after)"  # kubectl's masks
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"  # repeats an object's values
CONTEXT = 3  # lines around a change


@dataclass(frozen=True)
class Change:
    """One object that is created, changed or deleted, by which Kustomization. Masked, without the server's fields."""

    verb: Verb
    what: Id
    by: str
    before: Json | None
    after: Json | None

    def lines(self) -> list[str]:
        """The unified diff of its YAML."""
        old, new = _yaml(self.before), _yaml(self.after)
        names = (f"a/{self.what}" if old else "/dev/null", f"b/{self.what}" if new else "/dev/null")
        return list(difflib.unified_diff(old, new, names[0], names[1], n=CONTEXT, lineterm=""))

    def data(self) -> dict[str, Any]:
        """The change for programs. Its keys are stable."""
        return {
            "verb": self.verb,
            **self.what._asdict(),
            "kustomization": self.by,
            "before": self.before,
            "after": self.after,
        }


@dataclass(frozen=True)
class Diff:
    """All changes between two states, and what was not compared."""

    base: str
    target: str
    changes: tuple[Change, ...]
    unchecked: tuple[str, ...] = ()

    def data(self) -> dict[str, Any]:
        """The changes for programs. Its keys are stable."""
        changes = [{**each.data(), "diff": "\n".join(each.lines())} for each in self.changes]
        return {"base": self.base, "target": self.target, "changes": changes, "unchecked": list(self.unchecked)}

    @property
    def summary(self) -> str:
        """The changes in one line."""
        counts = {verb: sum(each.verb == verb for each in self.changes) for verb in ("create", "change", "delete")}
        return f"{self.base} → {self.target}: " + ", ".join(f"{number} to {verb}" for verb, number in counts.items())

    def text(self) -> str:
        """The changes for people."""
        parts = ["\n".join([f"{each.verb} {each.what} ({each.by})", *each.lines()]) for each in self.changes]
        return "\n".join([*parts, *(f"not compared: {words}" for words in self.unchecked), self.summary])

    def markdown(self) -> str:
        """The changes as a comment of a merge request."""
        parts = [f"**{_plain(self.summary)}**"]
        for each in self.changes:
            text = "\n".join(each.lines())
            fence = "`" * (max([2, *map(len, re.findall("`+", text))]) + 1)
            title = f"{each.verb} <code>{_plain(str(each.what))}</code>"
            parts.append(f"<details><summary>{title}</summary>\n\n{fence}diff\n{text}\n{fence}\n\n</details>")
        parts += [f"- not compared: {_plain(words)}" for words in self.unchecked]
        return "\n\n".join(parts)


def _plain(text: str) -> str:
    """Text that is no HTML and no Markdown."""
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;"))


def _yaml(item: Json | None) -> list[str]:
    if item is None:
        return []
    import yaml

    text: str = yaml.dump(item, Dumper=_dumper(), sort_keys=True, default_flow_style=False, allow_unicode=True)
    return text.splitlines()


def _dumper() -> Any:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Writes texts of several lines as blocks, as people do."""

        def ignore_aliases(self, _data: object) -> bool:
            """Repeat what is there twice: a reader does not follow anchors."""
            return True

    def text(dumper: Any, value: str) -> Any:
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)

    Dumper.add_representer(str, text)
    return Dumper


def change(verb: Verb, by: str, before: Json | None, after: Json | None, *, secrets: Collection[str] = ()) -> Change:
    """A change as it may be shown. `secrets` are values of Secrets that other objects may have, too."""
    what = id_of(after if after is not None else before or {})
    shown = [cleaned(each) for each in (before, after)]
    if what[:2] == ("", "Secret"):
        shown = _masked(*shown)
    hidden = [None if each is None else hide(each, secrets) for each in shown]
    return Change(verb, what, by, hidden[0], hidden[1])


def cleaned(item: Json | None) -> Json | None:
    """An object without what the API server and Flux write by themselves."""
    if item is None:
        return None
    data = {key: value for key, value in meta(item).items() if key not in SERVER_FIELDS}
    for name, ours in (("labels", OWNER), ("annotations", (LAST_APPLIED,))):
        kept = {key: value for key, value in (data.pop(name, None) or {}).items() if key not in ours}
        data |= {name: kept} if kept else {}
    return {**{key: value for key, value in item.items() if key != "status"}, "metadata": data}


def _masked(before: Json | None, after: Json | None) -> list[Json | None]:
    """Both states of a Secret without its values: only that one differs is shown."""
    for part in ("data", "stringData"):
        old, new = ((each or {}).get(part) or {} for each in (before, after))
        masks = {
            name: (SAME, SAME) if before is None or after is None or _is_same(old, new, name) else (BEFORE, AFTER)
            for name in {*old, *new}
        }
        before, after = (
            None
            if each is None
            else {**each, **({part: {name: masks[name][side] for name in values}} if values else {})}
            for side, each, values in ((0, before, old), (1, after, new))
        )
    return [before, after]


def _is_same(old: Mapping[str, Any], new: Mapping[str, Any], name: str) -> bool:
    return name not in old or name not in new or old[name] == new[name] or is_masked(new[name])


def without_defaults(before: Any, after: Any, wanted: Any) -> tuple[Any, Any]:
    """Both states without what nobody wrote: fields that are equal in both and not in `wanted`."""
    if isinstance(before, dict) and isinstance(after, dict):
        own = wanted if isinstance(wanted, dict) else {}
        kept: tuple[Json, Json] = ({}, {})
        for key in {**before, **after}:
            if key not in own and key in before and key in after and before[key] == after[key]:
                continue
            pair = (before.get(key), after.get(key))
            if key in before and key in after:
                pair = without_defaults(*pair, own.get(key))
            for side, state, value in zip(kept, (before, after), pair, strict=True):
                side.update({key: value} if key in state else {})
        return kept
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        items: Sequence[Any] = wanted if isinstance(wanted, list) and len(wanted) == len(after) else after
        pairs = [without_defaults(*each) for each in zip(before, after, items, strict=True)]
        return [old for old, _ in pairs], [new for _, new in pairs]
    return before, after
