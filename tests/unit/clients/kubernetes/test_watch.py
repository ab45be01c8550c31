import threading
from collections.abc import Iterator
from typing import Any, cast

import pytest

from threezone.clients.kubernetes import watch as waiting
from threezone.clients.kubernetes.api import Api, Forbidden, Json, refused
from threezone.clients.kubernetes.watch import Overdue, Watching, World, condition, wait_for
from threezone.core.errors import ClusterError, DeliveryError

PATH = "/api/v1/things"


def thing(name: str, state: str) -> Json:
    return {"metadata": {"namespace": "n", "name": name}, "state": state}


NO = (
    'pods is forbidden: User "system:serviceaccount:prod:job" cannot list resource "pods" in API group "" in the '
    'namespace "n"'
)


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
    with pytest.raises(Overdue, match="the things: not ready within 0 s") as caught:
        wait(Server([thing("a", "bad")]), seconds=0.3)
    assert caught.value.evidence == "n/a to be good"


def test_a_collection_whose_api_does_not_exist_is_empty() -> None:
    assert wait(Server(None))[PATH] == {}


def test_conditions_are_found_by_their_type() -> None:
    item = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    assert condition(item, "Ready") == {"type": "Ready", "status": "True"}
    assert condition(item, "Stalled") == {}
    assert condition({}, "Ready") == {}


class Two:
    """An API server of two collections, the second of which appears in the first one's objects."""

    def __init__(self, *answers: str) -> None:
        self.answers = list(answers)  # what each list of PATH says; the last one again and again
        self.asked: list[str] = []
        self.over = threading.Event()

    def get(self, path: str, **_query: Any) -> Json:
        self.asked.append(path)
        state = "good" if path == OTHER else self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        return {"metadata": {"resourceVersion": "1"}, "items": [thing("a", state)]}

    def watch(self, _path: str, *, since: str, seconds: float, **_query: Any) -> Iterator[Json]:
        assert since == "1"
        self.over.wait(min(seconds, 0.1))
        yield {"type": "ERROR", "object": {}}  # which has the list asked for again


OTHER = "/api/v1/others"


def test_what_is_seen_says_what_else_is_to_be_followed() -> None:
    server = Two("good")
    with Watching(cast("Api", server), [PATH]) as watching:
        world = watching.until(
            lambda world: [] if OTHER in world else ["the others"],
            seconds=3,
            what="both",
            more=lambda world: [OTHER] if "n/a" in world[PATH] else [],
        )
    server.over.set()
    assert set(world[OTHER]) == {"n/a"}
    assert server.asked.count(OTHER) == 1, "it is followed once"


def test_a_fresh_look_has_the_last_word() -> None:
    server = Two("good", "bad", "good")

    def judge(world: World) -> list[str]:
        return [key for key, item in world[PATH].items() if item["state"] != "good"]

    with Watching(cast("Api", server), [PATH]) as watching:
        watching.until(judge, seconds=3, what="the things", fresh=True)
    server.over.set()
    assert len(server.asked) >= 4, "the first fresh look did not agree"


def test_what_is_good_for_a_moment_only_is_waited_for_again() -> None:
    server = Two("good", "bad", "good")
    judged: list[str] = []

    def judge(world: World) -> list[str]:
        judged.append(world[PATH]["n/a"]["state"])
        return [] if judged[-1] == "good" else ["the thing"]

    with Watching(cast("Api", server), [PATH]) as watching:
        watching.until(judge, seconds=5, what="the thing", steady=0.5)
    server.over.set()
    assert judged[:2] == ["good", "bad"]
    assert len(judged) > 4, "it was looked at until the half second was over"


def test_a_fresh_look_has_the_last_word_on_what_cannot_heal_too() -> None:
    server = Two("bad", "good", "good")

    def judge(world: World) -> list[str]:
        if world[PATH]["n/a"]["state"] == "bad":
            raise DeliveryError("it is bad")
        return []

    with Watching(cast("Api", server), [PATH]) as watching:
        watching.until(judge, seconds=3, what="the things", fresh=True)
    server.over.set()


class Guarded(Server):
    """The same beside a collection that this login may not see, the first `refusals` times or always."""

    def __init__(self, listed: list[Json], *, refusals: int = 1_000_000) -> None:
        super().__init__(listed)
        self.refusals = refusals

    def get(self, _path: str, **_query: Any) -> Json | None:
        if _path == HIDDEN and self.refusals:
            self.refusals -= 1
            raise refused(403, NO)
        return super().get(_path)


HIDDEN = "/api/v1/namespaces/n/pods"


def guarded(server: Guarded, first: list[str], *, more: bool = False) -> World:
    try:
        return wait_for(
            cast("Api", server),
            first,
            lambda world: [] if world[PATH]["n/a"] else ["a"],
            seconds=5,
            what="the things",
            more=(lambda _: [HIDDEN]) if more else None,
            fresh=True,
        )
    finally:
        server.over.set()


def test_what_may_not_be_seen_ends_the_wait_with_who_may_not_do_what(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "STARTING", 0.0)
    with pytest.raises(Forbidden, match="prod/job may not list pods in the namespace n"):
        guarded(Guarded([thing("a", "good")]), [PATH, HIDDEN])


def test_an_api_server_that_does_not_know_its_rules_yet_is_waited_for() -> None:
    assert guarded(Guarded([thing("a", "good")], refusals=2), [PATH, HIDDEN])[HIDDEN] != {}


def test_a_further_collection_that_may_not_be_seen_holds_nothing_up() -> None:
    assert guarded(Guarded([thing("a", "good")]), [PATH], more=True)[PATH] != {}


def test_a_judge_that_judges_by_time_is_asked_again_though_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(waiting, "AGAIN", 0.05)
    server = Two("good")
    judged: list[World] = []

    def judge(world: World) -> list[str]:
        judged.append(world)
        return [] if len(judged) > 3 else ["a moment"]

    with Watching(cast("Api", server), [PATH]) as watching:
        watching.until(judge, seconds=3, what="the moment")
    server.over.set()
    assert len(judged) > 3
