"""Where the objects of a preview go, with real git and real Flux."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from tests.documents import ROOT
from tests.integration.delivery.test_check import Repository, config, thing

from threezone.clients.kubernetes.api import Json
from threezone.core.errors import DeliveryError, UsageError
from threezone.delivery.check.check import Place
from threezone.delivery.check.model import id_of
from threezone.delivery.check.source import tree
from threezone.delivery.preview import start
from threezone.delivery.preview.layout import Layout
from threezone.delivery.preview.model import Preview

PREVIEW_X = Preview("feature/x")


def is_namespaced(item: Json) -> bool | None:
    return item["kind"] not in ("Namespace", "ClusterRole")


def arranged(made: Repository, path: str) -> tuple[Layout, dict[str, Json]]:
    """The layout, and what Flux would apply by `Kind namespace/name`."""
    place = Place(made.lab, None)
    with tree(made.root, path, "HEAD") as files:
        chosen, wanted = start.arrange(place, files, PREVIEW_X, {}, is_namespaced)
        rendering = start._rendered(place, files, wanted)
    return chosen, {str(id_of(item)): item for _, item in rendering.objects}


@pytest.fixture
def made(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_the_sample_app_moves_to_one_namespace_without_its_own(made: Repository) -> None:
    shutil.copytree(ROOT / "local", made.root / "local")
    made.commit({})
    chosen, objects = arranged(made, "local/gitops/clusters/local")
    assert chosen.namespaces == {"hello": PREVIEW_X.name}
    kinds = sorted(name.rpartition("-")[0] if name.startswith("ConfigMap") else name for name in objects)
    assert kinds == [
        f"ConfigMap {PREVIEW_X.name}/page", f"Deployment {PREVIEW_X.name}/hello", f"Service {PREVIEW_X.name}/hello",
    ]  # fmt: skip
    assert {item["metadata"]["labels"]["threezone.io/preview"] for item in objects.values()} == {PREVIEW_X.name[8:]}


def test_several_namespaces_get_suffixes_and_variables_have_values(made: Repository) -> None:
    rbac = "rbac.authorization.k8s.io"
    subjects = [{"kind": "ServiceAccount", "name": "web", "namespace": "front"}]
    role = {"apiGroup": rbac, "kind": "Role", "name": "reader"}
    bound = thing(f"{rbac}/v1", "RoleBinding", "web", "back", roleRef=role, subjects=subjects)
    spaces = thing("v1", "Namespace", "front", "") + thing("v1", "Namespace", "back", "")
    page = config("page", "front", text="${branch} in ${preview}")
    made.commit({"all/all.yaml": spaces.replace('"namespace": ""', '"labels": {}') + page + bound})
    chosen, objects = arranged(made, "all")
    slug = PREVIEW_X.name.removeprefix("preview-")
    assert chosen.namespaces == {"back": f"back-{slug}", "front": f"front-{slug}"}
    assert set(objects) == {f"ConfigMap front-{slug}/page", f"RoleBinding back-{slug}/web"}
    assert objects[f"ConfigMap front-{slug}/page"]["data"] == {"text": f"feature/x in {PREVIEW_X.name}"}
    assert objects[f"RoleBinding back-{slug}/web"]["subjects"][0]["namespace"] == f"front-{slug}"


def test_what_cannot_be_there_twice_is_refused_with_its_name(made: Repository) -> None:
    role = thing("rbac.authorization.k8s.io/v1", "ClusterRole", "reader", "", rules=[])
    role = role.replace('"namespace": ""', '"labels": {}')
    made.commit({"all/all.yaml": config("page", "app") + role})
    with pytest.raises(UsageError, match="whole cluster shares") as refused:
        arranged(made, "all")
    assert refused.value.evidence == "ClusterRole reader"


def test_what_flux_cannot_render_is_refused_with_its_words(made: Repository) -> None:
    made.commit({"all/kustomization.yaml": "resources: [missing.yaml]\n"})
    with pytest.raises(DeliveryError, match="could not apply") as refused:
        arranged(made, "all")
    assert "missing.yaml" in refused.value.evidence
