from tests.unit.flux.flux_objects import GIT, KINDS, RESOURCES

from threezone.flux import objects
from threezone.flux.objects import Entry, Kind, kinds


def test_every_kind_is_known_once_in_its_best_version_and_sources_come_first() -> None:
    order = ["GitRepository", "HelmRepository", "HelmChart", "Kustomization", "HelmRelease", "Alert", "Receiver"]
    assert [each.kind for each in kinds(RESOURCES)] == order
    assert GIT.path == "/apis/source.toolkit.fluxcd.io/v1/gitrepositories"
    assert GIT.object_path("a", "b") == "/apis/source.toolkit.fluxcd.io/v1/namespaces/a/gitrepositories/b"
    assert KINDS["Alert"].version == "v1beta3"


def test_each_kind_knows_its_controller() -> None:
    controllers = [KINDS[kind].controller for kind in ("GitRepository", "Kustomization", "HelmRelease", "Alert")]
    assert controllers == ["source-controller", "kustomize-controller", "helm-controller", "notification-controller"]
    image = Kind("ImagePolicy", "image.toolkit.fluxcd.io", "v1", "imagepolicies", frozenset())
    assert image.controller == "image-reflector-controller"


def test_an_inventory_is_read_as_cli_utils_writes_it() -> None:
    entries = [
        {"id": "shop_web_apps_Deployment", "v": "v1"},
        {"id": "_shop__Namespace", "v": "v1"},
        {"id": "_system__controller__web_rbac.authorization.k8s.io_ClusterRole", "v": "v1"},
    ]
    items = objects.inventory({"status": {"inventory": {"entries": entries}}})
    assert [str(item) for item in items] == [
        "Deployment shop/web",
        "Namespace shop",
        "ClusterRole system:controller:web",
    ]
    assert items[0] == Entry("Deployment", "apps", "v1", "shop", "web")
    assert objects.inventory({"status": {}}) == ()
