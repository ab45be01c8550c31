import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from threezone.errors import ClusterError, DeliveryError
from threezone.kube.client import Api, Json
from threezone.kube.waiting import World, condition, wait_for

PATH = "/api/v1/things"


def thing(name: str, state: str) -> Json:
    return {"metadata": {"namespace": "n", "name": name}, "state": state}


class Server:
    """An API server of one collection: a list, then a script of watch events, then silence until the end."""

    def __init__(self, listed: list[Json] | None, *events: Json, fails: int = 0) -> None:
        self.listed, self.events, self.fails = listed, events, fails
        self.over = threading.Event()

    def get(self, _path: str, **_query: Any) -> Json | None:
        if self.fails:
            self.fails -= 1
            raise ClusterError("connection refused")
        return None if self.listed is None else {"metadata": {"resourceVersion": "1"}, "items": self.listed}

    def watch(self, _path: str, *, since: str, seconds: float, **_query: Any) -> Iterator[Json]:
        assert since == "1"
        yield from self.events
        self.over.wait(min(seconds, 5))


def wait(server: Server, seconds: float = 3.0) -> World:
    def judge(world: World) -> list[str]:
        bad = [key for key, item in world[PATH].items() if item["state"] == "broken"]
        if bad:
            raise DeliveryError(f"{bad[0]} is broken")
        return [f"{key} to be good" for key, item in world[PATH].items() if item["state"] != "good"]

    try:
        return wait_for(cast("Api", server), [PATH], judge, seconds=seconds, what="the things")
    finally:
        server.over.set()


def test_what_is_there_already_is_not_waited_for() -> None:
    assert set(wait(Server([thing("a", "good")]))[PATH]) == {"n/a"}


def test_a_change_that_is_watched_ends_the_wait() -> None:
    change = {"type": "MODIFIED", "object": thing("a", "good")}
    assert wait(Server([thing("a", "bad")], change))[PATH]["n/a"]["state"] == "good"


def test_what_is_deleted_is_missed_no_more() -> None:
    assert wait(Server([thing("a", "bad")], {"type": "DELETED", "object": thing("a", "bad")}))[PATH] == {}


def test_what_cannot_heal_ends_the_wait_at_once() -> None:
    with pytest.raises(DeliveryError, match="n/a is broken"):
        wait(Server([thing("a", "bad")], {"type": "MODIFIED", "object": thing("a", "broken")}))


def test_a_server_that_comes_back_is_asked_again() -> None:
    assert wait(Server([thing("a", "good")], fails=2))[PATH]


def test_the_deadline_tells_what_was_still_missing() -> None:
    with pytest.raises(ClusterError, match="the things: not ready within 0 s") as caught:
        wait(Server([thing("a", "bad")]), seconds=0.3)
    assert caught.value.evidence == "n/a to be good"


def test_a_collection_whose_api_does_not_exist_is_empty() -> None:
    assert wait(Server(None))[PATH] == {}


def test_conditions_are_found_by_their_type() -> None:
    item = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert condition(item, "Ready") == {"type": "Ready", "status": "True"}
    assert condition(item, "Stalled") == {}
    assert condition({}, "Ready") == {}
