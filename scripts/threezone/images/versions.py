"""The versions of the images' parts: the section `images` of pins.toml, and the choice of a Kubernetes version."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from threezone.core import pins, versions
from threezone.core.errors import UsageError

Digest = Annotated[str, msgspec.Meta(pattern="^sha256:[0-9a-f]{64}$")]
PinnedImage = Annotated[str, msgspec.Meta(pattern="^[^@]+:[^@/:]+@sha256:[0-9a-f]{64}$")]  # name:version@digest


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="kebab"):
    """A table of pins.toml; an unknown key is an error."""


# The text of the next three is hashed into the names of built images: a renamed class or field builds all of them anew.
class Parts(_Section, frozen=True):
    """What a node image built from source is made of, besides Kubernetes, kind's files and Debian's packages."""

    containerd: pins.Version
    cni_plugins: pins.Version
    etcd: pins.Version
    coredns: pins.Version
    local_path_provisioner: pins.Version


class NodePin(_Section, frozen=True, kw_only=True):
    """Kubernetes' version; the released image and its digest (None: not known for this version)."""

    version: pins.Version
    release: str
    digest: Digest | None = None
    parts: Parts


class FluxPin(_Section, frozen=True):
    """Flux's controllers that can be built."""

    source_controller: pins.Version
    kustomize_controller: pins.Version
    helm_controller: pins.Version


class OtherVersion(_Section, frozen=True):
    """Another version of Kubernetes: the digest of its released image, and what its kubeadm asks for.

    `kind` is the kind in whose release the image is, where that is not the pinned one.
    """

    digest: Digest | None = None
    etcd: pins.Version | None = None
    coredns: pins.Version | None = None
    kind: pins.Version | None = None


class OtherFlux(_Section, frozen=True):
    """Another version of Flux: the controllers that its manifests name."""

    source_controller: pins.Version
    kustomize_controller: pins.Version
    helm_controller: pins.Version


class ReleasePin(_Section, frozen=True):
    """A public image by name and tag."""

    release: str


class RegistryPin(_Section, frozen=True):
    """The registry's version, its public image and that image's digest; its module has the same version."""

    version: pins.Version
    release: str
    digest: Digest | None = None


class ReleasedPin(_Section, frozen=True):
    """Public images that a node is preloaded with in the release channel."""

    flux: tuple[PinnedImage, ...] = ()


class Images(_Section, frozen=True, kw_only=True):
    """The section `images`: `base` is below our own images in the release channel, `balancer` is named as kind does."""

    node: NodePin
    kubernetes: dict[pins.Version, OtherVersion] = {}
    balancer: ReleasePin
    flux: FluxPin
    other_flux: dict[pins.Version, OtherFlux] = {}
    base: ReleasePin
    registry: RegistryPin
    released: ReleasedPin = ReleasedPin()


def images() -> Images:
    """The image pins of this project, with the controllers of the Flux that its settings ask for.

    Those of an unknown Flux are empty; `require_controllers` reports them.
    """
    pinned, version = pins.section("images", Images), pins.tools().flux.version
    if version in pinned.other_flux:
        return msgspec.structs.replace(
            pinned, flux=FluxPin(**msgspec.structs.asdict(pinned.other_flux[version])), released=ReleasedPin()
        )
    if version != pins.section("tools", pins.Tools).flux.version:
        return msgspec.structs.replace(pinned, flux=FluxPin("", "", ""), released=ReleasedPin())
    return pinned


def require_controllers(pin: FluxPin) -> None:
    """Raise UsageError with the lines to add if the pins do not name the controllers of this Flux."""
    if not pin.source_controller:
        version = pins.tools().flux.version
        raise UsageError(
            f"the pins do not name the controllers of Flux {version}, so it cannot be built from source",
            evidence="flux2 names them in manifests/bases/*/kustomization.yaml of that version",
            fix=f'add [images.other-flux."{version}"] to local/pins.toml, with source-controller, kustomize-controller '
            "and helm-controller; or use --channel release",
        )


def node_for(requested: str, pinned: Images | None = None) -> NodePin:
    """The pin of a node with Kubernetes "1.34", "1.34.3" or "v1.34.3"; "" is the project's own version.

    A minor version means its newest pinned patch. A patch that is not pinned has no digest, and the parts of a pinned
    patch of the same minor version, if there is one; `require_digest` and `require_parts` report what is missing.
    `pinned`: None means the project's pins. Raises UsageError for an invalid or unknown version.
    """
    pinned = pinned or images()
    own = pinned.node
    version = (requested or own.version).removeprefix("v")
    if not re.fullmatch(versions.KUBERNETES, version):
        raise UsageError(
            f"{requested!r} is not a version of Kubernetes", fix="use --kubernetes 1.34 or --kubernetes 1.34.3"
        )
    minor = _minor(version)
    patches = sorted((patch for patch in pinned.kubernetes if _minor(patch) == minor), key=versions.parse)
    if version in (own.version, _minor(own.version)):
        listed = pinned.kubernetes.get(own.version, OtherVersion())
        return msgspec.structs.replace(own, digest=own.digest or listed.digest)
    if version == minor:
        if not patches:
            known = sorted([own.version, *pinned.kubernetes], key=versions.parse)
            raise UsageError(
                f"no patch version of Kubernetes {minor} is pinned; known are {', '.join(known)}",
                fix=f'name one of these, or add [images.kubernetes."{minor}.x"] to local/pins.toml',
            )
        version = patches[-1]
    parts, listed = own.parts, pinned.kubernetes.get(version, OtherVersion())
    if minor != _minor(own.version):
        near = pinned.kubernetes[patches[-1]] if patches and version not in pinned.kubernetes else listed
        parts = msgspec.structs.replace(parts, etcd=near.etcd or "", coredns=near.coredns or "")
    return msgspec.structs.replace(own, version=version, digest=listed.digest, parts=parts)


def _minor(version: str) -> str:
    """The minor version of a patch version: 1.34 of 1.34.3."""
    return versions.dotted(versions.parse(version).series)


def require_digest(node: NodePin, kind: str) -> str:
    """The digest of the released image. `kind`: kind's version. Raises UsageError with the line to add."""
    if node.digest is not None:
        return node.digest
    image = f"{node.release}:v{node.version}"
    raise UsageError(
        f"no digest is pinned for {image}: it is not in kind {kind}'s own list of node images",
        evidence=f"the registry has it: docker buildx imagetools inspect {image}",
        fix=f"add {_key(node.version)}.digest to local/pins.toml, or build it here: --channel source"
        + _near(node.version),
    )


def _near(version: str) -> str:
    """The patches of the same minor version whose digest is pinned, as a way out."""
    same = [patch for patch, other in images().kubernetes.items() if other.digest and _minor(patch) == _minor(version)]
    return f"; or name one with a digest: --kubernetes {max(same, key=versions.parse)}" if same else ""


def kind_of(version: str) -> str:
    """The kind in whose release the image of a Kubernetes version is, "" for the pinned one."""
    return images().kubernetes.get(version, OtherVersion()).kind or ""


def require_parts(node: NodePin) -> None:
    """Raise UsageError with the lines to add if the pins lack parts of this Kubernetes version."""
    if missing := [name for name in ("etcd", "coredns") if not getattr(node.parts, name)]:
        raise UsageError(
            f"the pins do not name the {' and the '.join(missing)} that Kubernetes {node.version} asks for",
            fix=f"add {' and '.join(f'{_key(node.version)}.{name}' for name in missing)} to local/pins.toml"
            + (", or use --channel release" if node.digest else ""),
        )


def key_of(version: str) -> str:
    """The table of local/pins.toml with the parts of a Kubernetes version."""
    return "images.node.parts" if version == images().node.version else _key(version)


def _key(version: str) -> str:
    return f'images.kubernetes."{version}"'
