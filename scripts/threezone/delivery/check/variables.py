"""The values that Flux writes in place of `${name}`: those of a Kustomization, of ConfigMaps and of Secrets."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from threezone.clients.kubernetes.api import Json
from threezone.delivery.check.model import Id, is_masked

# The live ConfigMap or Secret: its values, None for a missing one. Raises Unknown where nobody can be asked.
Lookup = Callable[[Id], Json | None]


class Unknown(Exception):
    """There is no lab that could be asked, or it does not answer."""


@dataclass(frozen=True)
class Values:
    """The values of a Kustomization's variables.

    `missing` are the objects that do not exist; `unknown` are those whose values are encrypted or not to be had here.
    `secrets` are the values that come from Secrets.
    """

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    missing: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()
    secrets: frozenset[str] = field(default=frozenset(), repr=False)


def references(kustomization: Json) -> list[Json]:
    """The ConfigMaps and Secrets that a Kustomization takes values from."""
    post = (kustomization.get("spec") or {}).get("postBuild") or {}
    return [reference for reference in post.get("substituteFrom") or [] if isinstance(reference, dict)]


def own(kustomization: Json) -> dict[str, str]:
    """The values that a Kustomization has itself."""
    post = (kustomization.get("spec") or {}).get("postBuild") or {}
    return {str(name): str(value) for name, value in (post.get("substitute") or {}).items()}


def resolve(kustomization: Json, rendered: Mapping[Id, Sequence[Json]], lookup: Lookup) -> Values:
    """The values that Flux will have. Later objects win over earlier ones, the Kustomization's own over all.

    fluxcd/pkg, kustomize/kustomize_varsub.go: LoadVariables. `rendered` is what the same commit brings.
    """
    values: dict[str, str] = {}
    missing: list[str] = []
    unknown: list[str] = []
    secrets: set[str] = set()
    namespace = str((kustomization.get("metadata") or {}).get("namespace") or "")
    for reference in references(kustomization):
        wanted = Id("", str(reference.get("kind")), namespace, str(reference.get("name")))
        try:
            item = rendered[wanted][0] if rendered.get(wanted) else lookup(wanted)
        except Unknown:
            unknown.append(str(wanted))
            continue
        if item is None:
            missing += [] if reference.get("optional") else [str(wanted)]
            continue
        found = plain(item)
        if any(is_masked(value) for value in found.values()):
            unknown.append(str(wanted))
        values |= found
        secrets |= {value for value in found.values() if value and wanted.kind == "Secret"}
    values |= own(kustomization)
    return Values(values, tuple(missing), tuple(unknown), frozenset(secrets))


def plain(item: Json) -> dict[str, str]:
    """The values of a ConfigMap or of a Secret, masked ones as they are."""
    data = item.get("data") or {}
    if item.get("kind") != "Secret":
        return {name: str(value) for name, value in data.items()}
    decoded = {name: value if is_masked(value) else _decoded(str(value)) for name, value in data.items()}
    return decoded | {name: str(value) for name, value in (item.get("stringData") or {}).items()}


def _decoded(value: str) -> str:
    try:
        return base64.b64decode(value).decode(errors="replace")
    except (binascii.Error, ValueError):  # the API server will refuse it
        return ""


def with_values(kustomization: Json, values: Mapping[str, str]) -> Json:
    """The Kustomization with all its values inline: `flux build` asks no cluster for them."""
    spec = dict(kustomization.get("spec") or {})
    post = {key: value for key, value in (spec.get("postBuild") or {}).items() if key != "substituteFrom"}
    if values:
        post["substitute"] = {name: value.replace("\n", "") for name, value in values.items()}
    spec |= {"postBuild": post} if post else {}
    return {**kustomization, "spec": spec}
