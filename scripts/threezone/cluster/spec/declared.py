"""The declared cluster: kind's own file, what settings and flags lay upon it, and what this host needs added to it.

Everything here is pure, except `declare` and `read`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from threezone.cluster.spec import decode, overlay, patches, validate
from threezone.cluster.spec.decode import Draft, Place, Spot, shown
from threezone.cluster.spec.overlay import Options
from threezone.cluster.spec.schema import CONTROL_PLANE, PATCHED
from threezone.cluster.spec.validate import is_everywhere
from threezone.core import versions
from threezone.core.files import read_text

REFUSES_CGROUP_V1 = 35  # the first minor version whose kubelet does, unless told otherwise (KEP-5573)
_TAGGED = re.compile(rf":v({versions.RELEASE})(?:@|$)")


@dataclass(frozen=True)
class Overlay:
    """What is added to the file: the plan's sentence, and a kubeadmConfigPatch or an apiServerAddress.

    Patches of `defaults` come before the file's own, which overrule them; a cluster without is as declared, too.
    """

    sentence: str
    patch: str = ""
    api_address: str = ""
    defaults: tuple[str, ...] = ()


@dataclass(frozen=True)
class Declared:
    """A validated cluster: the file it came from, its content with settings and flags, and what is often asked of it.

    `said` has a sentence for everything that is not as the file says; `spots` tells where each value stands.
    """

    path: Path
    content: dict[str, Any]
    said: tuple[str, ...] = ()
    spots: Spot = field(default_factory=lambda: Spot(Place("")), compare=False, repr=False)

    @property
    def networking(self) -> dict[str, Any]:
        """The section `networking`."""
        return self.content.get("networking") or {}

    @property
    def api_port(self) -> int:
        """The API server's port on the engine's host; 0 when kind or the engine (-1) shall choose one."""
        return max(0, int(self.networking.get("apiServerPort") or 0))

    @property
    def own_address(self) -> str:
        """The address that is declared for the API, or ""."""
        return str(self.networking.get("apiServerAddress") or "")

    @property
    def api_address(self) -> str:
        """The address on the engine's host where the API is published."""
        return self.own_address or validate.loopback(self.content)

    @property
    def control_planes(self) -> int:
        """How many control-plane nodes are declared."""
        return sum(1 for node in self.nodes if node.get("role", CONTROL_PLANE) == CONTROL_PLANE)

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
        """The cluster's name in the file, or ""; settings and --name decide."""
        return str(self.content.get("name") or "")

    @property
    def kubernetes(self) -> str:
        """The Kubernetes version that the nodes' images name, such as 1.34.2; "" when they name none, or several."""
        found = [_TAGGED.search(str(node["image"])) for node in self.nodes if node.get("image")]
        versions = {each[1] if each else "" for each in found}
        return versions.pop() if len(versions) == 1 else ""


def read(path: Path) -> Declared:
    """Read and validate kind's file at `path`. Raises UsageError with file, line, field and what was expected."""
    return declare(path)


def declare(path: Path, options: Sequence[Options] = (), root: Path | None = None) -> Declared:
    """Read kind's file and lay upon it what the settings of the project `root` overlay, then `options` in order."""
    text = read_text(path, fix="name another one under threezone.cluster.config in invoke.yaml, or with --config")
    over = None
    if root is not None and (settings := root / "invoke.yaml").is_file():
        over = overlay.settings_overlay(read_text(settings, fix=f"correct {settings}"), as_typed(settings))
    return replace(parse(text, as_typed(path), options, over, root), path=path)


def as_typed(path: Path) -> Path:
    """A path as one types it here: below the working directory without it."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path


def parse(
    text: str, path: Path, options: Sequence[Options] = (), over: Draft | None = None, root: Path | None = None
) -> Declared:
    """Validate the text of a cluster file with what is laid upon it; `path` is the file that errors name.

    Mounts' relative paths start from `root`; without it they are left as they are.
    """
    draft = decode.read(text, str(path))
    said = overlay.lay(draft, over) if over else []
    for each in options:
        said += overlay.apply(draft, each)
    validate.check(draft)
    _rooted(draft, root)
    said += [*_loopback(draft), *_opened(draft), *_unmatched(draft), *_images(draft)]
    return Declared(path, draft.content, tuple(said), draft.spots)


def _rooted(draft: Draft, root: Path | None) -> None:
    """Make the hosts' paths of mounts absolute: for kind they start from wherever it is run."""
    for node in draft.content.get("nodes") or []:
        for mount in node.get("extraMounts") or []:
            if root is not None:
                mount["hostPath"] = str(root / mount["hostPath"])


def _loopback(draft: Draft) -> list[str]:
    """Publish on loopback what names no address: kind itself would publish it on every address of the machine."""
    said = []
    for index, node in enumerate(draft.content.get("nodes") or []):
        for number, port in enumerate(node.get("extraPortMappings") or []):
            if not port.get("listenAddress"):
                port["listenAddress"] = validate.loopback(draft.content)
                keys = ("nodes", index, "extraPortMappings", number)
                said.append(
                    f"{shown(*keys)} names no listenAddress ({draft.spots.at(*keys)}): it is published on "
                    f"{port['listenAddress']}, and not on every address of the machine, as kind would"
                )
    return said


def _opened(draft: Draft) -> list[str]:
    """What the declaration opens to other machines."""
    return [
        f"port {port}/{protocol} is open to everybody who reaches this machine: {shown(*keys)} says listenAddress "
        f"{address} ({draft.spots.at(*keys, 'listenAddress')})"
        for keys, address, port, protocol in validate.ports(draft.content)
        if is_everywhere(address)
    ]


def _unmatched(draft: Draft) -> list[str]:
    """Patches for a version of a document that kind does not write: kind drops them without a word."""
    return [
        f"{patch.name} is for {patch.version} ({patch.place}): kind writes {patch.kind} as {PATCHED[patch.kind]}, so "
        "this patch changes nothing; leave its version out, and it is applied to any"
        for patch in patches.of_kubeadm(draft.content, draft.spots)
        if patch.version and patch.version != PATCHED[patch.kind]
    ]


def _images(draft: Draft) -> list[str]:
    """Images of nodes: ours carry the label that makes the cluster ours, so that a version is all that is taken."""
    return [
        f"nodes[{index}].image {node['image']} is not used itself ({draft.spots.at('nodes', index, 'image')}): nodes "
        "run the image that is made here, of the Kubernetes version that is asked for"
        for index, node in enumerate(draft.content.get("nodes") or [])
        if node.get("image")
    ]


def overlays(*, cgroup: str, kubernetes_minor: int) -> tuple[Overlay, ...]:
    """What this host needs. `cgroup` is the engine's cgroup version ("1" or "2")."""
    needed = []
    if cgroup == "1" and kubernetes_minor >= REFUSES_CGROUP_V1:
        needed.append(
            Overlay(
                "this engine runs on cgroup v1, which Kubernetes 1.35 refuses by default: failCgroupV1: false is added",
                "kind: KubeletConfiguration\nfailCgroupV1: false\n",
            )
        )
    return tuple(needed)


def published(declared: Declared, added: Sequence[Overlay]) -> str:
    """The address where the API is published when `added` is added to the declared cluster."""
    return next((overlay.api_address for overlay in added if overlay.api_address), declared.api_address)


def with_overlays(declared: Declared, name: str, added: Sequence[Overlay]) -> str:
    """The file that kind is given: the declared cluster, its name, and the host's overlays. JSON is YAML."""
    import json

    content = dict(declared.content)
    content["name"] = name
    before = [patch for each in added for patch in each.defaults]
    after = [each.patch for each in added if each.patch]
    if before or after:
        content[patches.MERGE] = [*before, *(content.get(patches.MERGE) or []), *after]
    if (address := published(declared, added)) != declared.api_address:
        content["networking"] = {**declared.networking, "apiServerAddress": address}
    return json.dumps(content, indent=2)
