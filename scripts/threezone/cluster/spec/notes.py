"""What a plan says of a declared cluster beside its steps: settings whose effect few expect. Pure."""

from __future__ import annotations

from threezone.cluster.spec import patches, validate
from threezone.cluster.spec.decode import Draft, shown
from threezone.cluster.spec.validate import is_everywhere

# What kind's node keeps at a path, and what a mount there does.
_MEANINGS = {
    "/var": "the images that the node brings, its logs and its state: all are hidden",
    "/var/lib/containerd": "the images that the node brings: they are hidden, and each is pulled instead",
    "/var/lib/kubelet": "the kubelet's state: it must not outlive the node",
    "/var/lib/etcd": "the cluster's state: a new cluster fails on that of an old one",
    "/etc/kubernetes": "the cluster's keys: a new cluster fails on those of an old one",
    "/etc/containerd": "the settings of containerd, with which the node works",
    "/etc/cni/net.d": "the settings of the pod network",
    "/opt/cni/bin": "the programs of the pod network",
    "/kind": "what kind keeps in the node",
    **dict.fromkeys(
        ("/etc", "/usr", "/opt", "/lib", "/bin", "/sbin"), "parts of the node's own system: they are hidden"
    ),
    **dict.fromkeys(("/dev", "/proc", "/sys", "/sys/fs/cgroup"), "what the kernel shows there"),
}
_IN_MEMORY = ("/tmp", "/run", "/dev/shm")  # noqa: S108 - paths in a node


def notes(draft: Draft) -> list[str]:
    """Sentences on open ports, images that are not used, mounts over what a node needs."""
    content, spots = draft.content, draft.spots
    opened = [
        f"port {port}/{protocol} is open to everybody who reaches this machine: {shown(*keys)} says listenAddress "
        f"{address} ({spots.at(*keys, 'listenAddress')})"
        for keys, address, port, protocol in validate.ports(content)
        if is_everywhere(address)
    ]
    images = [  # our image carries the label that makes the cluster ours, so only the version is used
        f"nodes[{index}].image {node['image']} is not used itself ({spots.at('nodes', index, 'image')}): nodes "
        "run the image that is made here, of the Kubernetes version that is asked for"
        for index, node in enumerate(content.get("nodes") or [])
        if node.get("image")
    ]
    return [*opened, *images, *_mounts(draft), *_patched(draft)]


def _mounts(draft: Draft) -> list[str]:
    """Sentences on mounts over what a node needs."""
    sentences = []
    for index, node in enumerate(draft.content.get("nodes") or []):
        for number, mount in enumerate(node.get("extraMounts") or []):
            keys, path = ("nodes", index, "extraMounts", number), validate.clean(mount["containerPath"])
            if path in _MEANINGS:
                place = draft.spots.at(*keys, "containerPath")
                sentences.append(f"{shown(*keys)} is over {path} ({place}), where a node has {_MEANINGS[path]}")
    return sentences


def _patched(draft: Draft) -> list[str]:
    """Sentences on patches that kind takes, with an effect that few intend."""
    content, spots = draft.content, draft.spots
    sentences = []
    for patch in patches.of_kubeadm(content, spots):
        directory = patches.value(patch.content, "etcd", "local", "dataDir")
        if patch.kind == "ClusterConfiguration" and isinstance(directory, str):
            path = validate.clean(directory)
            if any(path == each or path.startswith(f"{each}/") for each in _IN_MEMORY):
                sentences.append(
                    f"{patch.name} puts etcd's data into {path} ({patch.place}), which a node keeps in memory: the "
                    "cluster is lost when its node stops"
                )
    for index, text in enumerate(content.get(patches.TOML) or []):
        if any(name == "mirrors" and above == "registry" for above, name in patches.tables(text)):
            place = spots.at(patches.TOML, index)
            sentences.append(
                f"{patches.TOML}[{index}] sets registry.mirrors ({place}): containerd then does not read "
                "/etc/containerd/certs.d, and nodes cannot pull from the local registry; write a hosts.toml there"
            )
    return sentences
