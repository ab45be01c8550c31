"""Versions in a cluster, and the sentence for each pair that is too far apart."""

import pytest

from threezone.cluster.version_skew import SUPPORTED_BY_KIND, Versions, sentences

WELL = Versions("v1.35.0", "1.35.0", {"a": "v1.35.0", "b": "v1.35.0"}, "0.31.0", "v2.7.3", (1, 32))


def test_matching_versions_have_no_sentence() -> None:
    assert sentences(WELL) == ()
    assert sentences(Versions("v1.36.3", "1.35.0", {"a": "v1.36.3"}, "0.31.0", "v2.7.3", (1, 32))) == ()
    assert sentences(Versions("v1.34.3", "1.35.0", {"a": "v1.34.3"}, "0.31.0")) == ()


def test_labels_are_unknown_without_an_answer_of_the_server() -> None:
    assert sentences(Versions("", "1.20.0", {"a": "v1.99.0"})) == ()


@pytest.mark.parametrize(
    ("kubectl", "words"), [("1.37.1", "2 minor versions newer"), ("1.33.0", "2 minor versions older")]
)
def test_kubectl_may_be_one_minor_version_apart(kubectl: str, words: str) -> None:
    (told,) = sentences(Versions("v1.35.0", kubectl))
    assert told.startswith(f"kubectl {kubectl} is {words} than the API server 1.35.0, and one is supported")
    assert "to 1.35.x" in told
    assert sentences(Versions("v1.35.0", kubectl.replace("7", "6").replace("3.0", "4.0"))) == ()


@pytest.mark.parametrize(
    ("kubelet", "rule"),
    [("v1.36.0", "may not be newer"), ("v1.31.14", "3 minor versions are supported"), ("v1.32.0", ""), ("", "")],
)
def test_a_kubelet_is_never_newer_and_at_most_three_behind(kubelet: str, rule: str) -> None:
    told = sentences(Versions("v1.35.0", kubelets={"a": "v1.35.0", "worker": kubelet}))
    assert [rule in line and "the kubelet of worker" in line for line in told] == ([True] if rule else [])


def test_kind_makes_what_its_kubeadm_configuration_is_read_by() -> None:
    (told,) = sentences(Versions("v1.37.0", kind="0.31.0"))
    assert told.startswith("kind 0.31.0 can create Kubernetes 1.31 to 1.36, and this is 1.37.0")
    assert "set tools.kind.version in local/pins.toml to 0.33.0" in told
    assert sentences(Versions("v1.37.0", kind="0.33.0")) == ()
    (old,) = sentences(Versions("v1.29.0", kind="0.33.0"))
    assert old.endswith("to a kind that supports it")
    assert sentences(Versions("v1.37.0", kind="9.9.9")) == (), "of another kind nothing is known"
    assert all(low < high for low, high in SUPPORTED_BY_KIND.values())


def test_flux_has_an_oldest_kubernetes() -> None:
    (told,) = sentences(Versions("v1.31.14", flux="v2.7.3", flux_needs=(1, 32)))
    assert told.startswith("Flux 2.7.3 needs Kubernetes 1.32 or newer, and this is 1.31.14")
    assert "--kubernetes 1.32" in told
    assert sentences(Versions("v1.31.14", flux="v2.7.3")) == (), "what this Flux needs is not known"
