import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from threezone.cluster.spec import boot_tuning, declared
from threezone.cluster.spec.version_notes import V1BETA4

FILE = Path("kind.yaml")
ONE = "kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\n"
THREE = ONE + "nodes: [{role: control-plane}, {role: control-plane}, {role: control-plane}]\n"


def patches(text: str, minor: int) -> dict[str, Any]:
    (*found,) = map(json.loads, boot_tuning.overlay(declared.parse(text, FILE), minor).defaults)
    return {each["kind"]: each for each in found}


def test_the_files_own_patches_come_later_and_so_overrule() -> None:
    own = "kind: ClusterConfiguration\nfeatureGates: {PublicKeysECDSA: false}\n"
    seen = declared.parse(ONE + f"kubeadmConfigPatches: [{json.dumps(own)}]\n", FILE)
    needed = declared.Overlay("needed", patch="kind: KubeletConfiguration\nfailCgroupV1: false\n")
    added = boot_tuning.overlay(seen, 35)
    given = yaml.safe_load(declared.with_overlays(seen, "lab", [needed, added]))
    assert given["kubeadmConfigPatches"] == [*added.defaults, own, needed.patch]


def test_several_control_planes_elect() -> None:
    alone, several = (patches(text, 35)["ClusterConfiguration"] for text in (ONE, THREE))
    assert alone["controllerManager"]["extraArgs"]["leader-elect"] == "false"
    assert alone["scheduler"]["extraArgs"]["leader-elect"] == "false"
    assert "leader-elect" not in json.dumps(several)
    assert several["controllerManager"]["extraArgs"]["kube-api-qps"] == "200"


@pytest.mark.parametrize(("minor", "gate"), [(34, True), (36, True), (37, False)])
def test_ecdsa_is_asked_for_by_a_gate_that_kubeadm_knows(minor: int, gate: bool) -> None:
    assert ("featureGates" in patches(ONE, minor)["ClusterConfiguration"]) is gate


def test_init_and_join_read_the_patches_of_the_image() -> None:
    found = patches(ONE, 35)
    for kind in ("InitConfiguration", "JoinConfiguration"):
        assert found[kind]["patches"]["directory"] == boot_tuning.PATCHES
    for path, text in boot_tuning.files().items():
        assert path.startswith(boot_tuning.PATCHES + "/")
        (container,) = json.loads(text)["spec"]["containers"]
        assert path.endswith(f"/{container['name']}+strategic.json"), "kubeadm finds the pod by the file's name"
        probe = container["startupProbe"]
        assert probe["periodSeconds"] * probe["failureThreshold"] == 240, "as long as kubeadm's own"


def test_where_arguments_are_a_list_only_the_probes_are_patched() -> None:
    seen = declared.parse(ONE, FILE)
    quick = boot_tuning.overlay(seen, 37, V1BETA4)
    assert {json.loads(patch)["kind"] for patch in quick.defaults} == {"InitConfiguration", "JoinConfiguration"}
    assert all(json.loads(patch)["patches"] == {"directory": boot_tuning.PATCHES} for patch in quick.defaults)
    assert "extraArgs" not in "".join(quick.defaults)
