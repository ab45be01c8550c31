"""The pinned programs themselves, from whatever channel this machine has (cold, building them takes minutes)."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from threezone.core import process
from threezone.toolchain import flux_cli, golang, install

pytestmark = pytest.mark.timeout(3600)


@pytest.fixture
def tools(outer_environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> dict[str, install.Tool]:
    """All three; fetched with the user's own settings for proxies and registries."""
    with monkeypatch.context() as outside:
        outside.setenv("HOME", outer_environment["HOME"])
        return install.ensure()


def test_every_program_is_what_it_is_listed_as(tools: dict[str, install.Tool]) -> None:
    assert process.run([tools["kind"].path, "version"], timeout=30).stdout.startswith("kind v0.31.0 ")
    flux = process.run([tools["flux"].path, "version", "--client", "-o", "json"], timeout=30)
    assert json.loads(flux.stdout) == {"flux": "v2.7.3"}
    kubectl = process.run([tools["kubectl"].path, "version", "--client", "-o", "json"], timeout=30)
    assert json.loads(kubectl.stdout)["clientVersion"]["gitVersion"] == f"v{tools['kubectl'].version}"
    assert tools["kubectl"].version.split(".")[1] in ("34", "35", "36")
    assert [check.problem for check in install.verify() if check.problem] == []


def test_flux_exports_the_components_that_both_channels_have(tools: dict[str, install.Tool]) -> None:
    chosen = ",".join(flux_cli.COMPONENTS)
    done = process.run([tools["flux"].path, "install", "--export", f"--components={chosen}"], timeout=60)
    documents = [document for document in yaml.safe_load_all(done.stdout) if document]
    images = {
        document["metadata"]["name"]: document["spec"]["template"]["spec"]["containers"][0]["image"]
        for document in documents
        if document["kind"] == "Deployment"
    }
    assert images == {
        "source-controller": "ghcr.io/fluxcd/source-controller:v1.7.3",
        "kustomize-controller": "ghcr.io/fluxcd/kustomize-controller:v1.7.2",
        "helm-controller": "ghcr.io/fluxcd/helm-controller:v1.4.3",
    }
    groups = {document["spec"]["group"] for document in documents if document["kind"] == "CustomResourceDefinition"}
    assert groups == {f"{name}.toolkit.fluxcd.io" for name in ("source", "kustomize", "helm")}


def test_the_manifests_of_flux_are_generated_from_modules(tmp_path: Path, outer_environment: dict[str, str]) -> None:
    with pytest.MonkeyPatch.context() as outside:
        outside.setenv("HOME", outer_environment["HOME"])
        kustomize = golang.build(flux_cli.KUSTOMIZE)
        published = golang.module_source(flux_cli.MODULE, "v2.7.3")
        module = tmp_path / "flux2"
        for part in ("manifests", "cmd/flux"):
            shutil.copytree(published / part, module / part, copy_function=shutil.copyfile)
        for directory in (path for path in (module, *module.rglob("*")) if path.is_dir()):
            directory.chmod(0o755)
        flux_cli.manifests(kustomize, module)
    made = sorted((module / "cmd" / "flux" / "manifests").iterdir())
    assert [path.name for path in made] == sorted(
        [*(f"{name}.yaml" for name in flux_cli.COMPONENTS), "policies.yaml", "rbac.yaml"]
    )
    for path in made:
        kinds = [document["kind"] for document in yaml.safe_load_all(path.read_text())]
        if path.stem in flux_cli.COMPONENTS:
            assert kinds.count("Deployment") == 1
            assert "CustomResourceDefinition" in kinds
        else:
            assert set(kinds) <= {"ClusterRole", "ClusterRoleBinding", "NetworkPolicy", "ResourceQuota"}
