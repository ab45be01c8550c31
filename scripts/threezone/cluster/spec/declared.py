"""The declared cluster: kind's own file, with the changes of settings and flags, and what this host needs.

Everything here is pure, except `declare`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from threezone.cluster.spec import decode, overlay, patches, validate
from threezone.cluster.spec.decode import Draft, Place, Spot, shown
from threezone.cluster.spec.notes import notes
from threezone.cluster.spec.overlay import Options
from threezone.cluster.spec.schema import CONTROL_PLANE
from threezone.core import versions
from threezone.core.errors import UsageError
from threezone.core.files import read_text

REFUSES_CGROUP_V1 = 35  # the first minor version whose kubelet does, by default (KEP-5573)
# The tag of an image with a version; a suffix such as -alpine does not matter, one of a pre-release does.
_TAG = re.compile(rf":v?({versions.RELEASE}(-(?:alpha|beta|rc)[.0-9]*)?)[^/@]*(?:@[^@]+)?$")


@dataclass(frozen=True)
class Overlay:
    """An addition to the file: the plan's sentence, and a kubeadmConfigPatch or an apiServerAddress.

    Patches of `defaults` precede the file's own, which overrule them; a cluster without them counts as declared.
    """

    sentence: str
    patch: str = ""
    api_address: str = ""
    defaults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declared:
    """A validated cluster: its file, and its content with settings and flags.

    `changes` has a sentence for each difference from the file; `spots` has the place of each value.
    """

    path: Path
    content: dict[str, Any]
    changes: tuple[str, ...] = ()
    spots: Spot = field(default_factory=lambda: Spot(Place("")), compare=False, repr=False)

    @property
    def networking(self) -> dict[str, Any]:
        """The section `networking`."""
        return self.content.get("networking") or {}

    @property
    def api_port(self) -> int:
        """The API server's port on the engine's host; 0 when kind or the engine (-1) chooses one."""
        return max(0, int(self.networking.get("apiServerPort") or 0))

    @property
    def own_address(self) -> str:
        """The declared address of the API, or ""."""
        return str(self.networking.get("apiServerAddress") or "")

    @property
    def api_address(self) -> str:
        """The address on the engine's host where the API is published."""
        return self.own_address or validate.loopback(self.content)

    @property
    def control_planes(self) -> int:
        """The number of declared control planes."""
        return sum(node.get("role", CONTROL_PLANE) == CONTROL_PLANE for node in self.nodes)

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """The declared nodes; kind's default is one control plane."""
        return list(self.content.get("nodes") or [{"role": CONTROL_PLANE}])

    @property
    def pod_network(self) -> bool:
        """Whether kind installs one; without it no node becomes Ready until the user has installed another."""
        return not self.networking.get("disableDefaultCNI")

    @property
    def name(self) -> str:
        """The cluster's name in the file, or ""; settings and --name overrule it."""
        return str(self.content.get("name") or "")

    @property
    def kubernetes(self) -> str:
        """The Kubernetes version in the nodes' images, such as 1.34.2; "" without one.

        Raises UsageError for different versions, and for a pre-release: all nodes are of one image that is made here.
        """
        fix = "give all nodes one released version, or choose one: --kubernetes 1.35"
        found: dict[str, tuple[int, Place]] = {}
        for index, node in enumerate(self.nodes):
            place = self.spots.at("nodes", index, "image")
            if tag := _TAG.search(str(node.get("image") or "")):
                if tag[2]:
                    problem = f"nodes[{index}].image asks for the pre-release {tag[1]}, which cannot be made here"
                    raise UsageError(f"{place}: {problem}", fix=fix)
                found.setdefault(tag[1], (index, place))
        if len(found) > 1:
            asked = " and ".join(f"{each} (nodes[{index}].image, {place})" for each, (index, place) in found.items())
            raise UsageError(f"nodes of different versions cannot be made here: {asked}", fix=fix)
        return "".join(found)


def declare(path: Path, options: Sequence[Options] = (), root: Path | None = None) -> Declared:
    """Read kind's file and apply the overlay in the settings of the project `root`, then `options` in order.

    Raises UsageError with file, line, field and what was expected.
    """
    text = read_text(path, fix="name another one under threezone.cluster.config in invoke.yaml, or with --config")
    over = None
    if root is not None and (settings := root / "invoke.yaml").is_file():
        over = overlay.settings_overlay(read_text(settings, fix=f"correct {settings}"), as_typed(settings))
    return replace(parse(text, as_typed(path), options, over, root), path=path)


def as_typed(path: Path) -> Path:
    """A path as one types it here: relative if it is below the working directory."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def parse(
    text: str, path: Path, options: Sequence[Options] = (), over: Draft | None = None, root: Path | None = None
) -> Declared:
    """Validate the text of a cluster file with its overlays; `path` is the file that errors name.

    Relative paths of mounts start from `root`; without it they are kept, and kind starts from where it is run.
    """
    draft = decode.read(text, str(path))
    changes = overlay.lay(draft, over) if over else []
    for each in options:
        changes += overlay.apply(draft, each)
    validate.check(draft)
    for node in draft.content.get("nodes") or []:
        for mount in node.get("extraMounts") or []:
            if root is not None:
                mount["hostPath"] = str(root / mount["hostPath"])
    changes += [*_loopback(draft), *notes(draft)]
    return Declared(path, draft.content, tuple(changes), draft.spots)


def _loopback(draft: Draft) -> list[str]:
    """Publish on loopback what has no address: kind itself would publish it on every address of the machine."""
    changes = []
    for keys, port in validate.mappings(draft.content):
        if not port.get("listenAddress"):
            address = port["listenAddress"] = validate.loopback(draft.content)
            changes.append(
                f"{shown(*keys)} names no listenAddress ({draft.spots.at(*keys)}): it is published on {address}, and "
                "not on every address of the machine, as kind would"
            )
    return changes


def overlays(*, cgroup: str, kubernetes_minor: int) -> tuple[Overlay, ...]:
    """The overlays that this host needs. `cgroup` is the engine's cgroup version ("1" or "2")."""
    if cgroup != "1" or kubernetes_minor < REFUSES_CGROUP_V1:
        return ()
    sentence = "this engine runs on cgroup v1, which Kubernetes 1.35 refuses by default: failCgroupV1: false is added"
    return (Overlay(sentence, "kind: KubeletConfiguration\nfailCgroupV1: false\n"),)


def published(declared: Declared, added: Sequence[Overlay]) -> str:
    """The address where the API is published when `added` is added to the declared cluster."""
    return next((overlay.api_address for overlay in added if overlay.api_address), declared.api_address)


def with_overlays(declared: Declared, name: str, added: Sequence[Overlay]) -> str:
    """kind's configuration: the declared cluster, its name, and the overlays. JSON is YAML."""  # noqa: D403
    content = {**declared.content, "name": name}
    before = [patch for each in added for patch in each.defaults]
    after = [each.patch for each in added if each.patch]
    if before or after:
        content[patches.MERGE] = [*before, *(content.get(patches.MERGE) or []), *after]
    if (address := published(declared, added)) != declared.api_address:
        content["networking"] = {**declared.networking, "apiServerAddress": address}
    return json.dumps(content, indent=2)
