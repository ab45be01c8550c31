"""Rules about single objects and pairs of them: duplicates, clear-text Secrets, encryption, charts, sources."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from threezone.clients.kubernetes.api import Json
from threezone.delivery.check.findings import Finding
from threezone.delivery.check.model import (
    OWNER,
    Group,
    Id,
    Rendering,
    annotated,
    clean_path,
    id_of,
    is_kustomization,
    is_masked,
    meta,
    source_id,
    source_of,
)
from threezone.delivery.check.source import Tree
from threezone.delivery.check.variables import Lookup, Unknown
from threezone.flux.objects import HELM, SOURCE

CLEAR_TEXT = "threezone.io/clear-text"  # an annotation: this Secret is meant to be readable in Git
ALLOWED = "allowed"


def duplicates(rendering: Rendering) -> Iterator[Finding]:
    """Objects that two Kustomizations apply: the last one wins, again and again, and either deletes it for both."""
    for what, found in rendering.by_id().items():
        here = [(group, item) for group, item in found if "kubeConfig" not in group.spec]
        first, *others = here or found
        for group, item in others:
            differs = _unowned(item) != _unowned(first[1])
            message = f"{group.key} applies it, too" + (" with other content: they overwrite each other" * differs)
            fix = f"keep it in one of {first[0].key.name} and {group.key.name}"
            yield Finding("error" if differs else "warning", "duplicate", str(what), message, fix)


def _unowned(item: Json) -> Json:
    """An object without the labels that name its Kustomization."""
    data = meta(item)
    labels = {name: value for name, value in (data.get("labels") or {}).items() if name not in OWNER}
    return {**item, "metadata": {**data, "labels": labels}}


def secrets(rendering: Rendering) -> Iterator[Finding]:
    """Secrets that anybody who reads the repository can read, and encrypted ones that Flux is not told to decrypt."""
    for group, item in rendering.objects:
        if id_of(item)[:2] != ("", "Secret"):
            continue
        values = [value for part in ("data", "stringData") for value in (item.get(part) or {}).values() if value]
        encrypted = [value for value in values if is_masked(value)]
        what = str(id_of(item))
        if encrypted and "decryption" not in group.spec:
            message = (
                f"it is encrypted with SOPS, but {group.key} has no spec.decryption: pods would get the encrypted text"
            )
            yield Finding("error", "sops", what, message, "add spec.decryption with the provider sops")
        if len(encrypted) < len(values) and annotated(item, CLEAR_TEXT) != ALLOWED and group.complete:
            message = "its values are in clear text: whoever reads the repository knows them"
            encrypt = "encrypt it: ./run invoke secret.set, or sops encrypt --in-place"
            fix = f"{encrypt}; or annotate a Secret that is none with {CLEAR_TEXT}: {ALLOWED}"
            yield Finding("error", "secret", what, message, fix)


def sources(rendering: Rendering, lookup: Lookup) -> Iterator[Finding]:
    """Sources that Kustomizations and charts name and that do not exist."""
    known = {source_id(item) for _, item in rendering.objects} | set(rendering.local)
    for _, item in rendering.objects:
        for wanted in _wanted(item):
            if wanted in known:
                continue
            kind, namespace, name = wanted.split("/", 2)
            try:
                exists = lookup(Id(SOURCE, kind, namespace, name)) is not None
            except Unknown:
                continue
            if not exists:
                message = f"{kind} {namespace}/{name} does not exist, and this commit does not bring it"
                fix = "correct the sourceRef, or add the source"
                yield Finding("error", "source", str(id_of(item)), message, fix)


def _wanted(item: Json) -> list[str]:
    group, kind, namespace, _ = id_of(item)
    spec = item.get("spec") or {}
    if is_kustomization(item) or (group, kind) == (SOURCE, "HelmChart"):
        return [source_of(spec, namespace)]
    if (group, kind) == (HELM, "HelmRelease"):
        if chart := (spec.get("chart") or {}).get("spec"):
            return [source_of(chart, namespace)]
        if reference := spec.get("chartRef"):
            return [source_of({"sourceRef": reference}, namespace)]
    return []


def charts(rendering: Rendering, tree: Tree) -> Iterator[Finding]:
    """Charts of this repository that a HelmRelease names and that are not there."""
    for item, chart in releases(rendering):
        if source_of(chart, id_of(item).namespace) not in rendering.local:
            continue
        path, what = clean_path(chart.get("chart")), str(id_of(item))
        if not (tree.root / path / "Chart.yaml").is_file() and not (tree.root / path).is_file():
            message = f"there is no chart at {path}: Chart.yaml is missing"
            yield Finding("error", "chart", what, message, "correct spec.chart.spec.chart")
            continue
        if not chart.get("ignoreMissingValuesFiles"):
            for file in map(clean_path, chart.get("valuesFiles") or []):
                if not (tree.root / file).is_file():
                    message = f"there is no values file {file}"
                    yield Finding("error", "chart", what, message, "correct spec.chart.spec.valuesFiles")


def releases(rendering: Rendering) -> Iterator[tuple[Json, dict[str, Any]]]:
    """The HelmReleases, each with the spec of its chart ({} for a reference)."""
    for _, item in rendering.objects:
        if id_of(item)[:2] == (HELM, "HelmRelease"):
            yield item, dict(((item.get("spec") or {}).get("chart") or {}).get("spec") or {})


def not_rendered(rendering: Rendering) -> list[str]:
    """What Flux would apply besides, as it is said to people."""
    words = [f"what {id_of(item)} installs: charts are not rendered" for item, _ in releases(rendering)]
    return [*words, *(f"what {group.key} applies to another cluster" for group in remote(rendering))]


def remote(rendering: Rendering) -> list[Group]:
    """The Kustomizations that apply to another cluster."""
    return [group for group in rendering.groups if "kubeConfig" in group.spec]
