"""Whether kubeadm and the kubelet take what is declared: asked in the node image before anything is made.

`kubeadm init` only warns of a field that it does not know, and goes on without it; `kubeadm config validate` refuses.
A kubelet that refuses its configuration costs kubeadm four minutes of waiting; asked here, it ends at once.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from threezone import process
from threezone.cluster import kind, patches
from threezone.cluster.declared import Declared
from threezone.cluster.fields import PATCHED
from threezone.cluster.patches import Patch
from threezone.cluster.reading import Place
from threezone.errors import UsageError

SECONDS = 120.0
_MARK = "@threezone"
_KUBELET = "KubeletConfiguration"
# What kubeadm wants to see before it looks at anything else; the address is one for documentation (RFC 5737).
_LEAST: dict[str, dict[str, Any]] = {
    "InitConfiguration": {"localAPIEndpoint": {"advertiseAddress": "192.0.2.1"}},
    "JoinConfiguration": {
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": "192.0.2.1:6443",
                "token": "abcdef.0123456789abcdef",
                "unsafeSkipCAVerification": True,
            }
        }
    },
}
_SOCKET = {"nodeRegistration": {"name": "node", "criSocket": "unix:///run/containerd/containerd.sock"}}
_ENDED = re.compile(r'"command failed" err="((?:[^"\\]|\\.)*)"|^panic: (.*)$', re.MULTILINE)
# A value that no kubelet takes: with it, one that finds no other fault ends too, and never begins its work.
_STOP = {"registryBurst": -1}
_INVALID = re.compile(
    r"invalid configuration: (.*?)(?=, invalid configuration: |, kubelet is configured|\]?, path: |$)"
)


@dataclass(frozen=True)
class Candidate:
    """Something that is asked: its place, what it is called, the documents for kubeadm, and the kubelet's alone."""

    name: str
    place: Place
    documents: tuple[dict[str, Any], ...] = ()
    kubelet: dict[str, Any] | None = None
    fields: tuple[tuple[str, Place], ...] = ()


def merged(target: Any, patch: Any) -> Any:
    """A merge patch applied, as RFC 7386 says. Pure."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _documents(version: str, patches_: Sequence[Patch] = (), networking: dict[str, Any] | None = None) -> Any:
    made = []
    for name, api_version in PATCHED.items():
        document = {"apiVersion": api_version, "kind": name, **_LEAST.get(name, {})}
        if name in ("InitConfiguration", "JoinConfiguration"):
            document.update(_SOCKET)
        if name == "ClusterConfiguration":
            document.update(kubernetesVersion=version, networking=networking or {})
        for patch in patches_:
            if patch.kind == name and patch.version in ("", api_version) and patch.content is not None:
                document = merged(document, patch.content)
        document.pop("metadata", None)  # kind takes it away too
        made.append(document)
    return tuple(made)


def candidates(declared: Declared, version: str) -> Iterator[Candidate]:
    """What kubeadm is asked: nothing first, then each patch alone, then the subnets with all patches. Pure."""
    yield Candidate("", Place(""), _documents(version))
    found = [each for each in patches.of_kubeadm(declared.content, declared.spots) if each.content is not None]
    for patch in found:
        documents = _documents(version, [patch])
        kubelet = next(each for each in documents if each["kind"] == _KUBELET)
        asked = {**kubelet, **_STOP} if patch.kind == _KUBELET else None
        yield Candidate(patch.name, patch.place, documents, asked, patch.fields)
    if gates := declared.content.get("featureGates"):
        gate_places = tuple((key, declared.spots.at("featureGates", key)) for key in gates)
        kubelet = {"apiVersion": PATCHED[_KUBELET], "kind": _KUBELET, "featureGates": gates, **_STOP}
        yield Candidate("featureGates", gate_places[0][1], (), kubelet, gate_places)
    subnets: dict[str, Any] = {
        key: declared.networking[key] for key in ("podSubnet", "serviceSubnet") if key in declared.networking
    }
    if subnets:
        places = tuple((key, declared.spots.at("networking", key)) for key in subnets)
        yield Candidate("networking", places[0][1], _documents(version, found, subnets), None, places)


def script(asked: Sequence[Candidate]) -> str:
    """What the node image's shell runs for each candidate; a program's words follow a line with its number. Pure."""
    lines = ["cd $(mktemp -d)"]
    for number, candidate in enumerate(asked):
        for command, documents in (
            ("kubeadm config validate", candidate.documents),
            ("timeout 20 kubelet", (candidate.kubelet,) if candidate.kubelet else ()),
        ):
            if documents:
                text = "\n---\n".join(json.dumps(document) for document in documents)
                lines += [f"cat > config <<'{_MARK}'", text, _MARK]
                lines.append(f"{command} --config config > words 2>&1 || {{ echo {_MARK} {number}; cat words; }}")
    return "\n".join([*lines, "exit 0", ""])


def check(declared: Declared, image: str, version: str) -> None:
    """Ask the kubeadm of a node image about every patch. Raises UsageError with the place of one that it refuses."""
    asked = list(candidates(declared, version))
    if len(asked) == 1:
        return
    argv = ["docker", "run", "--rm", "--interactive", "--network=none", "--entrypoint=bash", image, "-s"]
    refused = answers(process.run(argv, stdin=script(asked), timeout=SECONDS).stdout)
    if not refused or refused[0][0] == 0:  # a kubeadm before 1.26 cannot be asked
        return
    number, words = refused[0]
    candidate = asked[number]
    place, name = _place(words, candidate.fields) or (candidate.place, "")
    where = f"{candidate.name}.{name}" if name and not candidate.name.endswith("]") else candidate.name
    raise UsageError(f"{place}: {where}: Kubernetes {version} refuses it: {brief(words)}", evidence=words)


def check_made(declared: Declared, cluster: str) -> str:
    """What kubeadm does not know in what kind has made of JSON 6902 patches, with its place; "" when all is well.

    Only in the nodes can it be asked: such a patch needs what kind has generated.
    """
    found = [each for each in patches.of_kubeadm(declared.content, declared.spots) if each.content is None]
    for node in kind.nodes(cluster) if found else ():
        argv = ["docker", "exec", node.container, "kubeadm", "config", "validate", "--config", "/kind/kubeadm.conf"]
        done = process.run(argv, timeout=SECONDS, check=False)
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
        for told in (name, name.rpartition(".")[2], name.rpartition("/")[2]):
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
