from pathlib import Path

import pytest
import yaml

from threezone.cluster.spec import declared
from threezone.core.errors import UsageError

FILE = Path("local/kubernetes/kind.yaml")
GOOD = """\
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
networking:
  apiServerPort: 6443
nodes:
  - role: control-plane
  - role: worker
"""


def test_the_shipped_file_is_valid_and_publishes_a_fixed_port_on_loopback() -> None:
    shipped = declared.declare(Path(__file__).parents[4] / FILE)
    assert (shipped.api_address, shipped.api_port) == ("127.0.0.1", 6443)
    assert shipped.control_planes == 1


def test_what_is_declared_is_read() -> None:
    seen = declared.parse(GOOD, FILE)
    assert (seen.api_port, seen.control_planes, len(seen.nodes)) == (6443, 1, 2)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "kind.yaml:1: the file is empty"),
        ("- a\n", "kind.yaml:1: the file: expected a mapping"),
        ("kind: Cluster\nnodes: [\n", "kind.yaml:3: not valid YAML"),
        ("kind: Cluster\nnode: []\n", "kind.yaml:2: unknown field node; did you mean nodes?"),
        (GOOD + "  - rolle: worker\n", "kind.yaml:8: unknown field nodes[2].rolle; did you mean role?"),
        (GOOD.replace("6443", '"6443"'), "kind.yaml:4: networking.apiServerPort: expected a number, found '6443'"),
        (GOOD + "featureGates: yes please\n", "kind.yaml:8: featureGates: expected a mapping"),
        (GOOD + "kubeadmConfigPatches: text\n", "kind.yaml:8: kubeadmConfigPatches: expected a list"),
        (GOOD.replace("v1alpha4", "v1alpha3"), "expected kind: Cluster and apiVersion: kind.x-k8s.io/v1alpha4"),
        (GOOD.replace("  apiServerPort", "  apiServerAddress: 0.0.0.0\n  apiServerPort"), "would open the API server"),
        (GOOD + "xyzzy: 1\n", "unknown field xyzzy; known are kind, apiVersion"),
    ],
)
def test_a_broken_file_gets_one_sentence_with_its_place(text: str, sentence: str) -> None:
    with pytest.raises(UsageError) as caught:
        declared.parse(text, FILE)
    assert sentence in caught.value.message
    assert "\n" not in caught.value.message


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UsageError, match=r"nowhere\.yaml cannot be read"):
        declared.declare(Path("nowhere.yaml"))


def test_cgroup_v1_needs_an_overlay_from_kubernetes_1_35_on() -> None:
    assert declared.overlays(cgroup="2", kubernetes_minor=35) == ()
    assert declared.overlays(cgroup="1", kubernetes_minor=34) == ()
    (needed,) = declared.overlays(cgroup="1", kubernetes_minor=35)
    assert yaml.safe_load(needed.patch) == {"kind": "KubeletConfiguration", "failCgroupV1": False}


def test_overlays_are_added_behind_the_declared_patches() -> None:
    seen = declared.parse(GOOD + "kubeadmConfigPatches: ['kind: InitConfiguration']\n", FILE)
    (overlay,) = declared.overlays(cgroup="1", kubernetes_minor=35)
    given = yaml.safe_load(declared.with_overlays(seen, "lab", [overlay]))
    assert given["name"] == "lab"
    assert given["kubeadmConfigPatches"] == ["kind: InitConfiguration", overlay.patch]
    assert "kubeadmConfigPatches" in seen.content
    assert len(seen.content["kubeadmConfigPatches"]) == 1, "the declared file is not changed"
