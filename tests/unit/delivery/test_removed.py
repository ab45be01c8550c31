from typing import Any, cast

import pytest

from threezone.clients.kubernetes.api import Api, Forbidden
from threezone.delivery import removed
from threezone.flux.objects import Entry

MAPS = "/api/v1/namespaces/shop/configmaps"
HELD, KEPT, GONE = (Entry("ConfigMap", "", "v1", "shop", name) for name in ("held", "kept", "gone"))
LOCKED = Entry("Secret", "", "v1", "shop", "locked")
ITEMS: dict[str, Any] = {
    f"{MAPS}/held": {"metadata": {"deletionTimestamp": "now", "finalizers": ["example.com/hold"]}},
    f"{MAPS}/kept": {"metadata": {}},
}


class Server:
    def get(self, path: str) -> Any:
        if "secrets" in path:
            raise Forbidden("no", dict.fromkeys(("user", "verb", "resource", "group", "namespace"), ""))
        return ITEMS.get(path)


def test_only_what_is_being_deleted_is_waited_for() -> None:
    lasting = removed.terminating(cast("Api", Server()), [HELD, KEPT, GONE, LOCKED])
    assert lasting == {MAPS: ["shop/held"]}


def test_the_finalizer_that_holds_an_object_is_named() -> None:
    wanted = {MAPS: ["shop/held"]}
    assert removed.remaining({}, wanted) == [f"the list of {MAPS}"]
    (line,) = removed.remaining({MAPS: {"shop/held": ITEMS[f"{MAPS}/held"]}}, wanted)
    assert "example.com/hold" in line
    assert removed.remaining({MAPS: {}}, wanted) == []


@pytest.mark.parametrize(
    ("kind", "condition"),
    [
        ("namespaces", {"type": "NamespaceContentRemaining", "status": "True", "message": "pods. has 1 instances"}),
        ("customresourcedefinitions", {"type": "Terminating", "status": "True", "message": "could not list instances"}),
    ],
)
def test_what_the_api_server_says_of_a_deletion_is_told(kind: str, condition: dict[str, str]) -> None:
    done = {"type": "NamespaceDeletionDiscoveryFailure", "status": "False", "message": "all discovered"}
    item = {"metadata": {"finalizers": ["hold"]}, "status": {"conditions": [done, condition]}}
    (line,) = removed.remaining({f"/{kind}": {"/shop": item}}, {f"/{kind}": ["/shop"]})
    assert condition["message"] in line
    assert done["message"] not in line
