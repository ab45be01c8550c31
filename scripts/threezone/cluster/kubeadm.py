"""Whether kubeadm and the kubelet take what is declared: asked in the node image before anything is made.

`kubeadm init` only warns of a field that it does not know, and goes on without it; `kubeadm config validate` refuses.
A kubelet that refuses its configuration costs kubeadm four minutes of waiting; asked here, it ends at once.
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
from threezone.cluster.spec.patches import Patch
from threezone.cluster.spec.schema import PATCHED
from threezone.core.errors import UsageError

SECONDS = 120.0
_MARK = "@threezone"
_CLUSTER, _JOIN, _KUBELET = "ClusterConfiguration", "JoinConfiguration", "KubeletConfiguration"
_DECODED = "error unmarshaling configuration"
# What kubeadm wants to see before it looks at anything else, at addresses that are for documentation (RFC 5737, 3849).
_HERE = {"ipv4": "192.0.2.1", "dual": "192.0.2.1", "ipv6": "2001:db8::1"}
_NODE = {"name": "node", "criSocket": "unix:///run/containerd/containerd.sock"}
_TOKEN = {"apiServerEndpoint": "lab:6443", "token": "abcdef.0123456789abcdef", "unsafeSkipCAVerification": True}
# What kind writes for every kubelet (pkg/cluster/internal/kubeadm/config.go), and what the hosts' overlays add.
_OF_KIND = {
    "cgroupDriver": "systemd",
    "cgroupRoot": "/kubelet",
    "failSwapOn": False,
    "failCgroupV1": False,
    "imageGCHighThresholdPercent": 100,
    "evictionHard": {"nodefs.available": "0%", "nodefs.inodesFree": "0%", "imagefs.available": "0%"},
}
_ENDED = re.compile(r'"command failed" err="((?:[^"\\]|\\.)*)"|^panic: (.*)$', re.MULTILINE)
# A value that no kubelet takes: with it, one that finds no other fault ends too, and never begins its work.
_STOP = {"registryBurst": -1}
_INVALID = re.compile(
    r"invalid configuration: (.*?)(?=, invalid configuration: |, kubelet is configured|\]?, path: |$)"
)


@dataclass(frozen=True)
class Candidate:
    """Something that is asked: what it is called, the documents for kubeadm or a kubelet, and the places in it.

    Of a patch `alone` only what kubeadm cannot read counts: what it lacks may be in another one.
    """

    name: str
    documents: tuple[dict[str, Any], ...]
    place: Place
    fields: tuple[tuple[str, Place], ...] = ()
    program: Literal["kubeadm config validate", "timeout 20 kubelet"] = "kubeadm config validate"
    alone: bool = False


def _documents(declared: Declared, version: str, found: Sequence[Patch] = (), *, own: bool = False) -> Any:
    """The least that kubeadm reads as a whole, with these patches, and with the declared subnets where they are `own`.

    It leaves out how a node joins when it reads how one begins, so that a patch for that is read by itself.
    """
    if any(patch.kind == _JOIN for patch in found) and len(found) == 1:
        return (_patched(_JOIN, {"discovery": {"bootstrapToken": _TOKEN}, "nodeRegistration": _NODE}, found),)
    family = validate.family(declared.content)
    networking = validate.subnets(declared.networking if own else {}, family)
    least: dict[str, dict[str, Any]] = {
        _CLUSTER: {"kubernetesVersion": version, "networking": networking},
        "InitConfiguration": {"localAPIEndpoint": {"advertiseAddress": _HERE[family]}, "nodeRegistration": _NODE},
    }
    return tuple(_patched(name, least.get(name, {}), found) for name in PATCHED if name != _JOIN)


def _patched(name: str, document: dict[str, Any], found: Sequence[Patch]) -> dict[str, Any]:
    made: dict[str, Any] = {"apiVersion": PATCHED[name], "kind": name, **document}
    for patch in found:
        if patch.kind == name and patch.version in ("", PATCHED[name]) and patch.content is not None:
            made = merged(made, patch.content)
    return {key: value for key, value in made.items() if key != "metadata"}  # kind takes it away too


def candidates(declared: Declared, version: str) -> Iterator[Candidate]:
    """What is asked: nothing first, then each patch alone, the subnets with all patches, each sort of kubelet. Pure."""
    yield Candidate("", _documents(declared, version), Place(""))
    found = list(patches.of_kubeadm(declared.content, declared.spots))
    by_json = {patch.kind for patch in found if patch.content is None}  # applied by kind alone, to what it generates
    for patch in found:
        if patch.content is not None:
            yield Candidate(patch.name, _documents(declared, version, [patch]), patch.place, patch.fields, alone=True)
    common = [patch for patch in found if patch.node < 0]
    asked = [key for key in ("podSubnet", "serviceSubnet") if declared.networking.get(key)]
    subnets = tuple((f"networking.{key}", declared.spots.at("networking", key)) for key in asked)
    named = tuple((f"{patch.name}: {name}", place) for patch in common for name, place in patch.fields)
    if (named or subnets) and not by_json & {_CLUSTER, "InitConfiguration"}:
        yield Candidate(
            "", _documents(declared, version, common, own=True), (subnets or named)[0][1], (*subnets, *named)
        )
    yield from _kubelets(declared, [patch for patch in found if patch.kind == _KUBELET and _KUBELET not in by_json])


def _kubelets(declared: Declared, found: Sequence[Patch]) -> Iterator[Candidate]:
    """The kubelets that are declared: those of all nodes, and those of nodes with patches of their own."""
    gates = declared.content.get("featureGates") or {}
    of_gates = [(f"featureGates.{key}", declared.spots.at("featureGates", key)) for key in gates]
    for node in sorted({patch.node for patch in found} | ({-1} if gates else set())):
        mine = [patch for patch in found if patch.node in (-1, node)]
        named = [(f"{patch.name}: {name}", place) for patch in reversed(mine) for name, place in patch.fields]
        document = _patched(_KUBELET, {**_OF_KIND, "featureGates": gates}, mine)
        fields = (*of_gates, *named)
        yield Candidate("", ({**document, **_STOP},), fields[0][1], fields, "timeout 20 kubelet")


def script(asked: Sequence[Candidate]) -> str:
    """What the node image's shell runs for each candidate; a program's words follow a line with its number. Pure."""
    lines = ["cd $(mktemp -d)"]
    for number, candidate in enumerate(asked):
        text = "\n---\n".join(json.dumps(document) for document in candidate.documents)
        lines += [f"cat > config <<'{_MARK}'", text, _MARK]
        lines.append(f"{candidate.program} --config config > words 2>&1 || {{ echo {_MARK} {number}; cat words; }}")
    return "\n".join([*lines, "exit 0", ""])


def check(declared: Declared, image: str, version: str) -> None:
    """Ask the programs of a node image about what is declared. Raises UsageError with the place of what is refused."""
    asked = list(candidates(declared, version))
    if len(asked) == 1:
        return
    refused = answers(containers.run(image, "-s", entrypoint="bash", stdin=script(asked)).stdout)
    if refused and refused[0][0] == 0:  # a kubeadm before 1.26 cannot be asked
        return
    for number, words in refused:
        candidate = asked[number]
        if candidate.alone and _DECODED not in words:
            continue
        place, name = _place(words, candidate.fields) or (candidate.place, "")
        where = candidate.name or name or "what is declared"
        raise UsageError(f"{place}: {where}: Kubernetes {version} refuses it: {brief(words)}", evidence=words)


def check_made(declared: Declared, cluster: str) -> str:
    """What kubeadm does not know in what kind has made of JSON 6902 patches, with its place; "" when all is well.

    Only in the nodes can it be asked: such a patch needs what kind has generated.
    """
    found = [each for each in patches.of_kubeadm(declared.content, declared.spots) if each.content is None]
    for node in kind.nodes(cluster) if found else ():
        argv = ("kubeadm", "config", "validate", "--config", "/kind/kubeadm.conf")
        done = containers.execute(node.container, *argv, timeout=SECONDS, check=False)
        for _, words in answers(f"{_MARK} 0\n{done.stderr}") if done.exit_code else ():
            place = _place(words, [field for patch in found for field in patch.fields])
            if place and "unknown field" in words:
                return f"{place[0]}: {place[1]}: kubeadm goes on without it: {brief(words)}"
    return ""


def answers(output: str) -> list[tuple[int, str]]:
    """What was refused of which candidate: kubeadm's words without its warnings, or the kubelet's. Pure."""
    found = []
    for block in output.split(f"{_MARK} ")[1:]:
        number, _, words = block.partition("\n")
        if (told := kubelet_words(words)) is None:
            kept = (line for line in words.splitlines() if not re.match(r"[IW]\d{4} |To see the stack trace|$", line))
            told = "\n".join(kept)
        if told:
            found.append((int(number), told))
    return found


def kubelet_words(log: str) -> str | None:
    """Why a kubelet ended, without what we made it end by; None when this is no kubelet's log. Pure."""
    ended: list[str] = [first or second for first, second in _ENDED.findall(log)]
    if not ended:
        return None
    words = ended[-1].replace('\\"', '"')
    if "validate kubelet configuration" not in words:
        return words
    return "; ".join(each for each in _INVALID.findall(words) if not any(key in each for key in _STOP))


def brief(words: str) -> str:
    """kubeadm's error in a line, without the description of the document that the place tells already. Pure."""  # noqa: D403
    told = re.sub(r"^error: ", "", " ".join(words.split()))
    told = re.sub(r"^error unmarshaling configuration schema\.GroupVersionKind\{[^}]*\}: ", "", told)
    return told if len(told) <= 300 else told[:299] + "…"  # noqa: PLR2004  a sentence; the evidence has everything


def _place(words: str, fields: Sequence[tuple[str, Place]]) -> tuple[Place, str] | None:
    """The field of a patch that the words name, by its longest name."""
    best: tuple[int, Place, str] | None = None
    for name, place in fields:
        for told in {re.split(r"[./ ]", name)[-1], name.rpartition(": ")[2], name}:
            if (
                told
                and re.search(rf"(?<![\w-]){re.escape(told)}(?![\w-])", words)
                and (not best or len(told) > best[0])
            ):
                best = (len(told), place, name)
    return (best[1], best[2]) if best else None


def blamed(output: str, kubelet: str, declared: Declared) -> tuple[str, str]:
    """What a failed create says of a declared patch, gate or subnet: words and place, or two empty strings. Pure.

    `output` is what kind printed, `kubelet` the log of a node's kubelet.
    """
    words = _words(output, kubelet)
    if not words:
        return "", ""
    found = list(patches.of_kubeadm(declared.content, declared.spots))
    of = re.search(r'Kind:"(\w+)"', words)
    json_only = "6902" in words
    fields = [
        (name, place)
        for patch in found
        if (not of or patch.kind == of[1]) and (patch.content is None or not json_only)
        for name, place in patch.fields
    ]
    if not json_only:
        for section in ("featureGates", "runtimeConfig", "networking"):
            fields += [(key, declared.spots.at(section, key)) for key in declared.content.get(section) or {}]
    if "containerd" in words:
        fields = list(patches.of_containerd(declared.content, declared.spots))
    place = _place(words, fields)
    if place is None:
        return (words, str(fields[0][1])) if len(found) == 1 and fields else (words, "")
    return words, f"{place[0]}: {place[1]}"


def _words(output: str, kubelet: str) -> str:
    """The one line that says why: of kind on a patch, of kubeadm, or of a kubelet that ended."""
    for pattern in (
        r"(failed to (?:parse|apply) (?:JSON 6902 )?patch(?:es)?: .*)",
        r"(failed to patch containerd config: .*)",
        r"^(?:error: )?(error unmarshaling configuration .*)$",
        r"^(?:error: |Command Output: error: )?(\S+: Invalid value: .*)$",
        r"^(?:Command Output: )?error: (.*)$",
    ):
        if found := re.search(pattern, output, re.MULTILINE):
            return found[1].strip()
    return kubelet_words(kubelet) or ""
