"""A Git host outside of the cluster as the source: SSH with a key in a Secret, and a check of the host's key."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.e2e.places import build_image
from tests.e2e.project import NAME, Project
from tests.e2e.test_tunnel import SSH_IMAGE, SSH_RECIPE, container

from threezone.core import process

pytestmark = pytest.mark.timeout(1800)

CONTEXT = f"kind-{NAME}"
HOST = "threezone-e2e-git-host"
SOURCE = "remote"  # Flux's objects
PATH = "local/gitops/clusters/remote"
SYSTEM = ("--namespace", "flux-system")


@dataclass(frozen=True)
class Outside:
    """A second project on the lab's cluster, whose source is the Git host, and the key files of its user."""

    project: Project
    files: Path

    def push(self, *options: str, check: bool = True) -> process.Completed:
        ssh = (
            f"ssh -i {self.files}/mine -o IdentitiesOnly=yes -o UserKnownHostsFile={self.files}/known -o BatchMode=yes"
        )
        env = {"GIT_SSH_COMMAND": ssh}
        return self.project.invoke("gitops.push", *options, check=check, env=env)

    def says(self, text: str) -> str:
        """Commit another text."""
        self.project.write(
            f"{PATH}/all.yaml",
            json.dumps(
                {
                    "apiVersion": "v1",
                    "kind": "ConfigMap",
                    "metadata": {"name": "from-outside", "namespace": "default"},
                    "data": {"text": text},
                }
            ),
        )
        return self.project.commit(text)

    def set(self, **settings: str) -> None:
        file = self.project.root / "invoke.yaml"
        content = yaml.safe_load(file.read_text())
        content["threezone"]["gitops"] |= settings
        file.write_text(yaml.safe_dump(content))

    def delivered(self) -> str:
        found = self.project.json("--namespace", "default", "get", "configmap", "from-outside", context=CONTEXT)
        return str(found["data"]["text"])


def key(file: Path) -> str:
    """Make a key without a passphrase, and return its public part."""
    process.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], timeout=30)
    return file.with_suffix(".pub").read_text()


@pytest.fixture
def outside(lab: Project, tmp_path: Path) -> Iterator[Outside]:
    build_image(SSH_IMAGE, SSH_RECIPE)
    files = tmp_path / "files"
    files.mkdir(mode=0o700)
    allowed = key(files / "mine") + key(files / "flux")
    key(files / "stranger")
    made = Outside(Project(tmp_path / "project", lab.kubeconfig, lab.state), files)
    with container(HOST, "--network", "kind", SSH_IMAGE, "/usr/sbin/sshd", "-D", "-e", "-oPasswordAuthentication=no"):
        inside = ["docker", "exec", "--interactive", HOST]
        process.run([*inside, "dd", "of=/root/.ssh/authorized_keys"], stdin=allowed, timeout=30)
        process.run([*inside, "git", "init", "--quiet", "--bare", "/srv/app.git"], timeout=30)
        address = process.run(
            ["docker", "inspect", "--format", "{{.NetworkSettings.Networks.kind.IPAddress}}", HOST], timeout=30
        ).stdout.strip()
        host_key = process.run([*inside, "cat", "/etc/ssh/ssh_host_ed25519_key.pub"], timeout=30).stdout
        (files / "known").write_text(f"{address} {host_key}")
        (files / "another").write_text(f"{address} {(files / 'stranger.pub').read_text()}")
        shutil.copytree(lab.root, made.project.root)
        url = f"ssh://root@{address}/srv/app.git"
        made.set(
            url=url, repository=SOURCE, path=PATH, credentials=str(files / "flux"), known_hosts=str(files / "known")
        )
        try:
            yield made
        finally:
            for kind in ("kustomization", "gitrepository", "secret"):
                name = f"{SOURCE}-git" if kind == "secret" else SOURCE
                lab.kubectl(*SYSTEM, "delete", kind, name, "--ignore-not-found")
            lab.invoke("up", "--yes")  # the other project has taken its delivery away


def test_flux_reads_from_an_ssh_host_and_reports_wrong_keys(outside: Outside) -> None:
    outside.says("first")
    file = outside.project.kubectl(*SYSTEM, "get", "gitrepositories", context=CONTEXT)
    assert SOURCE not in file.stdout
    applied = outside.push()
    sha = outside.project.run("git", "rev-parse", "HEAD").stdout.strip()
    assert f"applied main@sha1:{sha}" in applied.stdout
    assert outside.delivered() == "first"
    held = outside.project.json(*SYSTEM, "get", "secret", f"{SOURCE}-git", context=CONTEXT)
    assert set(held["data"]) == {"identity", "identity.pub", "known_hosts"}
    assert (outside.files / "flux").read_text() not in applied.stdout + applied.stderr
    assert "already there" in outside.push().stderr

    outside.set(credentials=str(outside.files / "stranger"))
    outside.says("second")
    refused = outside.push(check=False)
    assert refused.exit_code == 6
    assert "refuses Flux's credentials" in refused.stderr
    assert "unable to authenticate" in refused.stderr
    assert outside.delivered() == "first"

    # The user's git has the right key of the host; Flux gets another key for the same address.
    outside.set(credentials=str(outside.files / "flux"), known_hosts=str(outside.files / "another"))
    outside.says("third")
    refused = outside.push(check=False)
    assert refused.exit_code == 6
    assert "knownhosts: key mismatch" in refused.stderr
    assert outside.delivered() == "first"

    outside.set(known_hosts=str(outside.files / "known"))
    outside.says("fourth")
    outside.push()
    assert outside.delivered() == "fourth"


def test_a_push_that_is_no_fast_forward_is_rejected_by_the_ssh_host(outside: Outside) -> None:
    outside.says("first")
    outside.push()
    outside.says("second")
    outside.project.run("git", "commit", "--quiet", "--amend", "--message", "another second")
    outside.push()
    outside.project.run("git", "commit", "--quiet", "--amend", "--message", "yet another second")
    refused = outside.push(check=False)
    assert (refused.exit_code, "[rejected]" in refused.stderr) == (6, True)
    outside.push("--force")
