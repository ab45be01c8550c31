"""The declared cluster: kind's own file, validated before kind sees it, and what this host needs added to it.

The field names are kind's v1alpha4 (kind, pkg/apis/config/v1alpha4/types.go). Everything here is pure, except `read`.
"""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from threezone.errors import UsageError

API_VERSION = "kind.x-k8s.io/v1alpha4"
REFUSES_CGROUP_V1 = 35  # the first minor version whose kubelet does, unless told otherwise (KEP-5573)

_PATCH_6902 = {"group": str, "version": str, "kind": str, "patch": str}
_NODE: dict[str, Any] = {
    "role": str,
    "image": str,
    "labels": dict,
    "extraMounts": [
        {
            "hostPath": str,
            "containerPath": str,
            "readOnly": bool,
            "selinuxRelabel": bool,
            "propagation": str,
        }
    ],
    "extraPortMappings": [{"containerPort": int, "hostPort": int, "listenAddress": str, "protocol": str}],
    "kubeadmConfigPatches": [str],
    "kubeadmConfigPatchesJSON6902": [_PATCH_6902],
}
_CLUSTER: dict[str, Any] = {
    "kind": str,
    "apiVersion": str,
    "name": str,
    "nodes": [_NODE],
    "networking": {
        "ipFamily": str,
        "apiServerPort": int,
        "apiServerAddress": str,
        "podSubnet": str,
        "serviceSubnet": str,
        "disableDefaultCNI": bool,
        "kubeProxyMode": str,
        "dnsSearch": [str],
    },
    "featureGates": dict,
    "runtimeConfig": dict,
    "kubeadmConfigPatches": [str],
    "kubeadmConfigPatchesJSON6902": [_PATCH_6902],
    "containerdConfigPatches": [str],
    "containerdConfigPatchesJSON6902": [str],
}
_WORDS = {str: "a string", int: "a number", bool: "true or false", dict: "a mapping"}


@dataclass(frozen=True)
class Overlay:
    """Something added to kind's file: the sentence for the plan, and a kubeadmConfigPatch or an apiServerAddress."""

    sentence: str
    patch: str = ""
    api_address: str = ""


@dataclass(frozen=True)
class Declared:
    """A validated cluster file: where it came from, its content as data, and what is often asked of it."""

    path: Path
    content: dict[str, Any]

    @property
    def api_port(self) -> int:
        """The API server's port on the engine's host; 0 when kind shall choose one."""
        return int((self.content.get("networking") or {}).get("apiServerPort") or 0)

    @property
    def own_address(self) -> str:
        """The address that the file itself names for the API, or ""."""
        return str((self.content.get("networking") or {}).get("apiServerAddress") or "")

    @property
    def api_address(self) -> str:
        """The address on the engine's host where the API is published (kind's default: v1alpha4/default.go)."""
        family = (self.content.get("networking") or {}).get("ipFamily")
        return self.own_address or ("::1" if family == "ipv6" else "127.0.0.1")

    @property
    def control_planes(self) -> int:
        """How many control-plane nodes are declared."""
        return sum(1 for node in self.nodes if node.get("role", "control-plane") == "control-plane")

    @property
    def nodes(self) -> list[dict[str, Any]]:
        """The declared nodes; kind's default is one control plane."""
        return list(self.content.get("nodes") or [{"role": "control-plane"}])


def read(path: Path) -> Declared:
    """Read and validate kind's file at `path`. Raises UsageError with file, line, field and what was expected."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"the cluster file {path} cannot be read: {error.strerror}",
            fix="name another one under threezone.cluster.config in invoke.yaml",
        ) from None
    return parse(text, path)


def parse(text: str, path: Path) -> Declared:
    """Validate the text of a cluster file; `path` is the file that errors name."""
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{path}:{mark.line + 1}" if mark else str(path)
        raise UsageError(f"{line}: not valid YAML: {getattr(error, 'problem', error)}") from None
    if root is None:
        raise UsageError(f"{path}:1: the file is empty; expected kind: Cluster")
    _check(root, _CLUSTER, path, "")
    content: dict[str, Any] = yaml.safe_load(text)
    if content.get("kind") != "Cluster" or content.get("apiVersion") != API_VERSION:
        raise UsageError(f"{path}:1: expected kind: Cluster and apiVersion: {API_VERSION}")
    declared = Declared(path, content)
    if is_everywhere(declared.api_address):
        raise UsageError(
            f"{path}: networking.apiServerAddress {declared.api_address} would open the API server to the network",
            fix="leave it out; for containers without the socket: threezone.cluster.api: gateway in invoke.yaml",
        )
    return declared


def is_everywhere(address: str) -> bool:
    """Whether `address` means every address of the machine: 0.0.0.0, ::, in any spelling."""
    try:
        return ipaddress.ip_address(address).is_unspecified
    except ValueError:
        return False


def _check(node: Any, expected: Any, path: Path, field: str) -> None:  # noqa: C901  one case per kind of value
    """Hold a composed YAML node against the table above; the first difference is raised with its line."""
    import yaml

    def fail(problem: str) -> None:
        raise UsageError(f"{path}:{node.start_mark.line + 1}: {field or 'the file'}: {problem}")

    if isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null":
        return  # null is "not given", as in kind
    if isinstance(expected, dict):
        if not isinstance(node, yaml.MappingNode):
            fail("expected a mapping")
        for key, value in node.value:
            below = f"{field}.{key.value}" if field else str(key.value)
            if key.value not in expected:
                near = difflib.get_close_matches(str(key.value), expected, 1, 0.5)
                hint = f"; did you mean {near[0]}?" if near else f"; known are {', '.join(expected)}"
                raise UsageError(f"{path}:{key.start_mark.line + 1}: unknown field {below}{hint}")
            _check(value, expected[key.value], path, below)
    elif isinstance(expected, list):
        if not isinstance(node, yaml.SequenceNode):
            fail("expected a list")
        for index, item in enumerate(node.value):
            _check(item, expected[0], path, f"{field}[{index}]")
    elif expected is dict:
        if not isinstance(node, yaml.MappingNode):
            fail("expected a mapping")
    else:
        tag = {str: "str", int: "int", bool: "bool"}[expected]
        if not isinstance(node, yaml.ScalarNode) or node.tag != f"tag:yaml.org,2002:{tag}":
            seen = node.value if isinstance(node, yaml.ScalarNode) else "a list or mapping"
            fail(f"expected {_WORDS[expected]}, found {seen!r}")


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
    """The address where the API is published when `added` is added to the declared file."""
    return next((overlay.api_address for overlay in added if overlay.api_address), declared.api_address)


def with_overlays(declared: Declared, name: str, added: Sequence[Overlay]) -> str:
    """The file that kind is given: the declared one, this cluster's name, and the host's overlays. JSON is YAML."""
    import json

    content = dict(declared.content)
    content["name"] = name
    if patches := [overlay.patch for overlay in added if overlay.patch]:
        content["kubeadmConfigPatches"] = [*(content.get("kubeadmConfigPatches") or []), *patches]
    if (address := published(declared, added)) != declared.api_address:
        content["networking"] = {**(content.get("networking") or {}), "apiServerAddress": address}
    return json.dumps(content, indent=2)
