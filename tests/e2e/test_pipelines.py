"""The files of ci.gitlab, run by gitlab-ci-local on a shell and in job containers.

The jobs deliver to the shared lab, with the login of ci.kubeconfig and no other.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.e2e import node
from tests.e2e.places import CERTIFICATES, HOME, IMAGE, SOCKET
from tests.e2e.project import NAME, Project
from tests.e2e.test_registry import password, registry  # noqa: F401  a fixture

from threezone.core import process
from threezone.core.process import Completed
from threezone.images import registry_login

pytestmark = pytest.mark.timeout(3600)

CONTEXT = f"kind-{NAME}"
DOCUMENTS = Path(__file__).with_name("gitlab") / "documents.yml"
TEAM, TEAM_PORT = "threezone-ci", 26444
REPOSITORY = "app"  # and the name of Flux's objects
PATH = "local/gitops/clusters/prod"
ACCOUNT = "gitlab-ci-serviceaccount"
AS_THE_JOB = f"--as=system:serviceaccount:prod:{ACCOUNT}"
APP = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "app"},
    "spec": {
        "selector": {"matchLabels": {"app": "app"}},
        "template": {
            "metadata": {"labels": {"app": "app"}},
            "spec": {
                "terminationGracePeriodSeconds": 1,
                "containers": [{"name": "app", "image": "threezone/hello:lab", "imagePullPolicy": "IfNotPresent"}],
            },
        },
    },
}


@dataclass(frozen=True)
class Runner:
    """gitlab-ci-local in a project. It needs rsync, which runs in a container here."""

    project: Project
    shims: Path

    def run(
        self,
        job: str,
        *options: str,
        variables: Mapping[str, str] | None = None,
        file: str = ".gitlab-ci.yml",
        check: bool = True,
    ) -> Completed:
        """Run one job; it runs in a container if it names an image."""
        given = [f"--variable={name}={value}" for name, value in (variables or {}).items()]
        chosen = [f"--file={file}", f"--helper-image={IMAGE}", "--pull-policy=if-not-present", "--no-color"]
        done = process.run(
            [*node.command("gitlab-ci-local"), *chosen, *options, *given, job],
            cwd=self.project.root,
            env={
                **self.project.env,
                "PATH": f"{self.shims}{os.pathsep}{os.environ['PATH']}",
                "DOCKER_CONFIG": str(self.shims.with_name("docker")),  # the job logs in to a registry, and out again
            },
            timeout=900,
            check=False,
        )
        if check and done.exit_code != 0:
            pytest.fail(f"the job {job} ended with {done.exit_code}\n{done.stdout}\n{done.stderr}")
        return done

    def variables(self, **content: str) -> str:
        """Write the project's variables, and return the option for them. A leading slash means type File."""
        file = self.project.root.parent / "variables.yml"
        file.write_text(json.dumps(content))
        return f"--variables-file=../{file.name}"


@pytest.fixture(scope="module")
def runner(
    lab: Project,  # noqa: ARG001  the cluster that is delivered to is there first
    places: None,  # noqa: ARG001
    make_project: Callable[[str, int], Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Runner]:
    """A team's project with an app. The lab's Flux applies its commits in the namespace prod."""
    team = make_project(TEAM, TEAM_PORT)
    shims = tmp_path_factory.mktemp("shims")
    base = tmp_path_factory.getbasetemp()
    rsync = shims / "rsync"
    rsync.write_text(
        f'#!/bin/sh\nexec docker run --rm --network none --volume {base}:{base} --volume /tmp:/tmp --workdir "$PWD" '
        f'{IMAGE} rsync "$@"\n'
    )
    rsync.chmod(0o755)
    team.run("git", "remote", "add", "origin", "https://gitlab.example.invalid/team/app.git")
    team.write(f"{PATH}/app.yaml", json.dumps(APP))
    team.write(f"{PATH}/kustomization.yaml", json.dumps({"namespace": "prod", "resources": ["app.yaml"]}))
    team.invoke("ci.gitlab", "--runner", "shell")
    team.commit("An app, and its pipeline")
    team.invoke("down", "--yes", "--name", f"{TEAM}-ci")
    yield Runner(team, shims)
    team.invoke("down", "--yes", "--name", f"{TEAM}-ci")
    shutil.rmtree(team.root.with_name(f"{team.root.name}.tmp"), ignore_errors=True)


@dataclass(frozen=True)
class Delivery:
    """The repository for the team's commits: its address on this machine, and the password to push."""

    url: str
    password: str

    @property
    def variables(self) -> Mapping[str, str]:
        """The variables that a job gets in GitLab."""
        return {"DELIVERY_USER": "threezone", "DELIVERY_TOKEN": self.password}


@pytest.fixture(scope="module")
def delivery(lab: Project, runner: Runner) -> Iterator[Delivery]:
    """The repository that Flux follows, with the team's commit, and the objects of its delivery."""
    served = lab.invoke("gitops.serve", "--repository", REPOSITORY, "--forward").stdout
    url = next(line.split()[-1] for line in served.splitlines() if line.endswith(f"/{REPOSITORY}.git"))
    inside = next(line.split()[0] for line in served.splitlines() if f"/{REPOSITORY}.git" in line and " serves" in line)
    password = Path(re.search(r"password: (\S+)", served)[1]).read_text().strip()  # type: ignore[index]
    made = Delivery(url, password)
    push(runner.project, made)
    source = {"kind": "GitRepository", "name": REPOSITORY}
    metadata = {"name": REPOSITORY, "namespace": "flux-system"}
    objects = [
        {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "GitRepository",
            "metadata": metadata,
            "spec": {"url": inside, "ref": {"branch": "main"}, "interval": "2s"},
        },
        {
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1",
            "kind": "Kustomization",
            "metadata": metadata,
            "spec": {"sourceRef": source, "path": f"./{PATH}", "prune": True, "wait": True, "interval": "1m"},
        },
    ]
    lab.kubectl("create", "namespace", "prod")
    lab.write("flux.json", json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
    lab.kubectl("apply", "--filename", "flux.json")
    (lab.root / "flux.json").unlink()
    yield made
    lab.invoke("ci.kubeconfig", "--remove", "--kustomization", f"flux-system/{REPOSITORY}")
    lab.kubectl("delete", "--namespace", "flux-system", f"kustomization/{REPOSITORY}", f"gitrepository/{REPOSITORY}")
    lab.kubectl("delete", "namespace", "prod")
    # The next file that delivers has another project, whose first commit is no descendant of this one's.
    forget = ("git", "-C", f"/srv/git/{REPOSITORY}.git", "update-ref", "-d", "refs/heads/main")
    lab.kubectl("exec", "--namespace", "threezone", "deployment/git", "--", *forget)
    lab.invoke("gitops.serve", "--stop-forward")


def push(team: Project, to: Delivery) -> str:
    """Push the team's HEAD, and return the commit."""
    helper = '!f() { echo "username=$DELIVERY_USER"; echo "password=$DELIVERY_TOKEN"; }; f'
    with_it = ["git", "-c", "credential.helper=", "-c", f"credential.helper={helper}"]
    team.run(*with_it, "push", "--quiet", to.url, "HEAD:refs/heads/main", env=to.variables)
    return team.run("git", "rev-parse", "HEAD").stdout.strip()


def login(lab: Project, where: str, *options: str) -> Path:
    """A new login for the job."""
    lines = lab.invoke(
        "ci.kubeconfig", "--for", where, "--kustomization", f"flux-system/{REPOSITORY}", "--json", *options
    ).stdout
    return Path(json.loads(lines)["file"])


def may(lab: Project, verb: str, what: str, namespace: str) -> bool:
    asked = lab.kubectl("auth", "can-i", verb, what, "--namespace", namespace, AS_THE_JOB, check=False)
    return asked.stdout.strip() == "yes"


def container(lab: Project, *, socket: bool) -> list[str]:
    """The options that a runner's config.toml gives its job containers."""
    cache = Path(os.environ.get("THREEZONE_CACHE") or Path.home() / ".cache/threezone")
    volumes = [f"{cache}:{cache}:ro", f"{HOME}:/root", f"{CERTIFICATES}:{CERTIFICATES}:ro"]
    if socket:
        volumes.append(f"{SOCKET}:{SOCKET}")
    variables = {
        "THREEZONE_CACHE": "/root/threezone",
        "PATH": f"{lab.tool('kubectl').parent}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        **{name: str(CERTIFICATES) for name in ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")},
    }
    return [
        *(f"--volume={volume}" for volume in volumes),
        *(f"--variable={name}={value}" for name, value in variables.items()),
    ]


def test_the_job_of_the_documents_fails_and_ours_delivers_from_the_same_container(
    lab: Project, runner: Runner, delivery: Delivery
) -> None:
    theirs = runner.project.root / "documents.yml"
    content = yaml.safe_load(DOCUMENTS.read_text())
    content["deploy"]["image"] = IMAGE  # which has curl and kubectl, as theirs had
    theirs.write_text(yaml.safe_dump(content))
    failed = runner.run("deploy", *container(lab, socket=False), file=theirs.name, check=False)
    theirs.unlink()
    assert failed.exit_code != 0
    assert "curl: (6) Could not resolve host: kubernetes.docker.internal" in failed.stdout + failed.stderr
    assert re.search(r"FAIL +6\b", failed.stdout + failed.stderr)
    runner.project.invoke("ci.gitlab", "--runner", "socket")
    runner.project.invoke("ci.gitlab", "--runner", "socket", "--image", IMAGE)
    file = login(lab, "network")
    ours = runner.run(
        "deliver",
        runner.variables(PROD_KUBECONFIG=str(file), **delivery.variables),
        "--network=kind",
        *container(lab, socket=False),
        variables={"KUSTOMIZATION": f"flux-system/{REPOSITORY}", "DELIVERY_URL": delivery.url},
    )
    head = runner.project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert f"applied main@sha1:{head}" in ours.stdout
    assert lab.json("get", "deployment", "app", "-n", "prod")["status"]["availableReplicas"] == 1


def test_the_login_of_a_job_has_only_the_rights_it_needs(lab: Project, delivery: Delivery) -> None:  # noqa: ARG001
    file = login(lab, "network")
    assert file.stat().st_mode & 0o777 == 0o600
    document = yaml.safe_load(file.read_text())
    assert list(document["users"][0]["user"]) == ["token"]
    assert document["contexts"][0]["context"]["namespace"] == "prod"
    assert "nothing to do" in lab.invoke(
        "ci.kubeconfig", "--dry-run", "--kustomization", f"flux-system/{REPOSITORY}"
    ).stdout, "it is all there"  # fmt: skip
    look = [("prod", what) for what in ("pods", "pods/log", "events", "deployments.apps")]
    look += [("flux-system", f"kustomizations.kustomize.toolkit.fluxcd.io/{REPOSITORY}")]
    look += [("flux-system", "gitrepositories.source.toolkit.fluxcd.io"), ("flux-system", "deployments.apps")]
    assert [each for each in look if not may(lab, "get", each[1], each[0])] == []
    not_his = [
        ("get", "secrets", "prod"), ("create", "deployments.apps", "prod"), ("delete", "pods", "prod"),
        ("create", "pods/exec", "prod"), ("get", "secrets", "flux-system"), ("get", "pods", "flux-system"),
        ("patch", "kustomizations.kustomize.toolkit.fluxcd.io", "flux-system"),
        ("patch", "gitrepositories.source.toolkit.fluxcd.io", "flux-system"),
        ("get", "pods", "hello"), ("get", "pods", "kube-system"), ("create", "serviceaccounts/token", "prod"),
    ]  # fmt: skip
    assert [each for each in not_his if may(lab, *each)] == []


def test_a_github_workflow_is_written_in_the_same_project(runner: Runner) -> None:
    runner.project.invoke("ci.github")
    workflows = runner.project.root / ".github/workflows"
    assert "run: ./run invoke up --yes" in (workflows / "threezone.yml").read_text()
    shutil.rmtree(workflows.parent)


def nodes() -> str:
    """The containers of the cluster that the team's jobs make."""
    mine = ["docker", "ps", "--all", "--quiet", "--filter", f"label=io.x-k8s.kind.cluster={TEAM}-ci"]
    return process.run(mine, timeout=30).stdout


def artifacts(runner: Runner) -> set[str]:
    """The artifacts of the last run of the job `lab`."""
    return {path.name for path in (runner.project.root / ".gitlab-ci-local/artifacts/lab").iterdir()}


def test_a_shell_job_runs_and_proves_a_lab_with_the_image_of_the_app(runner: Runner) -> None:
    team = runner.project
    before = team.kubeconfig.read_bytes()
    team.write("Dockerfile", "FROM threezone/hello:lab\nLABEL of=team\n")
    team.invoke("ci.gitlab", "--runner", "shell")
    team.commit("An image of the app")
    done = runner.run("lab", variables={"PHASES": "create,destroy"})
    assert artifacts(runner) >= {"proof.html", "proof.xml"}
    assert "lab-logs.tar.gz" not in artifacts(runner)
    assert 'failures="0"' in (team.root / ".gitlab-ci-local/artifacts/lab/proof.xml").read_text()
    assert "app:lab" in done.stdout, "the app's image was loaded"
    assert f"the lab {TEAM}-ci is gone" in done.stdout
    assert nodes() == ""
    assert team.kubeconfig.read_bytes() == before, "the jobs have a file of their own"
    process.run(["docker", "image", "rm", "app:lab"], timeout=60)


def test_a_container_with_the_socket_uses_a_kept_lab_and_collects_logs(lab: Project, runner: Runner) -> None:
    here = Runner(lab, runner.shims)
    lab.run("git", "remote", "add", "origin", "https://gitlab.example.invalid/team/lab.git")
    lab.invoke("ci.gitlab", "--runner", "socket", "--image", IMAGE)
    try:
        where = container(lab, socket=True)
        kept = {"LAB": NAME, "KEEP_LAB": "yes"}
        proved = here.run("lab", *where, variables={**kept, "PHASES": "create,destroy"})
        assert f"https://{NAME}-control-plane:6443 proved" in proved.stderr, "it has joined the network kind"
        assert artifacts(here) >= {"proof.html", "proof.xml"}
        failed = here.run("lab", *where, variables={**kept, "PHASES": "nonsense"}, check=False)
        assert failed.exit_code != 0
        assert "lab-logs.tar.gz" in artifacts(here)
        assert lab.json("get", "nodes")["items"], "the lab is kept"
    finally:
        lab.run("git", "remote", "remove", "origin")
        (lab.root / ".gitlab-ci.yml").unlink()
        shutil.rmtree(lab.root / ".gitlab-ci-local")


def test_a_commit_becomes_an_image_and_a_release_and_repeating_changes_nothing(
    lab: Project,
    runner: Runner,
    delivery: Delivery,
    registry: str,  # noqa: F811
) -> None:
    team = runner.project
    team.write("Dockerfile", "FROM threezone/hello:lab\nLABEL of=team\n")
    team.write(f"{PATH}/app.yaml", json.dumps(APP).replace("threezone/hello:lab", "app"))
    team.write(
        f"{PATH}/kustomization.yaml",
        json.dumps({"namespace": "prod", "resources": ["app.yaml"], "components": ["../../release"]}),
    )
    team.invoke("ci.gitlab", "--runner", "shell")
    commit = team.commit("Run the image of each commit")
    known = runner.variables(
        PROD_KUBECONFIG=str(login(lab, "host")), CI_REGISTRY_PASSWORD=password(lab, registry), **delivery.variables
    )
    at = {
        "IMAGE": f"{registry}/team/app",
        "CI_REGISTRY": registry,
        "CI_REGISTRY_USER": registry_login.USER,
        "KUSTOMIZATION": f"flux-system/{REPOSITORY}",
        "DELIVERY_URL": delivery.url,
    }
    runner.run("build", known, variables=at)
    done = runner.run("deliver", known, variables=at)
    release = team.run("git", "rev-parse", "HEAD").stdout.strip()
    assert release != commit
    assert f"applied main@sha1:{release}" in done.stdout
    pods = lab.json("get", "pods", "-n", "prod")["items"]
    living = [pod for pod in pods if not pod["metadata"].get("deletionTimestamp")]
    assert [pod["spec"]["containers"][0]["image"] for pod in living] == [f"{registry}/team/app:{commit}"]
    team.run("git", "reset", "--quiet", "--hard", commit)
    again = runner.run("deliver", known, variables=at)
    assert team.run("git", "rev-parse", "HEAD").stdout.strip() == release, "the same commit is made again"
    assert f"applied main@sha1:{release}" in again.stdout


def test_missing_rights_of_a_job_are_named_and_restored(lab: Project, runner: Runner, delivery: Delivery) -> None:
    team = runner.project
    known = runner.variables(PROD_KUBECONFIG=str(login(lab, "host")), **delivery.variables)
    at = {"KUSTOMIZATION": f"flux-system/{REPOSITORY}", "DELIVERY_URL": delivery.url}
    (team.root / "Dockerfile").unlink()
    team.commit("No image any more")
    push(team, delivery)
    lab.kubectl("delete", "rolebinding", f"prod-{ACCOUNT}", "--namespace", "flux-system")
    failed = runner.run("deliver", known, check=False, variables=at)
    assert failed.exit_code != 0
    lines = failed.stdout + failed.stderr
    assert (
        f"error: the service account prod/{ACCOUNT} may not list deployments (apps) in the namespace flux-system"
        in lines
    )
    assert f"./run invoke ci.kubeconfig --namespace prod --account {ACCOUNT}" in lines
    assert "deployment.apps/app" in lines, "and what the job may see is in its log"
    elsewhere = ("ci.kubeconfig", "--context", CONTEXT, "--yes")  # as for a cluster that is not ours
    follows = ("--kustomization", f"flux-system/{REPOSITORY}")
    planned = lab.invoke(*elsewhere, *follows, "--dry-run").stdout
    assert f"the RoleBinding flux-system/prod-{ACCOUNT}" in planned, "the one that is gone"
    file = Path(lab.invoke(*elsewhere, *follows).stdout.splitlines()[0])
    as_the_job = {"KUBECONFIG": str(file)}
    wait = ("gitops.wait", "HEAD", "--context", CONTEXT, "--kustomization", f"flux-system/{REPOSITORY}")
    assert "applied main@sha1:" in team.invoke(*wait, env=as_the_job).stdout
    # A token with a wrong signature. (A token whose account is deleted still works for ten seconds, by a cache.)
    head, dot, signature = yaml.safe_load(file.read_text())["users"][0]["user"]["token"].rpartition(".")
    file.write_text(file.read_text().replace(head + dot + signature, head + dot + signature[::-1]))
    refused = team.invoke(*wait, env=as_the_job, check=False)
    assert refused.exit_code == 4
    assert "the API server does not accept this login" in refused.stderr
    assert "./run invoke ci.kubeconfig" in refused.stderr
    another = ("--account", "github-ci")
    lab.invoke(*elsewhere, *follows, *another)
    lab.invoke(*elsewhere, *another, "--remove")
    assert f"the account prod/{ACCOUNT} is gone" in lab.invoke(*elsewhere, "--remove").stdout
    left = lab.kubectl("get", "serviceaccounts", "--namespace", "prod", "-o", "name").stdout.split()
    assert left == ["serviceaccount/default"]
