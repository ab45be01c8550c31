"""The node image in the source channel: Debian, kind's own files, programs from Go modules, the system pods' images.

kind's module has the files of its node images (entrypoint, systemd units, containerd's settings). A build uses them,
verified like every module, so that a node behaves as kind of that version expects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.docker import containers, images
from threezone.core import events, paths, versions
from threezone.core.errors import ToolError
from threezone.images import engine_images, programs
from threezone.images.versions import NodePin, key_of
from threezone.toolchain import cache, golang

PRELOAD_SECONDS = 900  # then the container ends by itself, even if this process was killed
PARTS = "threezone/part"  # the repository of images that exist during a build only
OWN_TAG = "1"  # the tag of the pods' images that exist inside nodes only; recipes/node's manifests name it
DIRECTORIES = {  # of a node's programs; all others are for pods
    **dict.fromkeys(programs.ON_NODES, "usr/bin"),
    **{name: "usr/local/bin" for name, _ in programs.CONTAINERD.programs},
    **{name: "opt/cni/bin" for name, _ in programs.CNI.programs},
}


@dataclass(frozen=True)
class Pod:
    """An image inside the node: its final name, and the recipe, stage and program that make it."""

    name: str
    recipe: str
    target: str
    program: str = ""


def build(reference: str, node: NodePin, *, kind_version: str, base: str, made_from: str) -> None:
    """Build the node image as `reference`. Missing programs are built first."""
    groups = [group for _, _, group in programs.of_node(node)]
    built = {path.name: path for group in groups for path in golang.build_together(group)}
    kind = golang.module_source("sigs.k8s.io/kind", f"v{kind_version}") / "images" / "base" / "files"
    bare = f"{PARTS}:node-{made_from}"
    with events.step("assemble the node") as step:
        with engine_images.scratch("node-files") as files:
            for name, directory in DIRECTORIES.items():
                engine_images.put(built[name], files / directory / name)
            (files / "kind").mkdir()
            (files / "kind/version").write_text(f"v{node.version}")
            trees = {"bin": files, "kind": kind}
            engine_images.build(bare, "node", made_from=made_from, base=base, trees=trees)
        parts: dict[str, str] = {}
        for pod in _pods(node, bare, sandbox=_sandbox(kind)):
            part = f"{PARTS}:{pod.program or pod.target}-{made_from}"
            step.say(f"image of {pod.name.rsplit('/', 1)[-1]}")
            # Every stage of the recipe `system` is built from the same context.
            program = "kube-proxy" if pod.recipe == "system" else pod.program
            engine_images.build(
                part,
                pod.recipe,
                made_from=made_from,
                base=base,
                target=pod.target,
                files={f"bin/{program}": built[program]},
            )
            parts[part] = pod.name
    with events.step("put the system pods' images into the node"):
        _preload(bare, reference, parts, made_from)
    images.remove(*images.names(PARTS))  # those of failed builds too


def _sandbox(kind: Path) -> str:
    """The pause image that kind's containerd settings name."""
    text = (kind / "etc/containerd/config.toml").read_text(encoding="utf-8")
    setting = re.search(r'^\s*sandbox_image\s*=\s*"([^"]+)"', text, re.MULTILINE)
    if setting is None:
        raise ToolError("kind's containerd settings name no sandbox image", evidence=str(kind))
    return setting.group(1)


def _pods(node: NodePin, bare: str, sandbox: str) -> list[Pod]:
    """The images inside the node: those that its kubeadm needs, and our own.

    Raises ToolError when kubeadm needs other versions of etcd or CoreDNS than the pins have.
    """
    arguments = ("config", "images", "list", "--kubernetes-version", f"v{node.version}")
    listed = containers.run(bare, *arguments, entrypoint="kubeadm").stdout.split()
    pinned = {"etcd": node.parts.etcd, "coredns": node.parts.coredns}
    pods = [Pod(sandbox, "system", "pause")]
    for image in listed:
        name, _, tag = image.rsplit("/", 1)[-1].partition(":")
        if name == "pause":
            continue  # the sandbox image replaces it, as in kind
        version = re.search(versions.RELEASE, tag)
        if name in pinned and (version is None or version.group() != pinned[name]):
            raise ToolError(
                f"Kubernetes {node.version} needs {name} {tag}, but the pins have {pinned[name]}",
                fix=f"set {key_of(node.version)}.{name} in local/pins.toml",
            )
        if name == "kube-proxy":
            pods.append(Pod(image, "system", "kube-proxy", name))
        else:
            pods.append(Pod(image, "program", "coredns" if name == "coredns" else "program", name))
    own = f"docker.io/threezone/{{}}:{OWN_TAG}".format
    pods += [Pod(own(name), "system", name) for name in ("pod-network", "volume-helper")]
    return [*pods, Pod(own("local-path-provisioner"), "program", "program", "local-path-provisioner")]


def _preload(bare: str, reference: str, parts: Mapping[str, str], made_from: str) -> None:
    """Unpack the images into containerd's store in a container of `bare`; commit it as the node image."""
    with engine_images.scratch("node-images") as directory:
        engine_images.unpack(
            bare,
            reference,
            cache.key("threezone-node-build", str(paths.cache_dir())),  # a name per cache, and so per lock
            {part: (name,) for part, name in parts.items()},
            directory=directory,
            script="node/import-images",
            changes=('ENTRYPOINT ["/usr/local/bin/threezone-entrypoint", "/sbin/init"]', "CMD []"),
            made_from=made_from,
            seconds=PRELOAD_SECONDS,
        )
