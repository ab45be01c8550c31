"""`app.release` compared with the plain commands that bring a changed line to a running pod."""

from functools import partial

from tests.bench.project import FIRST, NAME, Bench
from tests.bench.rows import Row, seconds
from tests.e2e.test_release import CLUSTER, DOCKERFILE, HOME, IMAGE, MANIFESTS, TOP

from threezone.core import events
from threezone.images.build import APP

PLAIN = f"{IMAGE}-plain"


def releasing(bench: Bench, runs: int) -> list[Row]:
    """A changed line until a pod runs it; the plain commands do it for the same app in a namespace without Flux."""
    context, by_hand = f"--context=kind-{NAME}", bench.root.parent / "plain.yaml"
    kubectl = ("kubectl", context, "--namespace=plain")
    ours: list[float] = []
    raw: list[float] = []
    unchecked: list[float] = []

    def write(text: str) -> None:
        (bench.root / "shop/index.html").write_text(f"{text}\n")

    def plain(number: int) -> None:
        image = f"{PLAIN}:{number}"
        bench.each(
            (
                ("docker", "build", "--tag", image, "shop"),
                ("kind", "load", "docker-image", "--name", NAME, image),
                (*kubectl, "set", "image", "deployment/shop", f"shop={image}"),
                (*kubectl, "rollout", "status", "deployment/shop", "--timeout=180s"),
            )
        )

    def release(*options: str) -> None:
        bench.invoke("app.release", "--build", "shop", "--image", IMAGE, "--commit", *options)

    with events.step("changed line to running") as step:
        step.say("bringing the lab up")
        bench.invoke("up", "--yes", timeout=FIRST)
        bench.invoke("image.load", "hello")  # gives the base its name
        _write_app(bench)
        by_hand.write_text(MANIFESTS.replace("name: shop}\n---", "name: plain}\n---", 1).replace(IMAGE, APP))
        bench.run(*kubectl, "apply", f"--filename={by_hand}")
        for number in range(runs + 1):
            step.say(f"run {number} of {runs}")
            for kind, work, took in (
                ("plain", partial(plain, number), raw),
                ("ours", release, ours),
                ("unchecked", partial(release, "--no-check"), unchecked),
            ):
                write(f"{kind} {number}")
                took.append(seconds(work))
    _remove_images(bench)
    against = "`docker build`, `kind load`, `kubectl set image`, `kubectl rollout status`"
    # The first run of each makes what is kept afterwards.
    return [
        Row("changed line to running, `app.release`", against, tuple(ours[1:]), tuple(raw[1:]), 1.3),
        Row("the same, `--no-check`", against, tuple(unchecked[1:]), tuple(raw[1:])),
    ]


def _write_app(bench: Bench) -> None:
    """Commit the app of the e2e tests."""
    for directory in ("shop", HOME):
        (bench.root / directory).mkdir()
    (bench.root / "shop/Dockerfile").write_text(DOCKERFILE)
    (bench.root / "shop/index.html").write_text("line 0\n")
    (bench.root / HOME / "kustomization.yaml").write_text(TOP)
    (bench.root / HOME / "all.yaml").write_text(MANIFESTS)
    cluster = bench.root / CLUSTER
    cluster.write_text(f"{cluster.read_text()}  - ../../apps/shop\n")
    bench.run("git", "add", "--all")
    bench.run("git", "commit", "--quiet", "--message", "A shop")


def _remove_images(bench: Bench) -> None:
    """Remove what was built here from the engine."""
    names = bench.run("docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}").stdout.split()
    bench.run("docker", "image", "rm", *(name for name in names if name.startswith(IMAGE)))
