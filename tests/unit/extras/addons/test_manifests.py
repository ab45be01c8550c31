"""Add-ons: a line in the kustomization that Flux reconciles, and what a cluster would have to fetch."""

from pathlib import Path

import pytest

from threezone.core.errors import UsageError
from threezone.extras.addons import manifests

ROOT = Path(__file__).parents[4]
OURS = (ROOT / "local/gitops/clusters/local/kustomization.yaml").read_text()
NEW = "../../addons/dashboard"


def test_a_line_is_added_to_our_own_kustomization_and_taken_out_again() -> None:
    after = manifests.with_resources(OURS, [NEW])
    assert after == f"{OURS}  - {NEW}\n"
    assert manifests.declared(after) == ("../../apps/hello", NEW)
    assert manifests.with_resources(after, [NEW]) == after
    assert manifests.without_resources(after, [NEW]) == OURS
    assert manifests.without_resources(OURS, [NEW]) == OURS


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("resources:\n- a\n", "resources:\n- a\n- x\n- y\n"),
        ("resources:\n    - a # b\n\n# c\nd: 1\n", "resources:\n    - a # b\n    - x\n    - y\n\n# c\nd: 1\n"),
        ("resources: # a\n  - 'a'\n  # b\n  - c\nd:\n", "resources: # a\n  - 'a'\n  # b\n  - c\n  - x\n  - y\nd:\n"),
        ("kind: Kustomization\n", "kind: Kustomization\nresources:\n  - x\n  - y\n"),
        ("resources:\n  - a\n  - x", "resources:\n  - a\n  - x\n  - y\n"),
        ("a: 1\nresources: [] # none\nb: 2\n", "a: 1\nresources: # none\n  - x\n  - y\nb: 2\n"),
        ("resources:\n# none yet\nb: 2\n", "resources:\n  - x\n  - y\n# none yet\nb: 2\n"),
        ('"resources":\n  - a\n', '"resources":\n  - a\n  - x\n  - y\n'),
        ("a:\n  resources:\n    - b\n", "a:\n  resources:\n    - b\nresources:\n  - x\n  - y\n"),
        ("b:\n  - resources:\nresources:\n  - a\n", "b:\n  - resources:\nresources:\n  - a\n  - x\n  - y\n"),
        ("", "resources:\n  - x\n  - y\n"),
    ],
)  # fmt: skip
def test_every_other_line_stays_as_it_is(before: str, after: str) -> None:
    assert manifests.with_resources(before, ["x", "y"]) == after


@pytest.mark.parametrize("text", ["resources: [a]\n", "resources: [\n  a\n]\n", "{resources: [a]}\n"])
def test_only_plain_lists_are_edited(text: str) -> None:
    with pytest.raises(UsageError):
        manifests.with_resources(text, ["x"])


def test_only_the_list_of_resources_loses_a_line() -> None:
    text = "components:\n  - x\nresources:\n  - 'x' # x\n  - a\npatches:\n  - x\n"
    assert manifests.without_resources(text, ["x"]) == "components:\n  - x\nresources:\n  - a\npatches:\n  - x\n"


def test_only_lines_of_plain_lists_are_removed() -> None:
    with pytest.raises(UsageError, match="not written as a plain list"):
        manifests.without_resources("resources: [a, x]\n", ["x"])


@pytest.mark.parametrize("text", ["resources: {", "- a\n", "resources: 5\n"])
def test_a_broken_file_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="not valid"):
        manifests.declared(text)


def test_images_and_charts_are_named_once_with_the_host_that_has_them() -> None:
    containers = {"containers": [{"image": "ghcr.io/a/b:v1"}], "initContainers": [{"image": "nginx:1"}]}
    pod = {"spec": {"template": {"spec": containers}}}
    objects = [
        {"kind": "Deployment", **pod},
        {"kind": "DaemonSet", **pod},
        {"kind": "Service", "spec": {}},
        {"kind": "HelmRepository", "metadata": {"name": "gitlab"}, "spec": {"url": "https://charts.gitlab.io/"}},
        {
            "kind": "HelmRelease",
            "spec": {"chart": {"spec": {"chart": "agent", "version": "2.0.0", "sourceRef": {"name": "gitlab"}}}},
        },
    ]
    assert [(each.kind, each.name, each.url) for each in manifests.artifacts(objects)] == [
        ("image", "nginx:1", "https://registry-1.docker.io/v2/"),
        ("image", "ghcr.io/a/b:v1", "https://ghcr.io/v2/"),
        ("chart", "agent 2.0.0 of https://charts.gitlab.io/", "https://charts.gitlab.io/index.yaml"),
    ]


@pytest.mark.parametrize(
    ("image", "host"),
    [
        ("localhost:5001/app:1", "localhost:5001"),
        ("docker.io/library/traefik:v3", "registry-1.docker.io"),
        ("org/app", "registry-1.docker.io"),
        ("quay.io/a/b@sha256:0", "quay.io"),
    ],
)
def test_an_image_names_its_registry(image: str, host: str) -> None:
    assert manifests._registry(image) == host


def test_a_directory_without_a_kustomization_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has no kustomization"):
        manifests.kustomization(tmp_path)
    (tmp_path / "kustomization.yml").write_text("")
    file = manifests.kustomization(tmp_path)
    assert manifests.line(file, tmp_path.parent / "addons" / "x") == "../addons/x"


def test_everything_in_our_add_ons_is_at_a_full_version_and_nothing_but_the_asked_for_account_is_an_administrator() -> (
    None
):
    texts = {path: path.read_text() for path in (ROOT / manifests.HOME).rglob("*.yaml") if "crds" not in path.parts}
    images = [line for text in texts.values() for line in text.splitlines() if " image: " in line]
    assert len(images) == 2
    assert all(line.rpartition(":v")[2].count(".") == 2 for line in images)
    roots = [path.relative_to(ROOT / manifests.HOME) for path, text in texts.items() if "name: cluster-admin" in text]
    assert roots == [Path("dashboard/admin/admin.yaml")]
