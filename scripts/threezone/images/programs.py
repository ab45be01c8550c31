"""The Go programs in our images, as descriptions for `golang.build`."""

from __future__ import annotations

from dataclasses import dataclass

from threezone.images.versions import FluxPin, NodePin
from threezone.toolchain import kubernetes
from threezone.toolchain.golang import Program

ON_NODES = ("kubelet", "kubeadm", "kubectl")
IN_PODS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
FLUX_SECONDS = {"source-controller": 150, "kustomize-controller": 90, "helm-controller": 65}

Group = tuple[
    str, float, tuple[Program, ...]
]  # a title, seconds of compiling on two cores, and the programs to build together


@dataclass(frozen=True)
class Module:
    """A Go module: its path, its programs with their directories in it, and how its releases are built for Linux.

    `symbols` are set to a value by the linker; {version} in it is the module's version without its v.
    """

    path: str
    programs: tuple[tuple[str, str], ...]
    symbols: tuple[tuple[str, str], ...] = ()
    tags: tuple[str, ...] = ()

    def in_version(self, version: str) -> tuple[Program, ...]:
        """The programs of the module in a version."""
        ldflags = tuple(f"-X {name}={value.format(version=version)}" for name, value in self.symbols)
        return tuple(
            Program(
                module=self.path,
                version=f"v{version}",
                package=f"{self.path}/{directory}".rstrip("/"),
                name=name,
                ldflags=ldflags,
                tags=self.tags,
                goos="linux",
            )
            for name, directory in self.programs
        )


CONTAINERD = Module(
    "github.com/containerd/containerd/v2",
    tuple((name, f"cmd/{name}") for name in ("containerd", "containerd-shim-runc-v2", "ctr")),
    symbols=(("github.com/containerd/containerd/v2/version.Version", "{version}"),),
    # Unused snapshotters, which need C libraries or space; kind leaves them out too.
    tags=("no_aufs", "no_zfs", "no_btrfs", "no_devmapper"),
)
# etcd's go.mod requires its sibling modules in the same version, and replaces them by paths.
ETCD = Module("go.etcd.io/etcd/server/v3", (("etcd", ""),))
COREDNS = Module("github.com/coredns/coredns", (("coredns", ""),))
PROVISIONER = Module(
    "github.com/rancher/local-path-provisioner",
    (("local-path-provisioner", ""),),
    symbols=(("main.VERSION", "v{version}"),),
)
CNI = Module(
    "github.com/containernetworking/plugins",
    # As in kind's node images.
    tuple(
        (path.split("/")[1], f"plugins/{path}")
        for path in ("ipam/host-local", "main/loopback", "main/ptp", "meta/portmap")
    ),
)
_DISTRIBUTION = "github.com/distribution/distribution/v3"
REGISTRY = Module(
    _DISTRIBUTION,
    (("registry", "cmd/registry"),),
    symbols=((f"{_DISTRIBUTION}/version.version", "{version}"), (f"{_DISTRIBUTION}/version.mainpkg", _DISTRIBUTION)),
)


def of_node(node: NodePin) -> list[Group]:
    """The programs of a node image and of its system pods."""
    parts = node.parts
    own = tuple(kubernetes.description(name, node.version, goos="linux") for name in (*ON_NODES, *IN_PODS))
    return [
        (f"Kubernetes {node.version}", 350, own),
        ("containerd", 100, CONTAINERD.in_version(parts.containerd)),
        ("etcd", 55, ETCD.in_version(parts.etcd)),
        ("CoreDNS", 140, COREDNS.in_version(parts.coredns)),
        ("local-path-provisioner", 50, PROVISIONER.in_version(parts.local_path_provisioner)),
        ("CNI plugins", 10, CNI.in_version(parts.cni_plugins)),
    ]


def flux_controllers(flux: FluxPin) -> tuple[Program, ...]:
    """Flux's controllers; each one's `api` module has the version that its own go.mod requires."""
    versions = (flux.source_controller, flux.kustomize_controller, flux.helm_controller)
    modules = [Module(f"github.com/fluxcd/{name}", ((name, ""),)) for name in FLUX_SECONDS]
    return tuple(module.in_version(version)[0] for module, version in zip(modules, versions, strict=True))
