"""The Go programs that the images are made of, as descriptions; `golang.build` makes them."""

from __future__ import annotations

from threezone.images.versions import FluxPin, NodePin
from threezone.toolchain import kubernetes
from threezone.toolchain.golang import Program

ON_NODES = ("kubelet", "kubeadm", "kubectl")
IN_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
# Snapshotters that nothing here uses and that would need C libraries or only cost space; kind leaves them out too.
CONTAINERD_TAGS = ("no_aufs", "no_zfs", "no_btrfs", "no_devmapper")
# kind's node images have these plugins; the pod network's configuration names them.
CNI_PLUGINS = ("ipam/host-local", "main/loopback", "main/ptp", "meta/portmap")
FLUX_SECONDS = {"source-controller": 150, "kustomize-controller": 90, "helm-controller": 65}
REGISTRY = "github.com/distribution/distribution/v3"

Group = tuple[str, float, tuple[Program, ...]]  # a title, seconds of compiling on two cores, what is built together


def _linux(
    module: str,
    version: str,
    name: str,
    *,
    package: str = "",
    ldflags: tuple[str, ...] = (),
    tags: tuple[str, ...] = (),
) -> Program:
    """A program of a module's release, for Linux; `package` is its directory in the module."""
    path = f"{module}/{package}" if package else module
    return Program(module, f"v{version}", path, name, ldflags=ldflags, tags=tags, goos="linux")


def of_node(node: NodePin) -> list[Group]:
    """The programs of a node image and of its system pods. The largest come first: others share what it compiles."""
    parts, containerd = node.parts, "github.com/containerd/containerd/v2"
    provisioner = f"-X main.VERSION=v{parts.local_path_provisioner}"
    kubernetes_programs = [kubernetes.description(name, node.version, goos="linux") for name in (*ON_NODES, *IN_PODS)]
    return [
        (f"Kubernetes {node.version}", 350, tuple(kubernetes_programs)),
        (
            "containerd",
            100,
            tuple(
                _linux(
                    containerd,
                    parts.containerd,
                    name,
                    package=f"cmd/{name}",
                    ldflags=(f"-X {containerd}/version.Version={parts.containerd}",),
                    tags=CONTAINERD_TAGS,
                )
                for name in ("containerd", "containerd-shim-runc-v2", "ctr")
            ),
        ),
        # etcd's go.mod requires its siblings in its own version, besides replacing them by paths.
        ("etcd", 55, (_linux("go.etcd.io/etcd/server/v3", parts.etcd, "etcd"),)),
        ("CoreDNS", 140, (_linux("github.com/coredns/coredns", parts.coredns, "coredns"),)),
        (
            "local-path-provisioner",
            50,
            (
                _linux(
                    "github.com/rancher/local-path-provisioner",
                    parts.local_path_provisioner,
                    "local-path-provisioner",
                    ldflags=(provisioner,),
                ),
            ),
        ),
        (
            "CNI plugins",
            10,
            tuple(
                _linux(
                    "github.com/containernetworking/plugins",
                    parts.cni_plugins,
                    package.split("/")[1],
                    package=f"plugins/{package}",
                )
                for package in CNI_PLUGINS
            ),
        ),
    ]


def flux_controllers(flux: FluxPin) -> tuple[Program, ...]:
    """Flux's controllers; each one's `api` module has the version that its own go.mod requires."""
    versions = (flux.source_controller, flux.kustomize_controller, flux.helm_controller)
    return tuple(
        _linux(f"github.com/fluxcd/{name}", version, name) for name, version in zip(FLUX_SECONDS, versions, strict=True)
    )


def registry(version: str) -> Program:
    """The registry, as its releases are built."""
    symbols = (f"-X {REGISTRY}/version.version={version}", f"-X {REGISTRY}/version.mainpkg={REGISTRY}")
    return _linux(REGISTRY, version, "registry", package="cmd/registry", ldflags=symbols)
