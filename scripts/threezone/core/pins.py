"""Versions and checksums: the package's pins.toml. Keys of the project's local/pins.toml override it.

Each package declares its section as a struct and reads it with `section`; an error names the key and the file.
"""

from __future__ import annotations

import functools
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec

from threezone.core import settings, versions
from threezone.core.errors import UsageError

PACKAGED = Path(__file__).with_name("pins.toml")
OVERRIDE = Path("local") / "pins.toml"
CHECKSUMS = ("sha256", "digest")  # keys whose values belong to one version

Sum = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
Version = Annotated[str, msgspec.Meta(pattern=f"^{versions.RELEASE}$")]
T = TypeVar("T")


class Sums(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="kebab"):
    """SHA-256 of a release file for each platform. Without it, a platform cannot use the release channel."""

    linux_amd64: Sum | None = None
    linux_arm64: Sum | None = None
    darwin_amd64: Sum | None = None
    darwin_arm64: Sum | None = None


class ToolPin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A program: its version, and the address and checksums of its release.

    The release is at `base`/`path`. `member` is the program inside a .tar.gz ("": the file is the program). Both may
    contain {version}, {os} and {arch}. `others` are the checksums of other versions that can be asked for.
    """

    version: Version
    base: str
    path: str
    member: str = ""
    sha256: Sums = msgspec.field(default_factory=Sums)
    others: dict[Version, Sums] = {}


class Tools(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="kebab"):
    """The section `tools`."""

    kind: ToolPin
    kubectl: ToolPin
    flux: ToolPin
    helm: ToolPin
    tofu: ToolPin
    sops: ToolPin
    age_keygen: ToolPin

    def pin(self, name: str) -> ToolPin:
        """The pin of a program by its name, such as age-keygen."""
        found: ToolPin = getattr(self, name.replace("-", "_"))
        return found


def tools(root: Path | None = None) -> Tools:
    """The programs that the project at `root` uses, with Flux in the version of its settings.

    A version without checksums of its own has those of `others`. Raises UsageError for a minor version of Flux that is
    not pinned.
    """
    root = root or settings.find_root()
    pinned = section("tools", Tools, root)
    flux = pinned.flux
    if (asked := settings.flux_version(root)) and (version := _patch(asked, flux)) != flux.version:
        flux = msgspec.structs.replace(flux, version=version, sha256=Sums())
    replaced = {"kind": pinned.kind, "kubectl": pinned.kubectl, "flux": flux}
    return msgspec.structs.replace(pinned, **{name: _with_known_sums(pin) for name, pin in replaced.items()})


def _patch(asked: str, pin: ToolPin) -> str:
    """The pinned version that is meant by "2.9" (its newest patch), or the asked version itself."""
    if re.fullmatch(versions.RELEASE, asked):
        return asked
    known = sorted({pin.version, *pin.others}, key=versions.parse)
    if patches := [version for version in known if version.startswith(f"{asked}.")]:
        return pin.version if pin.version in patches else patches[-1]
    raise UsageError(
        f"no patch version of Flux {asked} is pinned; known are {', '.join(known)}",
        fix=f'name one of these as threezone.flux.version, or add [tools.flux.others."{asked}.x"] to local/pins.toml',
    )


def _with_known_sums(pin: ToolPin) -> ToolPin:
    """The pin with the checksums of its version."""
    if pin.sha256 != Sums() or pin.version not in pin.others:
        return pin
    return msgspec.structs.replace(pin, sha256=pin.others[pin.version])


def section(name: str, kind: type[T], root: Path | None = None) -> T:
    """The section `name` as `kind` (a msgspec type), with the overrides of the project at `root` (default: this one).

    Raises UsageError with the key and the file.
    """
    root = root or settings.find_root()
    merged, overrides = _documents(root)
    try:
        return msgspec.convert(merged.get(name, {}), kind, strict=True)
    except msgspec.ValidationError as error:
        problem, _, location = str(error).partition(" - at `$")
        keys = [name, *(part for part in location.rstrip("`").split(".") if part)]
        unknown = re.fullmatch(r"Object contains unknown field `([^`]+)`", problem)
        if unknown:
            keys, problem = [*keys, unknown.group(1)], "unknown key"
        file = root / OVERRIDE if _holds(overrides, keys) else PACKAGED
        raise UsageError(f"{file}: {'.'.join(keys)}: {problem}", fix=f"correct {file}") from None


@functools.cache
def _documents(root: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The merged pins, and the project's overrides."""
    packaged = _read(PACKAGED)
    overrides = _read(root / OVERRIDE) if (root / OVERRIDE).is_file() else {}
    unknown = sorted(overrides.keys() - packaged.keys())
    if unknown:
        raise UsageError(
            f"{root / OVERRIDE}: unknown section {unknown[0]}; known sections: {', '.join(packaged)}",
            fix=f"correct {root / OVERRIDE}",
        )
    return merge(packaged, overrides), overrides


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML", evidence=str(error), fix=f"correct {path}") from None


def merge(base: dict[str, Any], override: dict[str, Any]) -> dict[str, Any]:
    """`base` with the keys of `override`, table by table. A new version drops the checksums of `base`."""
    if "version" in override and override["version"] != base.get("version"):
        base = {key: value for key, value in base.items() if key not in CHECKSUMS}
    merged = dict(base)
    for key, value in override.items():
        old = base.get(key)
        merged[key] = merge(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def _holds(document: Any, keys: list[str]) -> bool:
    for key in keys:
        if not isinstance(document, dict) or key not in document:
            return False
        document = document[key]
    return True
