from typing import Any

import pytest

from threezone.clients.kubernetes.api import Json
from threezone.flux import deletion


def test_remaining_objects_are_named_with_their_finalizers() -> None:
    item: Json = {"metadata": {"name": "lab", "finalizers": ["finalizers.fluxcd.io"]}}
    namespace: Json = {"metadata": {"name": "gone"}, "spec": {"finalizers": ["kubernetes"]}}
    world = {"/apis/k/kustomizations": {"a/lab": item, "a/other": item}, "/api/v1/namespaces": {"/gone": namespace}}
    wanted = {"/apis/k/kustomizations": {"a/lab", "a/past"}, "/api/v1/namespaces": {"/gone"}}
    assert deletion.remaining(world, wanted) == [
        "kustomizations a/lab to be gone (held by finalizers.fluxcd.io)",
        "namespaces gone to be gone (held by kubernetes)",
    ]


class Server:
    """An API server with one object, which notes the patches."""

    def __init__(self, *finalizers: str) -> None:
        self.finalizers, self.merged = finalizers, list[Json]()

    def get(self, _path: str) -> Json | None:
        return {"metadata": {"finalizers": list(self.finalizers)}} if self.finalizers else None

    def merge(self, _path: str, change: Json) -> None:
        self.merged.append(change)


@pytest.mark.parametrize(
    ("finalizers", "kept"),
    [
        (("finalizers.fluxcd.io",), [None]),
        (("finalizers.fluxcd.io", "example.org/backup"), [["example.org/backup"]]),
        (("example.org/backup",), []),
        ((), []),
    ],
    ids=["Flux's alone", "others stay", "none of Flux", "the object is missing"],
)
def test_only_the_finalizers_of_flux_are_removed(finalizers: tuple[str, ...], kept: list[Any]) -> None:
    api: Any = Server(*finalizers)
    assert deletion.release(api, "/path") is bool(kept)
    assert [change["metadata"]["finalizers"] for change in api.merged] == kept
