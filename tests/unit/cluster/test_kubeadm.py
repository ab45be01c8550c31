"""Errors of kubeadm and the kubelet, recorded from real ones, and the lines of the file that they blame."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.fakes import failed, fake_docker

from threezone.clients.kind import Node
from threezone.cluster import kubeadm
from threezone.cluster.drift import merge_patch
from threezone.cluster.spec.declared import Declared, parse
from threezone.core.errors import UsageError

TEXT = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
featureGates:
  AllAlpha: false
  Nonsense: true
networking:
  podSubnet: 10.244.0.0/25
kubeadmConfigPatches:
- |
  kind: KubeletConfiguration
  maxPods: 50
- |
  kind: ClusterConfiguration
  apiServer:
    extraArgz:
      v: "2"
nodes:
- role: control-plane
  kubeadmConfigPatches:
  - |
    kind: InitConfiguration
    nodeRegistration:
      taints: nothing
  kubeadmConfigPatchesJSON6902:
  - group: kubeadm.k8s.io
    version: v1beta3
    kind: ClusterConfiguration
    patch: |
      - op: add
        path: /apiServer/certSANs/-
        value: lab.example.com
      - op: replace
        path: /apiServer/timeoutForControlPlain
        value: 5m
"""
DECLARED = parse(TEXT, Path("kind.yaml"))
# kubeadm 1.35.0
UNKNOWN = (
    'error: error unmarshaling configuration schema.GroupVersionKind{Group:"kubeadm.k8s.io", Version:"v1beta3", '
    'Kind:"ClusterConfiguration"}: strict decoding error: unknown field "apiServer.extraArgz"\n'
)
WARNED = (
    'W1121 15:19:15.645306   21823 common.go:100] your configuration file uses a deprecated API spec: "v1beta3"\n'
    f"{UNKNOWN}To see the stack trace of this error execute with --v=5 or higher\n"
)
SUBNET = (
    'error: networking.podSubnet: Invalid value: "10.244.0.0/25": the size of pod subnet with mask 25 is smaller than '
    "the size of node subnet with mask 24\n"
)
# kubelet 1.35.0
PODS = (
    'E1121 15:36:23.207275   11858 run.go:72] "command failed" err="failed to validate kubelet configuration, error: '
    "[invalid configuration: maxPods (--max-pods) -3 must not be a negative number, invalid configuration: "
    "registryBurst (--registry-burst) -1 must not be a negative number, kubelet is configured to not run on a host "
    "using cgroup v1. "
    'cgroup v1 support is unsupported and will be removed in a future release], path: &TypeMeta{Kind:,APIVersion:,}"\n'
)
STOPPED = (
    'E1121 15:36:24.224952   11915 run.go:72] "command failed" err="failed to validate kubelet configuration, error: '
    'invalid configuration: registryBurst (--registry-burst) -1 must not be a negative number, path: &TypeMeta{}"\n'
)
GATE = (
    "panic: failed to merge global and in-flight KubeletConfiguration while setting defaults, error: unrecognized "
    "feature gate: Nonsense\n\ngoroutine 1 [running]:\n"
)


def asked(monkeypatch: pytest.MonkeyPatch, *answers: str, declared: Declared = DECLARED) -> list[str]:
    """Ask, in a container that answers so; returns what was run."""
    scripts: list[str] = []
    commands = fake_docker(monkeypatch, lambda _: "".join(answers), scripts)
    kubeadm.check(declared, "node:1", "v1.35.0")
    return [*map(" ".join, commands), *scripts]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (
            f"@threezone 2\n{WARNED}",
            "kind.yaml:15: kubeadmConfigPatches[1]: Kubernetes v1.35.0 refuses it: strict decoding error: unknown",
        ),
        (
            f"@threezone 3\nerror: {kubeadm._DECODED} what nobody has seen\n",
            "kind.yaml:21: nodes[0].kubeadmConfigPatches[0]: Kubernetes v1.35.0 refuses it: ",
        ),
        (
            f"@threezone 4\n{PODS}",
            "kind.yaml:11: kubeadmConfigPatches[0]: maxPods: Kubernetes v1.35.0 refuses it: maxPods (--max",
        ),
        (f"@threezone 4\n{GATE}", "kind.yaml:5: featureGates.Nonsense: Kubernetes v1.35.0 refuses it: failed to merge"),
    ],
)
def test_a_refused_field_is_reported_with_its_line(monkeypatch: pytest.MonkeyPatch, answer: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        asked(monkeypatch, answer)
    assert caught.value.message.startswith(sentence)
    assert "\n" not in caught.value.message
    assert "W1121" not in caught.value.evidence
    assert "registryBurst" not in caught.value.evidence


MERGED = parse(TEXT[: TEXT.index("  kubeadmConfigPatchesJSON6902")], Path("kind.yaml"))


def test_a_subnet_that_kubeadm_refuses_is_told_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        UsageError, match=r"^kind\.yaml:7: networking\.podSubnet: Kubernetes v1\.35\.0 refuses it: netw"
    ):
        asked(monkeypatch, f"@threezone 4\n{SUBNET}", declared=MERGED)


def test_a_field_that_one_patch_lacks_may_be_in_another(monkeypatch: pytest.MonkeyPatch) -> None:
    alone = "@threezone 2\nerror: apiServer: Invalid value: something is needed beside it\n"
    assert len(asked(monkeypatch, alone, declared=MERGED)) == 2
    together = list(kubeadm.candidates(MERGED, "v1.35.0"))[4].documents
    assert together[0]["apiServer"] == {"extraArgz": {"v": "2"}}
    assert together[0]["networking"] == {"podSubnet": "10.244.0.0/25", "serviceSubnet": "10.96.0.0/16"}


def test_a_kubelet_that_ends_only_by_our_stop_value_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    assert len(asked(monkeypatch, f"@threezone 4\n{STOPPED}")) == 2


def test_an_old_kubeadm_without_validate_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    every = (f"@threezone {number}\nerror: {kubeadm._DECODED}\n" for number in range(5))
    assert len(asked(monkeypatch, *every)) == 2


def test_each_sort_of_kubelet_is_asked_with_everything_that_it_will_have() -> None:
    text = (
        "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nfeatureGates: {NodeSwap: true}\n"
        "kubeadmConfigPatches:\n- |\n  kind: KubeletConfiguration\n  maxPods: 50\n"
        "nodes:\n- {}\n- role: worker\n  kubeadmConfigPatches:\n"
        "  - |\n    kind: KubeletConfiguration\n    maxPods: 60\n"
        "  - |\n    kind: JoinConfiguration\n    nodeRegistration: {taints: []}\n"
    )
    found = list(kubeadm.candidates(parse(text, Path("kind.yaml")), "v1.35.0"))
    kubelets = [each.documents[0] for each in found if each.program.endswith("kubelet")]
    assert [each["maxPods"] for each in kubelets] == [50, 60]
    assert all(each["featureGates"] == {"NodeSwap": True} and each["cgroupRoot"] == "/kubelet" for each in kubelets)
    (join,) = (each for each in found if each.name == "nodes[1].kubeadmConfigPatches[1]")
    assert [document["kind"] for document in join.documents] == ["JoinConfiguration"]


def test_nothing_is_run_for_a_file_without_patches(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = parse("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n", Path("kind.yaml"))
    assert asked(monkeypatch, declared=plain) == []


def test_the_container_has_no_network_and_is_given_every_patch_as_a_document(monkeypatch: pytest.MonkeyPatch) -> None:
    argv, script = asked(monkeypatch)
    assert argv.startswith("run --rm --network=none ")
    assert argv.endswith(" --entrypoint=bash node:1 -s")
    documents = [json.loads(line) for line in script.splitlines() if line.startswith("{")]
    assert (script.count("kubeadm config validate"), script.count("timeout 20 kubelet")) == (4, 1)
    assert any(each.get("apiServer") == {"extraArgz": {"v": "2"}} for each in documents)
    (kubelet,) = (each for each in documents if "registryBurst" in each)
    assert (kubelet["maxPods"], kubelet["featureGates"]) == (50, {"AllAlpha": False, "Nonsense": True})


def test_a_patch_for_a_version_that_kind_does_not_write_is_not_asked_about() -> None:
    text = TEXT.replace(
        "kind: ClusterConfiguration\n  apiServer", "kind: ClusterConfiguration\n  apiVersion: old/v1\n  a"
    )
    for candidate in kubeadm.candidates(parse(text, Path("kind.yaml")), "v1.35.0"):
        assert "extraArgz" not in json.dumps(candidate.documents)


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [
        ({"a": 1, "b": {"c": 1, "d": 2}}, {"b": {"c": None, "e": 3}}, {"a": 1, "b": {"d": 2, "e": 3}}),
        ({"a": [1]}, {"a": [2]}, {"a": [2]}),
        ({"a": "b"}, {"a": {"c": None}}, {"a": {}}),
        ({}, {"a": {"b": {"c": None}}}, {"a": {"b": {}}}),
    ],
)
def test_merge_patches_are_applied_as_the_rfc_says(target: object, patch: object, result: object) -> None:
    assert merge_patch.merged(target, patch) == result


# As kind 0.31 printed them when a create failed.
FAILED_6902 = (
    "ERROR: failed to create cluster: failed to generate kubeadm config content: failed to apply JSON 6902 patch: "
    "replace operation does not apply: doc is missing key: /apiServer/timeoutForControlPlain: missing value\n"
)


def test_a_json_patch_that_does_not_apply_is_reported_with_its_line() -> None:
    words, place = kubeadm.explain_failure(FAILED_6902, "", DECLARED)
    assert words.startswith("failed to apply JSON 6902 patch: replace operation does not apply")
    assert place == "kind.yaml:32: /apiServer/timeoutForControlPlain"


def test_a_kubelets_error_on_a_gate_is_reported_with_its_line() -> None:
    words, place = kubeadm.explain_failure("ERROR: failed to init node with kubeadm", GATE, DECLARED)
    assert "unrecognized feature gate: Nonsense" in words
    assert place == "kind.yaml:5: Nonsense"


def test_an_unrelated_failure_blames_no_declared_field() -> None:
    assert kubeadm.explain_failure("ERROR: failed to create cluster: docker run failed", "", DECLARED) == ("", "")


def test_an_unknown_field_of_a_json_patch_is_reported_after_the_create(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = WARNED.replace("apiServer.extraArgz", "apiServer.timeoutForControlPlain")
    fake_docker(monkeypatch, lambda _: failed(words))
    node = Node("0", "lab-control-plane", "lab", "control-plane", "running", "image", ours=True)
    monkeypatch.setattr("threezone.clients.kind.nodes", lambda _: (node,))
    told = kubeadm.check_created(DECLARED, "lab")
    assert told.startswith(
        "kind.yaml:32: /apiServer/timeoutForControlPlain: kubeadm goes on without it: strict decoding"
    )
    plain = parse("kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n", Path("kind.yaml"))
    assert kubeadm.check_created(plain, "lab") == ""
