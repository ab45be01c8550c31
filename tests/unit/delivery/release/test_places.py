"""The kustomization that has the image is found as Flux reads the delivered path, or the choices are named."""

from pathlib import Path

import pytest

from threezone.core.errors import UsageError
from threezone.delivery.release.places import Place, choose, name_of

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec: {{template: {{spec: {{initContainers: [{{image: init:1}}], containers: [{{name: web, image: '{image}'}}]}}}}}}
"""
FLUX = """
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {{name: apps, namespace: flux-system}}
spec: {{path: './{path}'}}
"""


def tree(root: Path, **files: str) -> Path:
    for name, text in files.items():
        path = root / name.replace("__", "/").replace("_yaml", ".yaml")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tree(
        tmp_path,
        cluster__kustomization_yaml="resources: [../apps/web, flux.yaml, https://example.com/x.yaml]\n",
        cluster__flux_yaml=FLUX.format(path="apps/more"),
        apps__web__kustomization_yaml="resources: [deployment.yaml]\n",
        apps__web__deployment_yaml=DEPLOYMENT.format(image="team/web:1"),
        apps__more__loose_yaml=DEPLOYMENT.format(image="loose@sha256:1"),
        apps__more__sub__kustomization_yaml="images: [{name: set}]\nresources: [d.yaml]\n",
        apps__more__sub__d_yaml=DEPLOYMENT.format(image="localhost:5001/sub:1"),
    )


@pytest.mark.parametrize(
    ("image", "expected", "declared"),
    [
        ("team/web", "apps/web/kustomization.yaml", False),
        ("set", "apps/more/sub/kustomization.yaml", True),
        ("localhost:5001/sub", "apps/more/sub/kustomization.yaml", False),
        ("", "apps/more/sub/kustomization.yaml", True),
    ],
)
def test_the_kustomization_of_an_image_is_found(root: Path, image: str, expected: str, declared: bool) -> None:
    place = choose(root, root / "cluster", image)
    assert place == Place(root / expected, image or "set", declared)


@pytest.mark.parametrize(
    ("image", "words"), [("init", "apps/web/kustomization.yaml"), ("loose", ""), ("nobody", "team/web")]
)
def test_without_exactly_one_place_the_choices_are_named(root: Path, image: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        choose(root, root / "cluster", image)
    assert words in refused.value.evidence
    assert refused.value.fix


def test_an_entry_counts_before_a_use_and_a_file_chooses(root: Path) -> None:
    tree(
        root,
        cluster__kustomization_yaml="resources: [../apps/web]\nimages:\n- name: team/web\n  newTag: v1\n",
    )
    assert choose(root, root / "cluster").file == root / "cluster/kustomization.yaml"
    chosen = choose(root, root / "cluster", "team/web", root / "apps/web/kustomization.yaml")
    assert chosen == Place(root / "apps/web/kustomization.yaml", "team/web", declared=False)
    tree(root, apps__web__kustomization_yaml="resources: [deployment.yaml]\nimages: [{name: team/web}]\n")
    with pytest.raises(UsageError) as refused:
        choose(root, root / "cluster")
    assert refused.value.evidence.splitlines() == ["cluster/kustomization.yaml", "apps/web/kustomization.yaml"]


def test_nothing_outside_of_the_repository_is_read(tmp_path: Path) -> None:
    root = tree(tmp_path / "in", kustomization_yaml="resources: [../out, .]\n")
    tree(tmp_path / "out", kustomization_yaml="images: [{name: outside}]\n")
    with pytest.raises(UsageError):
        choose(root, root)


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("app", "app"),
        ("app:1", "app"),
        ("localhost:5001/app", "localhost:5001/app"),
        ("localhost:5001/team/app:1@sha256:0", "localhost:5001/team/app"),
    ],
)
def test_a_name_has_no_tag(reference: str, name: str) -> None:
    assert name_of(reference) == name
