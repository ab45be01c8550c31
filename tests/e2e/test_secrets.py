"""secret.*: what is encrypted in a commit reaches the pod, and nobody else."""

from __future__ import annotations

import base64
import json
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.project import Project

pytestmark = pytest.mark.timeout(1800)

CLUSTER = "local/gitops/clusters/local/kustomization.yaml"
FILE = "local/gitops/clusters/local/shop.sops.yaml"
VALUE, NEW = "correct-horse-battery", "staple-of-tomorrow"
FLUX = ("--namespace", "flux-system")
# The pod prints its Secret for as long as it runs; its image is in every node of a lab.
POD = """
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Pod
metadata: {name: reader, namespace: shop}
spec:
  terminationGracePeriodSeconds: 1
  containers:
    - name: reader
      image: %s
      command: [busybox, httpd, -f, -p, "8081", -h, /secret]
      volumeMounts: [{name: secret, mountPath: /secret, readOnly: true}]
  volumes: [{name: secret, secret: {secretName: shop}}]
"""


@pytest.fixture(scope="module")
def shop(lab: Project) -> Iterator[Project]:
    """The lab, with the manifest of a pod that reads a Secret; the first test makes that."""
    cluster = (lab.root / CLUSTER).read_text()
    pods = lab.json("get", "deployments", "--all-namespaces")["items"]
    (image,) = {
        each["spec"]["template"]["spec"]["containers"][0]["image"]
        for each in pods
        if each["metadata"]["name"] == "hello"
    }
    lab.write("local/gitops/apps/secret/pod.yaml", POD % image)
    lab.write(CLUSTER, f"{cluster}  - ../../apps/secret/pod.yaml\n")
    yield lab
    lab.write(CLUSTER, cluster)
    lab.run("git", "rm", "-r", "--quiet", "--force", "local/gitops/apps/secret", FILE, ".sops.yaml")
    lab.commit("No secret")
    lab.invoke("gitops.push")


def key_file(shop: Project) -> Path:
    return Path(json.loads(shop.invoke("secret.init", "--json").stdout)["keyFile"])


def read_by_pod(shop: Project, key: str = "password") -> str:
    raw = f"/api/v1/namespaces/shop/pods/reader:8081/proxy/{key}"
    return shop.kubectl("get", "--raw", raw).stdout


def wait_for(shop: Project, value: str) -> None:
    """Wait until the kubelet has brought a changed value to the pod: up to a minute and its cache (kubelet's sync)."""
    deadline = time.monotonic() + 180
    while read_by_pod(shop) != value:
        assert time.monotonic() < deadline
        time.sleep(1)


def live(shop: Project, key: str) -> bytes:
    return base64.b64decode(shop.json("get", "secret", "shop", "--namespace", "shop")["data"][key])


def test_flux_decrypts_what_was_committed(shop: Project) -> None:
    (shop.root / "password.txt").write_text(VALUE)
    shop.invoke("secret.init", timeout=1800)
    shop.invoke("secret.set", "shop", "--value", "password=@password.txt", "--namespace", "shop")
    (shop.root / "password.txt").unlink()
    shop.commit("A secret")
    shop.invoke("gitops.push")
    shop.kubectl("wait", "--namespace", "shop", "--for=condition=Ready", "pod/reader", "--timeout=60s")
    assert read_by_pod(shop) == VALUE
    assert shop.invoke("secret.show", "shop", "--key", "password").stdout == VALUE
    committed = shop.run("git", "grep", "--fixed-strings", VALUE, "HEAD", "--", "local", check=False).stdout
    assert committed == ""


def test_the_key_is_private_and_outside_of_the_repository(shop: Project) -> None:
    key = key_file(shop)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert not key.is_relative_to(shop.root)
    secret = shop.json("get", "secret", "sops-age", *FLUX)
    assert base64.b64decode(secret["data"]["threezone.agekey"]).decode() == key.read_text()
    (identity,) = (line for line in key.read_text().splitlines() if line.startswith("AGE-SECRET-KEY-"))
    assert identity not in shop.run("git", "log", "--patch", "--all").stdout


def test_the_list_needs_no_key(shop: Project) -> None:
    key = key_file(shop)
    away = key.rename(key.with_suffix(".away"))
    try:
        (listed,) = json.loads(shop.invoke("secret.list", "--json").stdout)
        refused = shop.invoke("secret.show", "shop", "--key", "password", check=False)
    finally:
        away.rename(key)
    assert (listed["name"], listed["keys"], listed["thisLab"]) == ("shop", ["password"], False)
    assert refused.exit_code == 6
    assert VALUE not in refused.stdout + refused.stderr


def test_a_lost_key_comes_back_from_the_lab(shop: Project) -> None:
    key = key_file(shop)
    before = key.read_text()
    key.unlink()
    assert not json.loads(shop.invoke("secret.init", "--json").stdout)["new"]
    assert set(before.splitlines()) <= set(key.read_text().splitlines())
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_text_and_bytes_arrive_as_they_are(shop: Project) -> None:
    (shop.root / "bytes.bin").write_bytes(b"\x00\xff")
    done = shop.invoke("secret.set", "shop", "--value", "key=@bytes.bin", "--value", "text=@run")
    (shop.root / "bytes.bin").unlink()
    assert "ends with a line break" in done.stderr
    shop.invoke("secret.set", "shop", "--value", "password=-", stdin=VALUE)
    shop.commit("More keys")
    shop.invoke("gitops.push")
    assert live(shop, "key") == b"\x00\xff"
    assert live(shop, "text") == (shop.root / "run").read_bytes()
    assert live(shop, "password") == VALUE.encode()


def test_a_value_in_an_argument_is_refused(shop: Project) -> None:
    done = shop.invoke("secret.set", "shop", "--value", f"password={NEW}", check=False)
    assert done.exit_code == 2
    assert NEW not in done.stdout + done.stderr


def test_a_secret_in_clear_text_is_not_pushed(shop: Project) -> None:
    plain = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "plain", "namespace": "shop"}}
    before = (shop.root / CLUSTER).read_text()
    shop.write("local/gitops/apps/secret/plain.yaml", json.dumps(plain | {"stringData": {"a": NEW}}))
    shop.write(CLUSTER, f"{before}  - ../../apps/secret/plain.yaml\n")
    shop.commit("A secret in clear text")
    done = shop.invoke("gitops.push", check=False)
    shop.run("git", "reset", "--quiet", "--hard", "HEAD~1")
    assert done.exit_code == 6
    assert "secret.set" in done.stderr
    assert NEW not in done.stdout + done.stderr


def test_the_editor_gets_clear_text_and_leaves_none(shop: Project, tmp_path: Path) -> None:
    script = tmp_path / "editor"
    script.write_text(f'#!/bin/sh\nls -l "$1" > {tmp_path}/listed\nsed -i s/{VALUE}/{NEW}/ "$1"\n')
    script.chmod(0o755)
    shop.invoke("secret.edit", "shop", env={"EDITOR": str(script)})
    listed = (tmp_path / "listed").read_text()
    assert listed.startswith("-rw-------")
    assert not Path(listed.split()[-1]).exists()
    assert shop.invoke("secret.show", "shop", "--key", "password").stdout == NEW
    shop.run("git", "checkout", "--quiet", "--", FILE)


def test_the_pod_has_the_new_value_after_a_rotation(shop: Project) -> None:
    (old,) = json.loads(shop.invoke("secret.show", "shop", "--json").stdout)[0]["recipients"]
    shop.invoke("secret.rotate")
    shop.invoke("secret.set", "shop", "--value", "password=-", stdin=NEW)
    (new,) = json.loads(shop.invoke("secret.show", "shop", "--json").stdout)[0]["recipients"]
    assert new != old
    assert old not in (shop.root / ".sops.yaml").read_text()
    shop.commit("Another key")
    shop.invoke("gitops.push")
    wait_for(shop, NEW)


def test_an_interrupted_rotation_is_continued(shop: Project) -> None:
    before = key_file(shop).read_text()
    shop.invoke("secret.rotate")
    rotated = key_file(shop).read_text()
    assert rotated.endswith(before)
    shop.run("git", "checkout", "--quiet", "--", FILE, ".sops.yaml")  # as a run leaves them that was killed
    done = json.loads(shop.invoke("secret.rotate", "--json").stdout)
    assert (done["new"], done["files"]) == (False, [FILE])
    assert key_file(shop).read_text() == rotated
    assert shop.invoke("secret.show", "shop", "--key", "password").stdout == NEW
    shop.commit("The third key")
    shop.invoke("gitops.push")


def test_a_person_of_the_team_can_read(shop: Project, tmp_path: Path) -> None:
    (keygen,) = json.loads(shop.invoke("tools.install", "--name", "age-keygen", "--json").stdout)
    (sops,) = json.loads(shop.invoke("tools.install", "--name", "sops", "--json").stdout)
    theirs = tmp_path / "theirs.key"
    shop.run(keygen["path"], "-o", str(theirs))
    recipient = shop.run(keygen["path"], "-y", str(theirs)).stdout.strip()
    done = json.loads(shop.invoke("secret.init", "--recipient", recipient, "--json").stdout)
    assert recipient in done["recipients"]
    assert done["encryptedAgain"] == [FILE]
    clear = shop.run(sops["path"], "decrypt", FILE, env={"SOPS_AGE_KEY_FILE": str(theirs)}).stdout
    assert NEW in clear
    shop.commit("A person of the team")
    shop.invoke("gitops.push")


def test_without_a_key_flux_applies_nothing_and_the_cause_is_told(shop: Project) -> None:
    key = key_file(shop)
    away = key.rename(key.with_suffix(".away"))
    shop.kubectl("delete", "secret", "sops-age", *FLUX)
    try:
        before = shop.json("get", "secret", "shop", "--namespace", "shop")["data"]
        shop.run("git", "commit", "--quiet", "--allow-empty", "--message", "Nothing")
        failed = shop.invoke("gitops.push", "--no-check", check=False)
        checked = shop.invoke("gitops.push", check=False)
        named = json.loads(shop.invoke("doctor", "--json", check=False).stdout)["causes"]
        assert shop.json("get", "secret", "shop", "--namespace", "shop")["data"] == before
    finally:
        away.rename(key)
    assert (failed.exit_code, checked.exit_code) == (6, 6)
    assert [each["id"] for each in named] == ["decryption-key"]
    assert "data key" in failed.stderr
    assert "secret.init --recipient" in failed.stderr
    shop.invoke("gitops.push")
