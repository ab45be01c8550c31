"""The versions of the images' parts: the section `images` of pins.toml."""

from __future__ import annotations

from typing import Annotated

import msgspec

from threezone import pins

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


class FluxPin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename="kebab"):
    """Flux's controllers that can be built."""

    source_controller: pins.Version
    kustomize_controller: pins.Version
    helm_controller: pins.Version


class BasePin(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The public image under our own ones in the release channel."""

    release: str


class Images(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The section `images`."""

    node: NodePin
    flux: FluxPin
    base: BasePin


def images() -> Images:
    """What the project here uses."""
    return pins.section("images", Images)
