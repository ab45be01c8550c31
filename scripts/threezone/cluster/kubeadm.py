"""Have kubeadm and the kubelet in the node image validate what is declared, before anything is created.

`kubeadm init` only warns of an unknown field and goes on without it; `kubeadm config validate` refuses it. A kubelet
that refuses its configuration makes kubeadm wait for four minutes; here it ends at once.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from threezone.clients import kind
from threezone.clients.docker import containers
from threezone.cluster.drift.merge_patch import merged
from threezone.cluster.spec import patches, validate
from threezone.cluster.spec.declared import Declared
from threezone.cluster.spec.decode import Place
from threezone.cluster.spec.patches import Field, Patch
from threezone.cluster.spec.schema import PATCHED
from threezone.core.errors import UsageError

SECONDS = 120.0
_MARK = "@threezone"
_CLUSTER, _INIT, _JOIN, _KUBELET, _ = PATCHED
_DECODED = "error unmarshaling configuration"
# What kubeadm demands before it validates anything else, with addresses for documentation (RFC 5737, 3849).
_ADDRESS = {"ipv4": "192.0.2.1", "dual": "192.0.2.1", "ipv6": "2001:db8::1"}
_NODE = {"name": "node", "criSocket": "unix:///run/containerd/containerd.sock"}
_TOKEN = {"apiServerEndpoint": "lab:6443", "token": "abcdef.0123456789abcdef", "unsafeSkipCAVerification": True}
# What kind writes for every kubelet (pkg/cluster/internal/kubeadm/config.go), and what the hosts' overlays add.
_KIND_KUBELET = {
    "cgroupDriver": "systemd",
    "cgroupRoot": "/kubelet",
    "failSwapOn": False,
    "failCgroupV1": False,
    "imageGCHighThresholdPercent": 100,
    "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
}
_ENDED = re.compile(r'"command failed" err="((?:[^"\\]|\\.)*)"|^panic: (.*)$', re.MULTILINE)
# A value that every kubelet refuses, so that a kubelet with a valid configuration ends too.
_STOP = {"registryBurst": -1}
_INVALID = re.compile(
    r"invalid configuration: (.*?)(?=, invalid configuration: |, kubelet is configured|\]?, path: |$)"
)
# The line of an output that has the cause: kind's on a patch, or kubeadm's.
_CAUSES = (
    r"(failed to (?:parse|apply) (?:JSON 6902 )?patch(?:es)?: .*)",
    r"(failed to patch containerd config: .*)",
    r"^(?:error: )?(error unmarshaling configuration .*)$",
    r"^(?:error: |Command Output: error: )?(\S+: Invalid value: .*)$",
    r"^(?:Command Output: )?error: (.*)$",
)


@dataclass(frozen=True)
class Candidate:
    """A configuration to validate: its name, its documents, its place, and the fields in it.

    For a patch `alone` only decoding errors count: another patch may add what is missing.
    """

    name: str
    documents: tuple[dict[str, Any], ...]
    place: Place
    fields: tuple[Field, ...] = ()
    program: Literal["kubeadm config validate", "timeout 20 kubelet"] = "kubeadm config validate"
    alone: bool = False


def _documents(
    declared: Declared, version: str, added: Sequence[Patch] = (), *, own_subnets: bool = False
) -> tuple[dict[str, Any], ...]:
    """The smallest configuration that kubeadm accepts, with these patches, and with the declared subnets if asked.

    kubeadm ignores a JoinConfiguration beside an InitConfiguration, so a patch of one is validated by itself.
    """
    if [patch.kind for patch in added] == [_JOIN]:
        return (_patched(_JOIN, {"discovery": {"bootstrapToken": _TOKEN}, "nodeRegistration": _NODE}, added),)
    family = validate.family(declared.content)
    subnets = validate.subnets(declared.networking if own_subnets else {}, family)
    smallest: dict[str, dict[str, Any]] = {
        _CLUSTER: {"kubernetesVersion": version, "networking": subnets},
        _INIT: {"localAPIEndpoint": {"advertiseAddress": _ADDRESS[family]}, "nodeRegistration": _NODE},
    }
    return tuple(_patched(name, smallest.get(name, {}), added) for name in PATCHED if name != _JOIN)


def _patched(name: str, document: dict[str, Any], added: Sequence[Patch]) -> dict[str, Any]:
    result: dict[str, Any] = {"apiVersion": PATCHED[name], "kind": name, **document}
    for patch in added:
        if patch.kind == name and patch.version in ("", PATCHED[name]) and patch.content is not None:
            result = merged(result, patch.content)
    return {key: value for key, value in result.items() if key != "metadata"}  # kind removes it too


def candidates(declared: Declared, version: str) -> Iterator[Candidate]:
    """An empty configuration first, then each patch alone, the subnets with all patches, each kind of kubelet. Pure."""
    yield Candidate("", _documents(declared, version), Place(""))
    added = list(patches.of_kubeadm(declared.content, declared.spots))
    by_json = {patch.kind for patch in added if patch.content is None}  # only kind can apply these, to its own output
    for patch in added:
        if patch.content is not None:
            yield Candidate(patch.name, _documents(declared, version, [patch]), patch.place, patch.fields, alone=True)
    common = [patch for patch in added if patch.node < 0]
    keys = [("networking", key) for key in ("podSubnet", "serviceSubnet") if declared.networking.get(key)]
    fields = [(".".join(pair), declared.spots.at(*pair)) for pair in keys]
    fields += [(f"{patch.name}: {name}", place) for patch in common for name, place in patch.fields]
    if fields and not by_json & {_CLUSTER, _INIT}:
        yield Candidate("", _documents(declared, version, common, own_subnets=True), fields[0][1], tuple(fields))
    yield from _kubelets(declared, [patch for patch in added if patch.kind == _KUBELET and _KUBELET not in by_json])


def _kubelets(declared: Declared, added: Sequence[Patch]) -> Iterator[Candidate]:
    """The kubelet configuration of most nodes, and those of nodes with patches of their own."""
    gates = declared.content.get("featureGates") or {}
    gate_fields = [(f"featureGates.{key}", declared.spots.at("featureGates", key)) for key in gates]
    for node in sorted({patch.node for patch in added} | ({-1} if gates else set())):
        own = [patch for patch in added if patch.node in (-1, node)]
        named = [(f"{patch.name}: {name}", place) for patch in reversed(own) for name, place in patch.fields]
        document = _patched(_KUBELET, {**_KIND_KUBELET, "featureGates": gates}, own)
        fields = (*gate_fields, *named)
        yield Candidate("", ({**document, **_STOP},), fields[0][1], fields, "timeout 20 kubelet")


def script(asked: Sequence[Candidate]) -> str:
    """The node image's shell script that validates each candidate; errors follow a line with its number. Pure."""
    lines = ["cd $(mktemp -d)"]
    for number, candidate in enumerate(asked):
        text = "\n---\n".join(json.dumps(document) for document in candidate.documents)
        lines += [f"cat > config <<'{_MARK}'", text, _MARK]
        lines.append(f"{candidate.program} --config config > words 2>&1 || {{ echo {_MARK} {number}; cat words; }}")
    return "\n".join([*lines, "exit 0", ""])


def check(declared: Declared, image: str, version: str) -> None:
    """Validate what is declared with the programs of a node image. Raises UsageError with the place of the fault."""
    asked = list(candidates(declared, version))
    if len(asked) == 1:
        return
    refused = refusals(containers.run(image, "-s", entrypoint="bash", stdin=script(asked)).stdout)
    if refused and refused[0][0] == 0:  # a kubeadm before 1.26 cannot validate
        return
    for number, words in refused:
        candidate = asked[number]
        if candidate.alone and _DECODED not in words:
            continue
        name, place = _field(words, candidate.fields) or ("", candidate.place)
        what = candidate.name or name or "what is declared"
        raise UsageError(f"{place}: {what}: Kubernetes {version} refuses it: {brief(words)}", evidence=words)


def check_created(declared: Declared, cluster: str) -> str:
    """A field in a JSON 6902 patch that kubeadm does not know, with its place; "" without one.

    Only the nodes can answer that: such a patch applies to what kind has generated.
    """
    by_json = [patch for patch in patches.of_kubeadm(declared.content, declared.spots) if patch.content is None]
    for node in kind.nodes(cluster) if by_json else ():
        argv = ("kubeadm", "config", "validate", "--config", "/kind/kubeadm.conf")
        done = containers.execute(node.container, *argv, timeout=SECONDS, check=False)
        for _, words in refusals(f"{_MARK} 0\n{done.stderr}") if done.exit_code else ():
            field = _field(words, [field for patch in by_json for field in patch.fields])
            if field and "unknown field" in words:
                return f"{field[1]}: {field[0]}: kubeadm goes on without it: {brief(words)}"
    return ""


def refusals(output: str) -> list[tuple[int, str]]:
    """The numbers of the refused candidates with the error: kubeadm's without its warnings, or the kubelet's. Pure."""
    refused = []
    for block in output.split(f"{_MARK} ")[1:]:
        number, _, log = block.partition("\n")
        if (words := kubelet_error(log)) is None:
            lines = (line for line in log.splitlines() if not re.match(r"[IW]\d{4} |To see the stack trace|$", line))
            words = "\n".join(lines)
        if words:
            refused.append((int(number), words))
    return refused


def kubelet_error(log: str) -> str | None:
    """A kubelet's error, without the one that we provoke; None for the log of another program. Pure."""
    ended: list[str] = [first or second for first, second in _ENDED.findall(log)]
    if not ended:
        return None
    words = ended[-1].replace('\\"', '"')
    if "validate kubelet configuration" not in words:
        return words
    return "; ".join(error for error in _INVALID.findall(words) if not any(key in error for key in _STOP))


def brief(words: str) -> str:
    """The error in one line, without the document's type, which its place shows. Pure."""
    line = re.sub(r"^error: ", "", " ".join(words.split()))
    line = re.sub(r"^error unmarshaling configuration schema\.GroupVersionKind\{[^}]*\}: ", "", line)
    return line if len(line) <= 300 else line[:299] + "…"  # noqa: PLR2004  a sentence; the evidence has everything


def _field(words: str, fields: Sequence[Field]) -> Field | None:
    """The field that the words name, by its longest name."""
    matches = [
        (len(text), name, place)
        for name, place in fields
        for text in (re.split(r"[./ ]", name)[-1], name.rpartition(": ")[2], name)
        if text and re.search(rf"(?<![\w-]){re.escape(text)}(?![\w-])", words)
    ]
    return max(matches, key=lambda match: match[0])[1:] if matches else None


def explain_failure(output: str, kubelet_log: str, declared: Declared) -> tuple[str, str]:
    """The error of a failed create about a declared patch, gate or subnet, and its place; "" if there is none. Pure.

    `output` is what kind printed.
    """
    causes = (re.search(pattern, output, re.MULTILINE) for pattern in _CAUSES)
    words = next((cause[1].strip() for cause in causes if cause), "") or kubelet_error(kubelet_log) or ""
    if not words:
        return "", ""
    added = list(patches.of_kubeadm(declared.content, declared.spots))
    document, only_json = re.search(r'Kind:"(\w+)"', words), "6902" in words
    fields = [
        field
        for patch in added
        if (not document or patch.kind == document[1]) and (patch.content is None or not only_json)
        for field in patch.fields
    ]
    for section in () if only_json else ("featureGates", "runtimeConfig", "networking"):
        fields += [(key, declared.spots.at(section, key)) for key in declared.content.get(section) or {}]
    if "containerd" in words:
        fields = list(patches.of_containerd(declared.content, declared.spots))
    if field := _field(words, fields):
        return words, f"{field[1]}: {field[0]}"
    return words, str(fields[0][1]) if len(added) == 1 and fields else ""
