"""API versions that newer Flux releases no longer have, in files and in a cluster, and feature gates that hurt. Pure.

Sources, each in the CHANGELOG.md of the controller: "The `v1beta2` APIs were removed" (source-controller 1.8.0,
kustomize-controller 1.8.0, `v2beta2` in helm-controller 1.5.0: Flux 2.8), "The `v1beta1` APIs were removed"
(source-controller and kustomize-controller 1.7.0, notification-controller 1.7.0, `v2beta1` in helm-controller 1.4.0:
Flux 2.7), and notification's `v1beta2` (notification-controller 1.9.0: Flux 2.9). Before the resource definitions are
upgraded, objects that are stored in such a version have to be migrated (`flux migrate`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from threezone.clients.kubernetes.api import Json
from threezone.core.versions import dotted, parse

_SUFFIX = "toolkit.fluxcd.io"
REMOVED: Mapping[str, tuple[int, int]] = {  # apiVersion → the first Flux without it
    f"source.{_SUFFIX}/v1beta1": (2, 7),
    f"source.{_SUFFIX}/v1beta2": (2, 8),
    f"kustomize.{_SUFFIX}/v1beta1": (2, 7),
    f"kustomize.{_SUFFIX}/v1beta2": (2, 8),
    f"helm.{_SUFFIX}/v2beta1": (2, 7),
    f"helm.{_SUFFIX}/v2beta2": (2, 8),
    f"notification.{_SUFFIX}/v1beta1": (2, 7),
    f"notification.{_SUFFIX}/v1beta2": (2, 9),
}
PATTERN = rf"^[[:space:]-]*apiVersion:[[:space:]]*[\"']?[a-z]+\.{re.escape(_SUFFIX)}/v[12]beta[12]"  # for `git grep -E`
# A controller with this gate cancels its own health check when the revision that it reconciles is queued again, and a
# HelmRelease then stays not ready (fluxcd/helm-controller#1429, with Flux 2.8.1). Flux 2.8.2 queues no revision twice
# (kustomize-controller 1.8.2, CHANGELOG.md).
GATE = "CancelHealthCheckOnNewRevision"
GATE_HURTS_SINCE, GATE_MENDED = parse("2.8.0"), parse("2.8.2")


def gate_hurts(flux: str) -> bool:
    """Whether the gate must stay off in this Flux."""
    return GATE_HURTS_SINCE <= parse(flux) < GATE_MENDED


def in_files(lines: Sequence[str], flux: str) -> tuple[str, ...]:
    """A sentence for each apiVersion that `flux` no longer has. `lines` are FILE:TEXT, as `git grep` prints them."""
    files: dict[str, list[str]] = {}
    for line in lines:
        file, _, text = line.partition(":")
        if (found := re.search(rf"[a-z]+\.{re.escape(_SUFFIX)}/v[12]beta[12]", text)) and _is_gone(found[0], flux):
            files.setdefault(found[0], []).append(file)
    return tuple(
        f"{_some(sorted(set(named)))}: {version} is gone since Flux {dotted(REMOVED[version])}, and this is {flux}: "
        "`flux migrate -f .` rewrites the files"
        for version, named in sorted(files.items())
    )


def in_cluster(definitions: Sequence[Json], flux: str) -> tuple[str, ...]:
    """A sentence for each resource definition that stores a version which `flux` no longer has."""
    sentences = []
    for item in definitions:
        group, kind = item["spec"]["group"], item["spec"]["names"]["kind"]
        stored = [f"{group}/{name}" for name in (item.get("status") or {}).get("storedVersions") or ()]
        sentences += [
            f"the cluster stores {kind} objects as {version}, which is gone since Flux {dotted(REMOVED[version])}: run "
            f"`flux migrate` before the upgrade to {flux}"
            for version in stored
            if _is_gone(version, flux)
        ]
    return tuple(sentences)


def gates(deployments: Sequence[Json], flux: str) -> tuple[str, ...]:
    """A sentence for each controller of this Flux whose gate hurts."""
    if not gate_hurts(flux):
        return ()
    named = [item["metadata"]["name"] for item in deployments if has_gate(item)]
    return tuple(
        f"{name} has {GATE}=true, with which Flux {flux.removeprefix('v')} leaves releases not ready "
        f"(fluxcd/helm-controller#1429): set threezone.flux.version to {dotted(GATE_MENDED)} or newer"
        for name in named
    )


def has_gate(deployment: Json) -> bool:
    """Whether a controller's Deployment turns the gate on."""
    arguments = [
        text
        for container in deployment["spec"]["template"]["spec"]["containers"]
        for text in container.get("args") or ()
        if text.startswith("--feature-gates=")
    ]
    return any(f"{GATE}=true" in text for text in arguments)


def _is_gone(version: str, flux: str) -> bool:
    return version in REMOVED and parse(flux).series >= REMOVED[version]


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
