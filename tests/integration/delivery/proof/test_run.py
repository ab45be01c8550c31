"""All phases of a proof, with the real git, against an API server and a Flux that are simulated in memory."""

import copy
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from threezone.clients.kubernetes.api import Api, Json, Refused
from threezone.delivery.proof import phases, prove, sandbox
from threezone.delivery.proof.manifests import Names
from threezone.delivery.proof.repository import Remote, Worktree
from threezone.delivery.proof.run import HAND, Proof

ID = Names("1a2b3c")
PLURALS = {
    "Namespace": "/api/v1/namespaces",
    "ConfigMap": "/api/v1/namespaces/{}/configmaps",
    "Service": "/api/v1/namespaces/{}/services",
    "Pod": "/api/v1/namespaces/{}/pods",
    "Deployment": "/apis/apps/v1/namespaces/{}/deployments",
    "EndpointSlice": "/apis/discovery.k8s.io/v1/namespaces/{}/endpointslices",
}
GROUPS = {"Deployment": "apps"}
SOURCE = f"/apis/source.toolkit.fluxcd.io/v1/namespaces/{ID.sandbox}/gitrepositories/{ID.name}"
KUSTOMIZATION = f"/apis/kustomize.toolkit.fluxcd.io/v1/namespaces/{ID.sandbox}/kustomizations/{ID.name}"


def path_of(item: Json) -> str:
    return f"{PLURALS[item['kind']].format(item['metadata'].get('namespace', ''))}/{item['metadata']['name']}"


def merged(old: Any, change: Any) -> Any:
    if not isinstance(old, dict) or not isinstance(change, dict):
        return copy.deepcopy(change)
    keys = [key for key in {**old, **change} if change.get(key, 0) is not None]
    return {key: merged(old.get(key), change[key]) if key in change else old[key] for key in keys}


class Cluster:
    """As much of an API server as the proof uses, and of Flux, which acts at once after each change."""

    def __init__(self, work: Worktree) -> None:
        self.objects: dict[str, Json] = {}
        self.work = work
        self.branch: list[str] = []
        self.prunes = self.corrects = True
        self.writes = 0
        self.lock = threading.RLock()

    def retrying(self, _deadline: object) -> "Cluster":
        return self

    def get(self, path: str, **_: str) -> Json | None:
        with self.lock:
            if path.rpartition("/")[2].endswith("s") and path not in self.objects:
                items = [item for key, item in self.objects.items() if key.rpartition("/")[0] == path]
                return {"metadata": {"resourceVersion": "1"}, "items": copy.deepcopy(items)}
            return copy.deepcopy(self.objects.get(path))

    def watch(self, *_: str, **__: object) -> Iterator[Json]:
        threading.Event().wait(0.01)
        return iter(())

    def apply(self, path: str, wanted: Json, manager: str = "threezone") -> Json:
        with self.lock:
            old = self.objects.get(path, {})
            meta = old.get("metadata", {"generation": 0, "creationTimestamp": "2026-01-01T00:00:00Z"})
            new = merged({"metadata": meta}, wanted) | {"status": old.get("status", {})}
            new["metadata"]["uid"] = path
            new["metadata"]["generation"] += new.get("spec") != old.get("spec")
            self.writes += 1
            written = f"2026-01-01T{self.writes // 60:02}:{self.writes % 60:02}:00Z"  # a minute for each write
            new["metadata"]["managedFields"] = [{"manager": manager, "time": written}]
            self.objects[path] = new
            self.act()
            return copy.deepcopy(new)

    def merge(self, path: str, change: Json) -> Json:
        return self.send("PATCH", path, change)

    def send(self, method: str, path: str, body: Any = None, **query: str) -> Json:
        with self.lock:
            if path not in self.objects:
                raise Refused(404, "not found")
            item = self.objects[path]
            if method == "DELETE":
                self.delete(path)
            else:
                item = self.objects[path] = merged(item, body)
                item["metadata"]["generation"] += "spec" in body
                if manager := query.get("fieldManager"):
                    item["metadata"]["managedFields"].append({"manager": manager, "fieldsV1": {"f:spec": {}}})
                if item["metadata"].get("deletionTimestamp") and not item["metadata"].get("finalizers"):
                    del self.objects[path]
            self.act()
            return item

    def delete(self, path: str) -> None:
        if path == KUSTOMIZATION:
            self.prune([])
        if path.startswith("/api/v1/namespaces/") and path.count("/") == 4:
            name = path.rpartition("/")[2]
            for inner in [key for key in self.objects if f"/namespaces/{name}/" in key]:
                self.delete(inner)
        if path not in self.objects:
            return
        if self.objects[path]["metadata"].get("finalizers"):
            self.objects[path]["metadata"]["deletionTimestamp"] = "now"
        else:
            del self.objects[path]

    def text(self, _path: str) -> str:
        deployment = self.objects[path_of({"kind": "Deployment", "metadata": {"namespace": ID.name, "name": "web"}})]
        name = deployment["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"]
        return str(self.objects[f"/api/v1/namespaces/{ID.name}/configmaps/{name}"]["data"]["index.html"])

    def act(self) -> None:
        """What source-, kustomize- and Kubernetes' own controllers do about the present state."""
        source, kustomization = self.objects.get(SOURCE), self.objects.get(KUSTOMIZATION)
        if source and kustomization and self.branch:
            revision = f"{ID.name}@sha1:{self.branch[-1]}"
            source["status"] = {"artifact": {"revision": revision}}
            status = kustomization["status"]
            status["observedGeneration"] = kustomization["metadata"]["generation"]
            stamp = (kustomization["metadata"].get("annotations") or {}).get("reconcile.fluxcd.io/requestedAt", "")
            status["lastHandledReconcileAt"] = stamp
            if not kustomization["spec"].get("suspend") and status.get("lastAttemptedRevision") != revision:
                status["lastAttemptedRevision"] = revision
                self.reconcile(status, revision)
        self.run_pods()

    def reconcile(self, status: Json, revision: str) -> None:
        files = {file.name: file.read_text() for file in (self.work.root / self.work.path).iterdir()}
        ready = {"type": "Ready", "status": "True", "observedGeneration": status["observedGeneration"]}
        if "many" in "".join(files.values()):
            status["conditions"] = [ready | {"status": "False", "reason": "ReconciliationFailed", "message": "a port"}]
            return
        resources = yaml.safe_load(files["kustomization.yaml"])["resources"]
        items = [item for name in resources for item in yaml.safe_load_all(files[name])]
        if "index.html" in files:
            name = f"page-{abs(hash(files['index.html']))}"
            meta = {"name": name, "namespace": ID.name}
            items.append({"kind": "ConfigMap", "metadata": meta, "data": {"index.html": files["index.html"]}})
            for item in items:
                if item["kind"] == "Deployment":
                    item["spec"]["template"]["spec"]["volumes"][0]["configMap"]["name"] = name
        entries = [
            "_".join([meta.get("namespace", ""), meta["name"], GROUPS.get(item["kind"], ""), item["kind"]])
            for item in items
            for meta in [item["metadata"]]
        ]
        status |= {"lastAppliedRevision": revision, "conditions": [ready]}
        for item in items:
            if self.corrects or path_of(item) not in self.objects:
                self.apply(path_of(item), item, "kustomize-controller")
        if self.prunes:
            self.prune([path_of(item) for item in items])
        status["inventory"] = {"entries": [{"id": entry, "v": "v1"} for entry in entries]}

    def prune(self, kept: list[str]) -> None:
        old = self.objects[KUSTOMIZATION]["status"].get("inventory", {"entries": []})["entries"]
        for entry in old:
            rest, _, kind = entry["id"].rsplit("_", 2)
            namespace, name = rest.split("_", 1)
            path = path_of({"kind": kind, "metadata": {"namespace": namespace, "name": name}})
            if path not in kept:
                self.delete(path)

    def run_pods(self) -> None:
        deployment = next((item for path, item in self.objects.items() if path.endswith("/deployments/web")), None)
        if deployment is None:
            return
        wanted = deployment["spec"]["replicas"]
        counts = dict.fromkeys(("replicas", "updatedReplicas", "availableReplicas"), wanted)
        deployment["status"] = {"observedGeneration": deployment["metadata"]["generation"], **counts}
        meta = {"name": "web-1", "namespace": ID.name, "uid": "pod"}
        pod = {"metadata": meta, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        led = [{"conditions": {"ready": True}, "targetRef": {"uid": "pod"}}]
        for kind, item in (("Pod", pod), ("EndpointSlice", {"metadata": meta, "endpoints": led})):
            path = f"{PLURALS[kind].format(ID.name)}/web-1"
            self.objects.pop(path, None)
            if wanted:
                self.objects[path] = item


class Server:
    """The repository that the cluster reads."""

    url = "http://git/lab.git"

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def push(self, work: Worktree) -> None:
        with self.cluster.lock:
            self.cluster.branch.append(work.own.head())
            self.cluster.act()

    def delete(self, _branch: str) -> None:
        self.cluster.branch.clear()

    def branches(self) -> list[str]:
        return [ID.name] if self.cluster.branch else []


@pytest.fixture
def work(tmp_path: Path) -> Worktree:
    return Worktree(tmp_path, ID.name, ID.path)


@pytest.fixture
def cluster(work: Worktree) -> Cluster:
    return Cluster(work)


@pytest.fixture
def proof(cluster: Cluster, work: Worktree) -> Proof:
    remote = cast("Remote", Server(cluster))
    return Proof(cast("Api", cluster), remote, ID, work, "kind-lab", "image", 2.0)


def test_every_phase_holds_and_nothing_is_left(proof: Proof, cluster: Cluster) -> None:
    proof.run(phases.plan())
    assert [(each.phase.name, each.why, each.evidence) for each in proof.outcomes if not each.ok] == []
    assert proof.ok
    assert proof.managers == {"kustomize-controller"}
    assert all(None not in each.seconds().values() for each in proof.outcomes)
    assert {each.revision for each in proof.outcomes} == {f"{ID.name}@sha1:{sha}" for sha in cluster.branch}
    prove._sweep(proof.api, proof.remote, ID)
    prove._clean(proof.api, proof.remote, ID)
    assert (cluster.objects, cluster.branch) == ({}, [])


def test_what_a_hand_changed_and_flux_leaves_fails_the_drift(proof: Proof, cluster: Cluster) -> None:
    cluster.corrects = False
    proof.run(phases.plan(["drift"]))
    create, drift = proof.outcomes
    assert create.ok
    assert not drift.ok
    assert HAND in drift.evidence


def test_what_is_not_pruned_fails_the_end_and_the_rest_is_not_run(proof: Proof, cluster: Cluster) -> None:
    cluster.prunes = False
    proof.run(phases.plan(["destroy"]))
    assert [each.ok for each in proof.outcomes] == [True, False]
    assert f"Deployment {ID.name}/web" in proof.outcomes[1].evidence


def test_a_phase_after_a_failed_one_is_not_run(proof: Proof, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster, "text", lambda _: "another text")
    proof.run(phases.plan(["update"]))
    assert [each.ok for each in proof.outcomes] == [False, None]
    assert "create failed" in proof.outcomes[1].why


def test_a_killed_proof_is_found_by_the_next_one_and_a_kept_one_is_not(proof: Proof) -> None:
    proof.run(phases.plan(["create"]))
    assert sandbox.leftovers(proof.api, Names("000001")) == [ID]
    prove._keep(proof.api, ID)
    assert sandbox.leftovers(proof.api, Names("000001")) == []
