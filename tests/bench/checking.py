"""`gitops.check` and `gitops.diff` compared with the plain commands."""

from functools import partial

from tests.bench.project import FIRST, NAME, Bench
from tests.bench.rows import Row, seconds

from threezone.core import events, process

ROOT = """
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: lab, namespace: flux-system}
spec: {path: ./local/gitops/clusters/local, prune: true, interval: 10m, sourceRef: {kind: GitRepository, name: lab}}
"""


def checking(bench: Bench, runs: int) -> list[Row]:
    """Rendering and a dry run by `flux build` and `kubectl`, and the live difference by `kubectl diff`."""
    file = bench.root.parent / "root.yaml"
    file.write_text(ROOT)
    build = ["flux", "build", "kustomization", "lab", "--path=local/gitops/clusters/local", "--dry-run", "--recursive"]
    build += [f"--kustomization-file={file}", "--local-sources=GitRepository/flux-system/lab=./"]
    context = f"--context=kind-{NAME}"

    def plain(*argv: str) -> None:
        manifests = bench.run(*build).stdout
        command = ["kubectl", context, *argv, "--server-side", "--force-conflicts", "--filename=-"]
        process.run(command, stdin=manifests, cwd=bench.root, env=bench.env, timeout=120)

    ours, raw, shown, raw_shown = [], [], [], []
    with events.step("check and diff") as step:
        step.say("bringing the lab up")
        bench.invoke("up", "--yes", timeout=FIRST)
        bench.invoke("gitops.check")  # keeps the schemas, once for each cluster
        for number in range(1, runs + 1):
            step.say(f"run {number} of {runs}")
            raw.append(seconds(partial(plain, "apply", "--dry-run=server", "--field-manager=kustomize-controller")))
            ours.append(seconds(lambda: bench.invoke("gitops.check")))
            raw_shown.append(seconds(partial(plain, "diff", "--field-manager=kustomize-controller")))
            shown.append(seconds(lambda: bench.invoke("gitops.diff")))
    return [
        Row("`gitops.check`", "`flux build`, `kubectl apply --dry-run=server`", tuple(ours), tuple(raw), 1.5),
        Row("`gitops.diff`", "`flux build`, `kubectl diff`", tuple(shown), tuple(raw_shown), 1.5),
    ]
