"""The type of every `--json` output, by its task. JSON Schemas are made of it, and tests hold real outputs to it."""

import msgspec.json

from threezone.cluster.inspect import Inspected
from threezone.delivery.release.release import Released
from threezone.engine.find import Engine
from threezone.tasks.outputs import delivery, lab, reach

TYPES: dict[str, object] = {
    "addon.proxy": lab.Proxy,
    "app.release": Released,
    "bundle.load": lab.LoadedBundle,
    "bundle.save": lab.SavedBundle,
    "ci.kubeconfig": lab.Credential,
    "cluster.inspect": Inspected,
    "cluster.list": list[lab.ListedCluster],
    "cluster.plan": lab.ClusterPlan,
    "cluster.status": lab.StatusCluster,
    "doctor": lab.Diagnosis,
    "engine.check": Engine,
    "flux.check": delivery.FluxCheck,
    "flux.status": delivery.FluxStatus,
    "gitops.check": delivery.Checks,
    "gitops.diff": delivery.Difference,
    "gitops.prove": delivery.Proof,
    "image.list": list[lab.ListedImage],
    "kubeconfig.check": reach.EntryCheck,
    "kubeconfig.show": reach.Entry,
    "preview.list": list[delivery.PreviewData],
    "preview.start": delivery.StartedPreview,
    "registry.status": list[lab.Registry],
    "report.list": list[delivery.Run],
    "secret.init": delivery.PreparedSecrets,
    "secret.list": list[delivery.EncryptedSecret],
    "secret.rotate": delivery.RotatedKey,
    "secret.show": list[delivery.EncryptedSecret],
    "status": lab.LabStatus,
    "tools.install": list[lab.Tool],
    "tools.list": list[lab.ListedTool],
    "tools.verify": list[lab.VerifiedTool],
    "zones.probe": reach.Probe,
    "zones.show": reach.Place,
}


def schema(task: str) -> dict[str, object]:
    """The JSON Schema of a task's `--json` output."""
    made = msgspec.json.schema(TYPES[task], schema_hook=_anything)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": f"threezone {task} --json", **made}


def _anything(kind: type) -> dict[str, object]:
    """The schema of an object of Kubernetes, which may have any fields."""
    if kind is object:
        return {"description": "any value"}
    raise NotImplementedError  # msgspec then says which type it is
