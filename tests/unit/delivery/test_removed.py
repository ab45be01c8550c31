from typing import Any, cast

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
