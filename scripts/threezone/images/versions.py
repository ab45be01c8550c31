"""The versions of the images' parts: the section `images` of pins.toml, and the choice of a Kubernetes version."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from threezone.core import pins
from threezone.core.errors import UsageError

Digest = Annotated[str, msgspec.Meta(pattern="^sha256:[0-9a-f]{64}$")]


class Parts(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="kebab"):
    """What a node image built from source is made of, besides Kubernetes, kind's files and Debian's packages."""

    containerd: pins.Version
    cni_plugins: pins.Version
    etcd: pins.Version
    coredns: pins.Version
    local_path_provisioner: pins.Version


class NodePin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Kubernetes' version; where the released image is, and its digest (none: not known for this version)."""

    version: pins.Version
    release: str
    digest: Digest | None = None
    parts: Parts


class Other(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Another version of Kubernetes: the digest of its released image, and what its kubeadm asks for."""

    digest: Digest | None = None
    etcd: pins.Version | None = None
    coredns: pins.Version | None = None


class FluxPin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="kebab"):
    """Flux's controllers that can be built."""

    source_controller: pins.Version
    kustomize_controller: pins.Version
    helm_controller: pins.Version


class BasePin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The public image under our own ones in the release channel."""

    release: str


class BalancerPin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The image that the pinned kind puts before several control planes, as kind names it."""

    release: str


class RegistryPin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The registry's version; its public image and that one's digest, or built from its module in that version."""

    version: pins.Version
    release: str
    digest: Digest | None = None


class ReleasedPin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Public images that a node is preloaded with in the release channel, each as name:version@digest."""

    flux: tuple[Annotated[str, msgspec.Meta(pattern="^[^@]+:[^@/:]+@sha256:[0-9a-f]{64}$")], ...] = ()


class Images(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The section `images`."""

    node: NodePin
    kubernetes: dict[pins.Version, Other] = {}
    balancer: BalancerPin
    flux: FluxPin
    base: BasePin
    registry: RegistryPin
    released: ReleasedPin = ReleasedPin()


def images() -> Images:
    """What the project here uses."""
    return pins.section("images", Images)


def node_for(asked: str, known: Images | None = None) -> NodePin:
    """The node of the Kubernetes version that was asked for: "1.34", "1.34.3" or "v1.34.3"; "" is the project's own.

    A minor version means its newest pinned patch. A patch that is not pinned has no digest, and the parts of a pinned
    patch of the same minor version, if there is one: what cannot be had is told by `require_digest` and
    `require_parts`. `known`: None means the project's pins. Raises UsageError for what is no version, or is not known.
    """
    known = known or images()
    numbers = re.fullmatch(r"v?(1\.\d+)(\.\d+)?", asked or known.node.version)
    if numbers is None:
        raise UsageError(
            f"{asked!r} is no version of Kubernetes", fix="give it as --kubernetes 1.34 or as --kubernetes 1.34.3"
        )
    minor, version = numbers[1], f"{numbers[1]}{numbers[2] or ''}"
    patches = sorted((each for each in known.kubernetes if minor_of(each) == minor), key=_order)
    if version in (known.node.version, minor_of(known.node.version)):
        listed = known.kubernetes.get(known.node.version, Other())
        return msgspec.structs.replace(known.node, digest=known.node.digest or listed.digest)
    if numbers[2] is None:
        if not patches:
            pinned = sorted([known.node.version, *known.kubernetes], key=_order)
            raise UsageError(
                f"no patch version of Kubernetes {minor} is pinned; known are {', '.join(pinned)}",
                fix=f'name one of these, or add [images.kubernetes."{minor}.x"] to local/pins.toml',
            )
        version = patches[-1]
    parts = known.node.parts
    if minor != minor_of(known.node.version):
        near = known.kubernetes.get(version) or (known.kubernetes[patches[-1]] if patches else Other())
        parts = msgspec.structs.replace(parts, etcd=near.etcd or "", coredns=near.coredns or "")
    digest = known.kubernetes[version].digest if version in known.kubernetes else None
    return msgspec.structs.replace(known.node, version=version, digest=digest, parts=parts)


def minor_of(version: str) -> str:
    """The minor version of a patch version: 1.34 of 1.34.3."""
    return version.rpartition(".")[0]


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def require_digest(node: NodePin, kind: str) -> str:
    """The digest of the released image. Raises UsageError with the line to add. `kind`: the version of kind in use."""
    if node.digest is not None:
        return node.digest
    image = f"{node.release}:v{node.version}"
    raise UsageError(
        f"no digest is pinned for {image}: kind {kind}'s own list of node images does not have it",
        evidence=f"a registry tells it: docker buildx imagetools inspect {image}",
        fix=f"add {_key(node.version)}.digest to local/pins.toml, or build it here: --channel source",
    )


def require_parts(node: NodePin) -> None:
    """Raise UsageError with what to add when it is not known what this Kubernetes is made of."""
    if lacking := [name for name in ("etcd", "coredns") if not getattr(node.parts, name)]:
        raise UsageError(
            f"the pins do not name the {' and the '.join(lacking)} that Kubernetes {node.version} asks for",
            fix=f"add {' and '.join(f'{_key(node.version)}.{name}' for name in lacking)} to local/pins.toml"
            + (", or use --channel release" if node.digest else ""),
        )


def key_of(version: str) -> str:
    """Where local/pins.toml says what a Kubernetes version is made of."""
    return "images.node.parts" if version == images().node.version else _key(version)


def _key(version: str) -> str:
    return f'images.kubernetes."{version}"'
