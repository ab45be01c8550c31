"""The lab's API server as a check asks it: which kinds it serves, what exists, and what a dry run says."""

from __future__ import annotations

import base64
import functools
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from http import HTTPStatus

from threezone.clients.kubernetes.api import Api, Forbidden, Json, Refused
from threezone.delivery.check.model import Id, id_of, meta

MANAGER = "kustomize-controller"  # the field manager that Flux applies with
WORKERS = 8
REFUSED = "the API server answered with "
STAND_IN = "default"  # takes the objects of a namespace that the commit brings, in a dry run


@dataclass(frozen=True)
class Resource:
    """How the API serves a kind."""

    plural: str
    namespaced: bool


@dataclass(frozen=True)
class Answer:
    """What a dry run of one object has led to: the object as it would be, or the server's refusal.

    `live` is the object as it is, where it was looked for. `skipped` says why nothing was asked.
    """

    item: Json
    merged: Json | None = None
    live: Json | None = None
    refusal: Refused | None = None
    skipped: str = ""

    @property
    def words(self) -> str:
        """The server's own words of a refusal."""
        if self.refusal is None:
            return ""
        text = self.refusal.evidence if isinstance(self.refusal, Forbidden) else self.refusal.message
        return re.sub(rf"^{REFUSED}\d+: ", "", text)


class Cluster:
    """What is asked of one API server. Each answer is kept: the check sees the cluster as of one moment."""

    def __init__(self, api: Api) -> None:
        self.api = api

    @functools.cache  # noqa: B019 - one check has one Cluster
    def kinds(self, version: str) -> dict[str, Resource]:
        """The kinds of an apiVersion; none when it is not served."""
        path = f"/apis/{version}" if "/" in version else f"/api/{version}"
        return {
            each["kind"]: Resource(each["name"], bool(each["namespaced"]))
            for each in (self.api.get(path) or {}).get("resources") or []
            if "/" not in each["name"]
        }

    @functools.cached_property
    def namespaces(self) -> frozenset[str]:
        """The names of the namespaces that stay."""
        items = (self.api.get("/api/v1/namespaces") or {}).get("items") or []
        return frozenset(str(meta(item)["name"]) for item in items if "deletionTimestamp" not in meta(item))

    def serves(self, version: str, kind: str) -> bool | None:
        """Whether a kind is served in this version."""
        return kind in self.kinds(version)

    def has(self, namespace: str) -> bool | None:
        """Whether a namespace exists."""
        return namespace in self.namespaces

    def path(self, item: Json, namespace: str = "") -> str:
        """The API path of an object, "" for a kind that is not served; `namespace` is another one than its own."""
        version = str(item.get("apiVersion"))
        resource = self.kinds(version).get(str(item.get("kind")))
        if resource is None:
            return ""
        root = f"/apis/{version}" if "/" in version else f"/api/{version}"
        own = namespace or id_of(item).namespace
        scope = f"/namespaces/{own}" if resource.namespaced else ""
        return f"{root}{scope}/{resource.plural}/{meta(item).get('name')}"

    def is_namespaced(self, item: Json) -> bool:
        """Whether objects of this kind are in namespaces."""
        resource = self.kinds(str(item.get("apiVersion"))).get(str(item.get("kind")))
        return resource is not None and resource.namespaced

    def live(self, wanted: Id, versions: Iterable[str] = ("v1", "v1beta2", "v1beta1")) -> Json | None:
        """The object as it is, None for a missing one."""
        for version in versions:
            api_version = f"{wanted.group}/{version}" if wanted.group else version
            probe = {
                "apiVersion": api_version,
                "kind": wanted.kind,
                "metadata": {"name": wanted.name, "namespace": wanted.namespace},
            }
            if path := self.path(probe):
                return self.api.get(path)
        return None

    def dry_runs(self, items: Iterable[Json], *, with_live: bool = False) -> list[Answer]:
        """The answers to a server-side apply of each object, as Flux would apply it. Nothing is changed."""
        every = list(items)
        for version in dict.fromkeys(str(item.get("apiVersion")) for item in every):
            self.kinds(version)  # once, not once in each thread
        _ = self.namespaces
        with ThreadPoolExecutor(WORKERS) as pool:
            return list(pool.map(lambda item: self._dry_run(item, with_live=with_live), every))

    def _dry_run(self, item: Json, *, with_live: bool) -> Answer:
        namespace = id_of(item).namespace
        if not self.path(item):
            return Answer(item, skipped="its kind is not served yet")
        if self.is_namespaced(item) and not namespace:
            words = "it has no namespace, and its kind needs one"
            return Answer(item, refusal=Refused(HTTPStatus.NOT_FOUND, words))
        if self.is_namespaced(item) and namespace not in self.namespaces:
            return self._elsewhere(item)
        path = self.path(item)
        live = self.api.get(path) if with_live else None
        try:
            return Answer(item, self._apply(path, item), live)
        except Refused as refusal:
            return Answer(item, None, live if with_live else self.api.get(path), refusal)

    def _elsewhere(self, item: Json) -> Answer:
        """Try an object of a namespace that does not exist yet in another one, unless that has one of its name."""
        path = self.path(item, STAND_IN)
        if self.api.get(path) is not None:
            return Answer(item, skipped="its namespace does not exist yet")
        moved = {**item, "metadata": {**meta(item), "namespace": STAND_IN}}
        try:
            merged = self._apply(path, moved)
        except Refused as refusal:
            return Answer(item, refusal=refusal)
        return Answer(item, {**merged, "metadata": {**meta(merged), "namespace": id_of(item).namespace}})

    def _apply(self, path: str, item: Json) -> Json:
        return self.api.apply(path, normalized(item), manager=MANAGER, dry=True)


def normalized(item: Json) -> Json:
    """An object as Flux sends it: a Secret without stringData, nothing without a status but definitions of kinds.

    fluxcd/pkg, ssa/normalize. Flux also drops fields that it does not know from the kinds of Kubernetes; we do not, so
    that they are found.
    """
    what = id_of(item)
    item = {key: value for key, value in item.items() if key != "status" or what.kind == "CustomResourceDefinition"}
    if what[:2] == ("", "Secret") and (texts := item.pop("stringData", None)):
        encoded = {name: base64.b64encode(str(value).encode()).decode() for name, value in texts.items()}
        item["data"] = {**(item.get("data") or {}), **encoded}
    return item
