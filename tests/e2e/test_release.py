"""app.release: from a changed line of the user's own app to the running pod, by one command and one commit."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.e2e.project import Project, free_port, registry_of_others_kept

from threezone.core import process
from threezone.images.build import APP

pytestmark = pytest.mark.timeout(1800)

IMAGE = "threezone-e2e/shop"
HOME = "local/gitops/apps/shop"
KUSTOMIZATION = f"{HOME}/kustomization.yaml"
CLUSTER = "local/gitops/clusters/local/kustomization.yaml"
REGISTRY, PORT = "threezone-e2e-release", free_port(15003, 25003)
# The sample app is the base: every engine that runs these tests has it. Its label would make the image one of ours.
DOCKERFILE = f"FROM {APP}\nLABEL io.threezone.managed=\nCOPY index.html /www/index.html\n"
MANIFESTS = f"""
apiVersion: v1
kind: Namespace
metadata: {{name: shop}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {{name: shop}}
spec:
  selector: {{matchLabels: {{app: shop}}}}
  template:
    metadata: {{labels: {{app: shop}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
        - name: shop
          image: {IMAGE}
          readinessProbe: {{httpGet: {{path: /, port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: shop}}
spec: {{selector: {{app: shop}}, ports: [{{port: 80, targetPort: 8080}}]}}
"""
TOP = "# The shop\nnamespace: shop\nresources:\n  - all.yaml # everything\n"
RELEASE = ("app.release", "--build", "shop", "--image", IMAGE)


@pytest.fixture(scope="module")
def shop(lab: Project) -> Iterator[Project]:
    """The lab with an app of the user's own, committed and never released."""
    lab.invoke("image.load", "hello")  # gives the base its name
    cluster = (lab.root / CLUSTER).read_text()
    lab.write("shop/Dockerfile", DOCKERFILE)
    lab.write("shop/index.html", "line 0\n")
    lab.write(KUSTOMIZATION, TOP)
    lab.write(f"{HOME}/all.yaml", MANIFESTS)
    lab.write(CLUSTER, f"{cluster}  - ../../apps/shop\n")
    lab.commit("A shop")
    yield lab
    lab.write(CLUSTER, cluster)
    lab.run("git", "rm", "-r", "--quiet", "--force", "shop", HOME)
    lab.commit("No shop")
    lab.invoke("gitops.push")
    names = process.run(["docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}"], timeout=30).stdout.split()
    ours = [name for name in names if IMAGE in name]
    process.run(["docker", "image", "rm", *ours], timeout=60)


def released(shop: Project, line: str, *options: str) -> dict[str, Any]:
    """Change the line, release it, and return what the task says."""
    shop.write("shop/index.html", f"{line}\n")
    data: dict[str, Any] = json.loads(shop.invoke(*RELEASE, "--commit", "--json", *options).stdout)
    return data


def answer(shop: Project) -> str:
    return shop.kubectl("get", "--raw", "/api/v1/namespaces/shop/services/shop:80/proxy/").stdout.strip()


def pod(shop: Project) -> tuple[str, str]:
    """The uid and the image of the app's only pod that is not about to end."""
    pods = shop.json("get", "pods", "--namespace", "shop")["items"]
    (found,) = (each for each in pods if "deletionTimestamp" not in each["metadata"])
    return found["metadata"]["uid"], found["spec"]["containers"][0]["image"]


def head(shop: Project) -> str:
    return shop.run("git", "rev-parse", "HEAD").stdout.strip()


def changes(shop: Project) -> tuple[str, ...]:
    """What is staged, changed and untracked."""
    asked = (("status", "--porcelain"), ("diff",), ("diff", "--cached"))
    return tuple(shop.run("git", *argv).stdout for argv in asked)


@contextmanager
def nothing_committed(shop: Project) -> Iterator[None]:
    """The block leaves the commits, the kustomization and the pod as they are."""
    before = head(shop), (shop.root / KUSTOMIZATION).read_text(), pod(shop)
    yield
    assert (head(shop), (shop.root / KUSTOMIZATION).read_text(), pod(shop)) == before


def test_a_changed_line_runs_after_one_command(shop: Project) -> None:
    for line in ("line 1", "line 2"):
        before = head(shop)
        done = released(shop, line)
        assert answer(shop) == line
        assert pod(shop)[1] == done["image"]
        assert done["image"].startswith(f"{IMAGE}:content-")
        assert (done["committed"], done["delivered"], done["file"]) == (True, True, KUSTOMIZATION)
        assert shop.run("git", "rev-parse", "HEAD~1").stdout.strip() == before
        assert done["commit"] == head(shop)
        assert done["revision"] == f"main@sha1:{head(shop)}"
        files = shop.run("git", "show", "--name-only", "--format=%an", "HEAD").stdout.split()
        assert files == ["A", "User", KUSTOMIZATION]
        text = (shop.root / KUSTOMIZATION).read_text()
        assert text.startswith(TOP), "comments and order are kept"
        assert text.count("images:") == 1


def test_again_without_a_change_there_is_nothing_to_do(shop: Project) -> None:
    with nothing_committed(shop):
        done = shop.invoke("app.release", "--build", "shop", "--commit")  # the only image that has an entry
    assert done.stdout.startswith("nothing to do")


def test_a_broken_dockerfile_commits_nothing(shop: Project) -> None:
    shop.write("shop/Dockerfile", f"{DOCKERFILE}COPY no-such-file /\n")
    with nothing_committed(shop):
        done = shop.invoke(*RELEASE, "--commit", check=False)
    shop.write("shop/Dockerfile", DOCKERFILE)
    assert done.exit_code == 7
    assert "no-such-file" in done.stderr


def test_other_changes_of_the_user_stay_as_they_are(shop: Project) -> None:
    for name in ("README.md", "LICENSE"):
        shop.write(name, "staged\n")
    shop.run("git", "add", "README.md", "LICENSE")
    for name in ("LICENSE", "noxfile.py", "new-file"):
        shop.write(name, "changed\n")
    shop.write("shop/index.html", "line 3\n")
    before = changes(shop)
    assert released(shop, "line 3")["committed"]
    assert answer(shop) == "line 3"
    assert changes(shop) == before
    assert shop.run("git", "show", "--name-only", "--format=", "HEAD").stdout.split() == [KUSTOMIZATION]
    shop.run("git", "reset", "--hard", "--quiet", "HEAD")
    (shop.root / "new-file").unlink()


def test_a_change_of_the_user_in_the_same_file_is_not_committed(shop: Project) -> None:
    text = (shop.root / KUSTOMIZATION).read_text()
    shop.write(KUSTOMIZATION, f"{text}commonAnnotations: {{a: b}}\n")
    with nothing_committed(shop):
        done = shop.invoke(*RELEASE, "--commit", check=False)
    shop.write(KUSTOMIZATION, text)
    assert done.exit_code == 2
    assert KUSTOMIZATION in done.stderr


def test_a_hook_that_refuses_leaves_everything_as_it_was(shop: Project) -> None:
    hook = shop.root / ".git/hooks/pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\necho frozen until Monday >&2\nexit 1\n")
    hook.chmod(0o755)
    shop.write("shop/index.html", "line 4\n")
    with nothing_committed(shop):
        done = shop.invoke(*RELEASE, "--commit", check=False)
    hook.unlink()
    assert done.exit_code == 6
    assert "frozen until Monday" in done.stderr


def test_a_release_continues_where_another_was_killed(shop: Project) -> None:
    text = (shop.root / KUSTOMIZATION).read_text()
    shop.write(KUSTOMIZATION, text.replace('newTag: "content-', 'newTag: "content-0'))  # written, not committed
    assert released(shop, "line 5")["committed"]
    assert answer(shop) == "line 5"
    shop.write("shop/index.html", "line 6\n")
    (shop.root / "invoke.yaml").rename(shop.root / "kept.yaml")
    settings = yaml.safe_load((shop.root / "kept.yaml").read_text())
    settings["threezone"]["gitops"]["timeout"] = 1
    shop.write("invoke.yaml", yaml.safe_dump(settings))
    late = shop.invoke(*RELEASE, "--commit", check=False)  # committed and pushed, but not awaited
    (shop.root / "kept.yaml").rename(shop.root / "invoke.yaml")
    committed = head(shop)
    done = released(shop, "line 6")
    assert (late.exit_code, done["committed"], done["commit"]) == (6, False, committed)
    assert answer(shop) == "line 6"


def test_an_image_that_flux_sets_otherwise_is_no_success(shop: Project) -> None:
    before = pod(shop)[1]
    patch = {"spec": {"images": [{"name": IMAGE, "newTag": before.rpartition(":")[2]}]}}
    set_images = ("patch", "kustomization", "lab", "--namespace=flux-system", "--type=merge", "--patch")
    try:
        shop.kubectl(*set_images, json.dumps(patch))
        shop.write("shop/index.html", "a line that does not arrive\n")
        failed = shop.invoke(*RELEASE, "--commit", check=False)
        assert (failed.exit_code, before in failed.stderr) == (6, True), failed.stderr
    finally:
        shop.kubectl(*set_images, json.dumps({"spec": {"images": None}}))
    released(shop, "a line that arrives")
    assert answer(shop) == "a line that arrives"


def test_without_a_yes_nothing_is_committed(shop: Project) -> None:
    shop.write("shop/index.html", "line 7\n")
    with nothing_committed(shop):
        asked = shop.invoke(*RELEASE, check=False)
        planned = shop.invoke("app.release", "--build", "shop", "--dry-run")
    assert asked.exit_code == 8
    assert [line[0] for line in planned.stdout.splitlines() if not line.startswith(" ")] == ["+", "+", "!", "+", "+"]
    assert f"docker build --file {shop.root}/shop/Dockerfile" in planned.stdout


@pytest.mark.parametrize(("directory", "image", "words"), [("shop", "nobody", IMAGE), ("local", IMAGE, "Dockerfile")])
def test_what_is_not_there_is_refused_with_the_choices(shop: Project, directory: str, image: str, words: str) -> None:
    with nothing_committed(shop):
        done = shop.invoke("app.release", "--build", directory, "--image", image, "--commit", check=False)
    assert done.exit_code == 2
    assert words in done.stderr


@pytest.fixture
def registry(shop: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A registry of its own, to which docker is not logged in; its address in image names."""
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    before = (shop.root / "invoke.yaml").read_text()
    settings = yaml.safe_load(before)
    settings["threezone"]["registry"] = {"name": REGISTRY, "port": PORT}
    shop.write("invoke.yaml", yaml.safe_dump(settings))
    with registry_of_others_kept():
        shop.invoke("registry.stop", "--delete", "--yes")
        shop.invoke("registry.start", timeout=1800)
        yield f"localhost:{PORT}"
        shop.invoke("registry.stop", "--delete", "--yes")
    shop.write("invoke.yaml", before)


def test_the_pod_pulls_from_the_local_registry_while_it_runs(shop: Project, registry: str) -> None:
    done = released(shop, "line 8")
    assert answer(shop) == "line 8"
    assert done["image"].startswith(f"{registry}/{IMAGE}:content-")
    assert pod(shop)[1] == done["image"]
    with nothing_committed(shop):
        assert shop.invoke(*RELEASE, "--commit").stdout.startswith("nothing to do")
    shop.invoke("registry.stop")
    assert released(shop, "line 9")["image"].startswith(f"{IMAGE}:content-")
    assert answer(shop) == "line 9"


def test_watch_releases_each_change_and_survives_a_failure(shop: Project) -> None:
    lines: list[str] = []
    command = ["./run", "invoke", "app.release", "--build", "shop", "--commit", "--watch"]
    with process.Running(command, cwd=shop.root, env=shop.env, on_line=lines.append):
        for line in ("line 10", "line 11"):
            shop.write("shop/index.html", f"{line}\n")
            wait_for(lines, "runs: main@sha1:")
            assert answer(shop) == line
            shop.write("shop/Dockerfile", "NONSENSE\n")
            wait_for(lines, "could not be built")
            shop.write("shop/Dockerfile", DOCKERFILE)


def wait_for(lines: list[str], words: str) -> None:
    """Wait until a line of the watch has these words, and forget the lines."""
    deadline = time.monotonic() + 60
    while not any(words in line for line in lines):
        assert time.monotonic() < deadline, lines
        time.sleep(0.1)
    lines.clear()
