"""The Go programs that the images are made of, as descriptions; `golang.build` makes them."""

from __future__ import annotations

from threezone.images.versions import FluxPin, NodePin
from threezone.toolchain import kubernetes
from threezone.toolchain.golang import Program

ON_NODES = ("kubelet", "kubeadm", "kubectl")
IN_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
# Snapshotters that nothing here uses and that would need C libraries or only cost space; kind leaves them out too.
CONTAINERD_TAGS = ("no_aufs", "no_zfs", "no_btrfs", "no_devmapper")


def kubernetes_programs(node: NodePin) -> tuple[Program, ...]:
    """Kubernetes' own programs, for Linux."""
    return tuple(kubernetes.description(name, node.version, goos="linux") for name in (*ON_NODES, *IN_PODS))


def containerd(node: NodePin) -> tuple[Program, ...]:
    """The container runtime, its shim and its client."""
    version, module = node.parts.containerd, "github.com/containerd/containerd/v2"
    return tuple(
        Program(
            module=module,
            version=f"v{version}",
            package=f"{module}/cmd/{name}",
            name=name,
            ldflags=(f"-X {module}/version.Version={version}",),
            tags=CONTAINERD_TAGS,
            goos="linux",
        )
        for name in ("containerd", "containerd-shim-runc-v2", "ctr")
    )


def cni_plugins(node: NodePin) -> tuple[Program, ...]:
    """The plugins that the pod network's configuration names, as kind's node images have them."""
    module = "github.com/containernetworking/plugins"
    packages = ("ipam/host-local", "main/loopback", "main/ptp", "meta/portmap")
    return tuple(
        Program(
            module=module,
            version=f"v{node.parts.cni_plugins}",
            package=f"{module}/plugins/{package}",
            name=package.split("/")[1],
            goos="linux",
        )
        for package in packages
    )


def etcd(node: NodePin) -> Program:
    """The server; its go.mod requires its siblings in its own version, besides replacing them by paths."""
    module = "go.etcd.io/etcd/server/v3"
    return Program(module=module, version=f"v{node.parts.etcd}", package=module, name="etcd", goos="linux")


def coredns(node: NodePin) -> Program:
    """The cluster's name server with all its plugins."""
    module = "github.com/coredns/coredns"
    return Program(module=module, version=f"v{node.parts.coredns}", package=module, name="coredns", goos="linux")


def local_path_provisioner(node: NodePin) -> Program:
    """What makes volumes of the default StorageClass."""
    version, module = f"v{node.parts.local_path_provisioner}", "github.com/rancher/local-path-provisioner"
    return Program(
        module=module,
        version=version,
        package=module,
        name="local-path-provisioner",
        ldflags=(f"-X main.VERSION={version}",),
        goos="linux",
    )


def flux_controllers(flux: FluxPin) -> tuple[Program, ...]:
    """Flux's controllers; each one's `api` module has the version that its own go.mod requires."""
    versions = {
        "source-controller": flux.source_controller,
        "kustomize-controller": flux.kustomize_controller,
        "helm-controller": flux.helm_controller,
    }
    return tuple(
        Program(
            module=f"github.com/fluxcd/{name}",
            version=f"v{version}",
            package=f"github.com/fluxcd/{name}",
            name=name,
            goos="linux",
        )
        for name, version in versions.items()
    )
