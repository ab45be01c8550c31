"""Encrypted Secrets in the user's repository: find, read, change. Their names and keys are readable without a key."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threezone.clients.git.checkout import Checkout
from threezone.clients.sops import UNCHANGED, Sops
from threezone.cluster.lab import Lab
from threezone.core import redaction, safe_yaml
from threezone.core.errors import DeliveryError, UsageError
from threezone.core.events import note
from threezone.core.files import read, read_text, write_atomic
from threezone.delivery import yaml_text
from threezone.delivery.release.places import FILES
from threezone.delivery.secrets import rules

PARTS = ("stringData", "data")  # of a Secret; the first is written by people, and counts
MARK = b"ENC[AES256_GCM,"  # begins every value that sops has encrypted (sops, aes/cipher.go)
MOST_BYTES = 10 << 20  # of a file in which encrypted values are looked for
FEW_BYTES = 1 << 20  # the most that the API server stores in a Secret (core/v1: MaxSecretSize)


@dataclass(frozen=True)
class Encrypted:
    """A Secret in a file that sops has encrypted. `file` is relative to the project."""

    file: str
    name: str
    namespace: str
    keys: tuple[str, ...]
    recipients: tuple[str, ...]


def encrypted(root: Path) -> Iterator[tuple[str, bytes]]:
    """The files below `root` with encrypted values, and their content: what git tracks or would add, without links."""
    for file in Checkout(root).files():
        path = root / file
        if path.is_symlink() or not path.is_file() or path.stat().st_size > MOST_BYTES:
            continue
        if MARK in (content := read(path)):
            yield file, content


def find(root: Path) -> Iterator[Encrypted]:
    """The encrypted Secrets below `root`."""
    for file, content in encrypted(root):
        if file.endswith((".yaml", ".yml")) and (found := _read(file, content)):
            yield found


def fitting(root: Path, name: str, namespace: str = "") -> list[Encrypted]:
    """The encrypted Secrets of that name, or the one in the file of that path."""
    return [each for each in find(root) if name in (each.name, each.file) and namespace in ("", each.namespace)]


def _read(file: str, content: bytes) -> Encrypted | None:
    """The encrypted Secret in a file; None for other files."""
    import yaml

    try:
        item: Any = safe_yaml.load(content)
    except yaml.YAMLError:
        return None
    if not isinstance(item, dict) or item.get("kind") != "Secret" or not isinstance(item.get("sops"), dict):
        return None
    meta, age = item.get("metadata") or {}, item["sops"].get("age") or []
    keys = {str(key) for part in PARTS for key in item.get(part) or {}}
    recipients = tuple(str(each.get("recipient")) for each in age)
    return Encrypted(file, str(meta.get("name", "")), str(meta.get("namespace", "")), tuple(sorted(keys)), recipients)


def choose(root: Path, name: str, namespace: str = "") -> Encrypted:
    """The encrypted Secret of that name, or in the file of that path. Raises UsageError when it is not exactly one."""
    fits = fitting(root, name, namespace)
    if len(fits) == 1:
        return fits[0]
    if fits:
        raise UsageError(
            f"{len(fits)} encrypted Secrets are called {name}",
            evidence="\n".join(f"{each.file} (namespace {each.namespace or 'not given'})" for each in fits),
            fix=f"name the file: {fits[0].file}",
        )
    known = ", ".join(sorted({each.name for each in find(root)}))
    raise UsageError(
        f"there is no encrypted Secret {name}",
        evidence=f"encrypted Secrets here: {known or 'none'}",
        fix=f"./run invoke secret.set {name} --value KEY=@FILE",
    )


def values(sops: Sops, secret: Encrypted) -> dict[str, bytes]:
    """The decrypted values. Raises DeliveryError without a key for it."""
    done = sops.decrypt(sops.root / secret.file)
    _require(done.exit_code, done.stderr, f"{secret.file} cannot be decrypted")
    item: Any = safe_yaml.load(done.stdout)
    found = {str(key): base64.b64decode(value or "") for key, value in (item.get("data") or {}).items()}
    found |= {str(key): str(value).encode() for key, value in (item.get("stringData") or {}).items()}
    return found


def _require(code: int, words: str, message: str) -> None:
    if code:
        raise DeliveryError(
            message,
            evidence=redaction.redact(words.strip()[-1000:]),
            fix="./run invoke secret.init shows the lab's recipient and where its key is",
        )


def value_of(entry: str, content: bytes) -> tuple[str, str]:
    """Where a value belongs and how it is written there: text in stringData, bytes in data, in base64. Pure.

    Raises UsageError for a value that no Secret can have.
    """
    if len(content) > FEW_BYTES:
        raise UsageError(f"the value of {entry} has {len(content):,} bytes: a Secret has at most {FEW_BYTES:,}")
    try:
        return "stringData", content.decode()
    except UnicodeDecodeError:
        return "data", base64.b64encode(content).decode()


def require_key(key: str) -> str:
    """A valid key of a Secret (apimachinery, validation.IsConfigMapKey). Raises UsageError."""
    if re.fullmatch(r"[-._a-zA-Z0-9]{1,253}", key) and key not in (".", "..") and not key.startswith(".."):
        return key
    raise UsageError(f"{key!r} is not a key of a Secret: use letters, digits, dashes, dots and underscores")


def create(lab: Lab, sops: Sops, file: str, meta: Mapping[str, str], given: Mapping[str, bytes]) -> None:
    """Write a new encrypted Secret to `file`, and list it in the kustomization beside it."""
    import yaml

    path = lab.root / file
    if path.exists() or path.is_symlink():
        raise UsageError(
            f"{file} exists, and it is no encrypted Secret {meta['name']}",
            fix=f"sops encrypt --in-place {file} encrypts what is in it; --file names another file",
        )
    item: dict[str, Any] = {"apiVersion": "v1", "kind": "Secret", "metadata": dict(meta), "type": "Opaque"}
    for key, content in given.items():
        part, value = value_of(key, content)
        item.setdefault(part, {})[key] = value
    done = sops.encrypt(yaml.safe_dump(item, sort_keys=False, allow_unicode=True), Path(file))
    _require(done.exit_code, done.stderr, f"{file} cannot be encrypted")
    write_atomic(path, done.stdout, None)
    _list(path)


def change(sops: Sops, secret: Encrypted, given: Mapping[str, bytes]) -> None:
    """Set values of an encrypted Secret; the others stay as they are written."""
    for key, content in given.items():
        part, value = value_of(key, content)
        (other,) = (each for each in PARTS if each != part)
        path = sops.root / secret.file
        before = read(path)
        if key in ((safe_yaml.load(before) or {}).get(other) or {}):
            done, text = sops.without_value(path, (other, key))
            _replace(path, before, text, done.exit_code, done.stderr)
            before = text
        done, text = sops.with_value(path, (part, key), value)
        _replace(path, before, text, done.exit_code, done.stderr)


def edit(sops: Sops, secret: Encrypted) -> bool:
    """Open an encrypted Secret in the user's editor. Returns whether it was changed."""
    path = sops.root / secret.file
    before = read(path)
    code, text = sops.edited(path)
    if code == UNCHANGED:
        return False
    _replace(path, before, text, code, "sops said why above")
    return True


def encrypt_again(sops: Sops, file: str, add: Sequence[str], remove: Sequence[str] = ()) -> None:
    """Encrypt all values of a file again, for more or other recipients."""
    path = sops.root / file
    before = read(path)
    done = sops.rotated(path, add, remove)
    _replace(path, before, done.stdout.encode(), done.exit_code, done.stderr)


def _replace(path: Path, before: bytes, text: bytes, code: int, words: str) -> None:
    _require(code, words, f"{path.name} cannot be changed")
    if read(path) != before:
        raise DeliveryError(f"somebody else has changed {path} meanwhile: it stays as it is now", fix="run this again")
    write_atomic(path, text, None)


def kustomization(directory: Path) -> Path | None:
    """The kustomization of a directory, None without one."""
    return next((directory / name for name in FILES if (directory / name).is_file()), None)


def sets_namespace(directory: Path) -> bool:
    """Whether the directory's kustomization gives its objects a namespace."""
    file = kustomization(directory)
    return bool(file and (safe_yaml.load(read(file)) or {}).get("namespace"))


def _list(path: Path) -> None:
    """List a file in the kustomization of its directory. Without one, Flux takes every manifest there."""
    file = kustomization(path.parent)
    if file is None:
        return
    text = read_text(file)
    try:
        changed = with_resource(text, path.name)
    except UsageError as error:
        note(f"add {path.name} to the resources of {file}: {error.message}")
        return
    if changed != text:
        write_atomic(file, changed, None)
        note(f"{path.name} is listed in {file.name}")


def with_resource(text: str, name: str) -> str:
    """The text of a kustomization that lists a resource. Raises UsageError where it cannot be changed safely. Pure."""
    refused = UsageError("it is written in a way that cannot be changed safely")
    content: Any = safe_yaml.load(text) or {}
    listed = content.get("resources") or []
    if name in listed or f"./{name}" in listed:
        return text
    newline = yaml_text.newline(text)
    if "resources" not in content:
        changed = text.rstrip("\r\n") + f"{newline}resources:{newline}  - {name}{newline}"
    else:
        (root,) = safe_yaml.compose_all(text)
        node = yaml_text.pairs(root)["resources"][1]
        if node.id != "sequence" or node.flow_style or not node.value:
            raise refused
        line = f"{' ' * node.start_mark.column}- {name}"
        changed = yaml_text.insert_after(text, yaml_text.last_line(node), [line])
    if safe_yaml.load(changed) != {**content, "resources": [*listed, name]}:
        raise refused
    return changed


def require_name(name: str) -> str:
    """A valid name of an object (RFC 1123, a subdomain). Raises UsageError."""
    if re.fullmatch(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?", name):
        return name
    raise UsageError(f"{name!r} is not a name of a Secret: use lower-case letters, digits, dashes and dots")


def default_file(directory: str, name: str) -> str:
    """The file for a new Secret."""
    return f"{directory}/{name}{rules.ENDING}"
