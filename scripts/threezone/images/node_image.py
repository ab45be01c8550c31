"""The node image in the source channel: Debian, kind's own files, programs from Go modules, the system pods' images.

kind's module carries the files of its node images (entrypoint, systemd units, containerd's settings). They are taken
from there at build time, verified like every module, so that a node behaves as kind of that version expects.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from threezone.clients.docker import containers, images
from threezone.core import events, labels, paths
from threezone.core.errors import ToolError
from threezone.images import engine_images, programs
from threezone.images.versions import NodePin, key_of
from threezone.toolchain import cache, golang

PRELOAD_SECONDS = 900  # the container ends by itself then, if nobody is left who removes it
PARTS = "threezone/part"  # the repository of images that exist during a build only
OWN_TAG = "1"  # the tag of the pods' images that exist inside nodes only; recipes/node's manifests name it


@dataclass(frozen=True)
class Pod:
    """An image inside the node: its final name, and the recipe, stage and program that make it."""

    final: str
    recipe: str
    target: str
    program: str = ""


def build(reference: str, node: NodePin, *, kind_version: str, base: str, made_from: str) -> None:
    """Build the node image as `reference` from programs that are built already (or are built now)."""
    built = _programs(node)
    kind = golang.module_source("sigs.k8s.io/kind", f"v{kind_version}") / "images" / "base" / "files"
    bare = f"{PARTS}:node-{made_from}"
    with events.step("assemble the node") as step:
        with engine_images.scratch("node-files") as files:
            for name in programs.ON_NODES:
                engine_images.put(built[name], files / "usr/bin" / name)
            for name in ("containerd", "containerd-shim-runc-v2", "ctr"):
                engine_images.put(built[name], files / "usr/local/bin" / name)
            for name in (program.name for program in programs.cni_plugins(node)):
                engine_images.put(built[name], files / "opt/cni/bin" / name)
            (files / "kind").mkdir()
            (files / "kind/version").write_text(f"v{node.version}")
            trees = {"bin": files, "kind": kind}
            engine_images.build(bare, "node", made_from=made_from, base=base, trees=trees)
        pods = _pods(node, bare, sandbox=_sandbox(kind))
        parts: dict[str, str] = {}
        for pod in pods:
            name = f"{PARTS}:{pod.program or pod.target}-{made_from}"
            step.say(f"image of {pod.final.rsplit('/', 1)[-1]}")
            files_of = {f"bin/{pod.program}": built[pod.program]} if pod.program else {}
            if pod.recipe == "system":  # every stage of this recipe is built from the same context
                files_of = {"bin/kube-proxy": built["kube-proxy"]}
            engine_images.build(name, pod.recipe, made_from=made_from, base=base, target=pod.target, files=files_of)
            parts[name] = pod.final
    with events.step("put the system pods' images into the node"):
        _preload(bare, reference, parts, made_from)
    _remove_parts()


def _remove_parts() -> None:
    """Remove the images that only the build needed, those of failed ones before it too."""
    images.remove(*images.names(PARTS))


def _programs(node: NodePin) -> dict[str, Path]:
    sets = [programs.kubernetes_programs(node), programs.containerd(node), programs.cni_plugins(node)]
    sets += [(programs.etcd(node),), (programs.coredns(node),), (programs.local_path_provisioner(node),)]
    return {path.name: path for group in sets for path in golang.build_together(group)}


def _sandbox(kind: Path) -> str:
    """The pause image that kind's containerd settings name."""
    text = (kind / "etc/containerd/config.toml").read_text(encoding="utf-8")
    found = re.search(r'^\s*sandbox_image\s*=\s*"([^"]+)"', text, re.MULTILINE)
    if found is None:
        raise ToolError("kind's containerd settings name no sandbox image", evidence=str(kind))
    return found.group(1)


def _pods(node: NodePin, bare: str, sandbox: str) -> list[Pod]:
    """What has to be in the node: the images that its kubeadm will ask for, and our own.

    Raises ToolError when kubeadm asks for other versions of etcd or CoreDNS than the pins have.
    """
    arguments = ("config", "images", "list", "--kubernetes-version", f"v{node.version}")
    asked = containers.run(bare, *arguments, entrypoint="kubeadm").stdout.split()
    own = {"etcd": node.parts.etcd, "coredns": node.parts.coredns}
    pods = [Pod(sandbox, "system", "pause")]
    for image in asked:
        name, _, tag = image.rsplit("/", 1)[-1].partition(":")
        if name == "pause":
            continue  # the sandbox image instead, as kind does it
        wanted = re.search(r"\d+\.\d+\.\d+", tag)
        if name in own and (wanted is None or wanted.group() != own[name]):
            raise ToolError(
                f"Kubernetes {node.version} asks for {name} {tag}, and the pins have {own[name]}",
                fix=f"set {key_of(node.version)}.{name} in local/pins.toml",
            )
        if name == "kube-proxy":
            pods.append(Pod(image, "system", "kube-proxy", name))
        else:
            pods.append(Pod(image, "program", "coredns" if name == "coredns" else "program", name))
    own_image = f"docker.io/threezone/{{}}:{OWN_TAG}".format
    return [
        *pods,
        Pod(own_image("pod-network"), "system", "pod-network"),
        Pod(own_image("volume-helper"), "system", "volume-helper"),
        Pod(own_image("local-path-provisioner"), "program", "program", "local-path-provisioner"),
    ]


def _preload(bare: str, reference: str, parts: Mapping[str, str], made_from: str) -> None:
    """Unpack the images into containerd's store in a container of `bare`, and commit that as the node image."""
    with engine_images.scratch("node-images") as place:
        archive, names = place / "images.tar", place / "names"
        images.save(archive, *parts)
        names.write_text("".join(f"docker.io/{now} {final}\n" for now, final in parts.items()))
        engine_images.unpack(
            bare,
            reference,
            cache.key("threezone-node-build", str(paths.cache_dir())),  # a name per cache, and so per lock
            files=(archive, names),
            script=Path("node/import-images"),
            changes=(
                'ENTRYPOINT ["/usr/local/bin/threezone-entrypoint", "/sbin/init"]',
                "CMD []",
                f"LABEL {labels.MANAGED}=true {engine_images.RECIPE}={made_from}",
            ),
            seconds=PRELOAD_SECONDS,
        )
