"""Set an image in the text of a kustomization. Everything else stays as it is written, comments too. Pure.

The fields of an entry are those of kustomize (api/types/image.go): name, newName, newTag, digest. A tag is written
in quotes: without them YAML could read it as a number.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any

from threezone.core import safe_yaml
from threezone.core.errors import UsageError
from threezone.delivery import yaml_text

Entry = dict[str, Any]


def entries(text: str) -> list[Entry]:
    """The entries of `images:`. Raises UsageError for a text that is no kustomization."""
    import yaml

    try:
        content = safe_yaml.load(text)
    except yaml.YAMLError as error:
        raise UsageError("the kustomization is not valid", evidence=str(error), fix="correct it") from None
    found = content.get("images") if isinstance(content, dict) else None
    return [dict(each) for each in found or () if isinstance(each, dict)]


def entry(text: str, name: str) -> Entry | None:
    """The entry of an image; None without one."""
    return next((each for each in entries(text) if each.get("name") == name), None)


def with_image(text: str, name: str, new_name: str, new_tag: str) -> str:
    """The same text, in which the image has this tag and, unless it is "", this new name.

    Raises UsageError where it is written in a way that cannot be changed safely.
    """
    old = entry(text, name)
    wanted = {key: value for key, value in (old or {"name": name}).items() if key != "digest"}
    wanted |= {**({"newName": new_name} if new_name else {}), "newTag": new_tag}
    if old == wanted:
        return text
    import yaml

    with contextlib.suppress(UsageError, ValueError, AttributeError, StopIteration, yaml.YAMLError):
        changed = _changed(text, name, wanted)
        before = [wanted if each.get("name") == name else each for each in entries(text)]
        expected = before if old else [*before, wanted]
        if entries(changed) == expected and _without_images(changed) == _without_images(text):
            return changed
    raise UsageError(
        f"the entry of {name} in the kustomization is written in a way that cannot be changed safely",
        fix=f"write it by hand, a key on each line: {json.dumps(wanted)}",
    )


def _without_images(text: str) -> Any:
    content = safe_yaml.load(text)
    return {key: value for key, value in content.items() if key != "images"}


def _changed(text: str, name: str, wanted: Entry) -> str:
    """The text with the entry, not checked yet."""
    (root,) = safe_yaml.compose_all(text)
    if root is None or root.id != "mapping":
        raise ValueError
    images = next((value for key, value in root.value if key.value == "images"), None)
    if images is None or images.id != "sequence" or not images.value:
        return _appended(text, wanted, has_key=images is not None)
    node = next((each for each in images.value if _value(each, "name") == name), None)
    if node is None:
        if images.flow_style:
            raise ValueError
        return yaml_text.insert_after(text, yaml_text.last_line(images), _lines(wanted, images.start_mark.column))
    if node.flow_style:
        return _in_flow(text, node, wanted)
    for key, value in reversed(wanted.items()):  # each new line comes directly below the name
        # Each change moves what follows it, so the text is read again.
        text = _with_key(text, name, key, str(value))
    return _without_digest(text, name)


def _value(node: Any, key: str) -> str:
    pair = yaml_text.pairs(node).get(key) if node.id == "mapping" else None
    return str(pair[1].value) if pair else ""


def _item(text: str, name: str) -> Any:
    """The node of an image's entry."""
    (root,) = safe_yaml.compose_all(text)
    return next(each for each in yaml_text.pairs(root)["images"][1].value if _value(each, "name") == name)


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _lines(wanted: Entry, indent: int) -> list[str]:
    pairs = [f"{key}: {value if key != 'newTag' else _quoted(value)}" for key, value in wanted.items()]
    return [f"{' ' * indent}{'  ' if number else '- '}{pair}" for number, pair in enumerate(pairs)]


def _appended(text: str, wanted: Entry, *, has_key: bool) -> str:
    if has_key:  # `images:` or `images: []`, which a person has to complete
        raise ValueError
    newline = yaml_text.newline(text)
    return newline.join([text.rstrip("\r\n"), "images:", *_lines(wanted, 2)]) + newline


def _with_key(text: str, name: str, key: str, value: str) -> str:
    """Set one key of a block entry: replace its value, or add a line below `name`."""
    pairs = yaml_text.pairs(_item(text, name))
    if key in pairs:
        node = pairs[key][1]
        return text if node.value == value else yaml_text.replaced(text, node, _quoted(value))
    at = pairs["name"][0]
    written = value if key != "newTag" else _quoted(value)
    return yaml_text.insert_after(text, at.start_mark.line, [f"{' ' * at.start_mark.column}{key}: {written}"])


def _without_digest(text: str, name: str) -> str:
    """Remove the digest of a block entry: it would count before the tag. Not on the line that begins the entry."""
    pairs = yaml_text.pairs(_item(text, name))
    if "digest" not in pairs:
        return text
    lines = text.splitlines(keepends=True)
    del lines[pairs["digest"][0].start_mark.line]
    return "".join(lines)


def _in_flow(text: str, node: Any, wanted: Entry) -> str:
    """Write `{name: …, newTag: …}` again."""
    pairs = ", ".join(f"{key}: {_quoted(str(value))}" for key, value in wanted.items())
    return yaml_text.replaced(text, node, f"{{{pairs}}}")
