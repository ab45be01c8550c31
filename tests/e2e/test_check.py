"""gitops.check and gitops.diff tell before a push what the push then does: no false alarm, no miss."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from tests.e2e.project import Project

pytestmark = pytest.mark.timeout(900)

CLUSTER = "local/gitops/clusters/local"
KUSTOMIZATION = f"{CLUSTER}/kustomization.yaml"
HERE = "local/gitops/check"
SECONDS = 15  # for a delivery that cannot work
Object = dict[str, Any]


def thing(kind: str, name: str, namespace: str = "", version: str = "v1", **rest: Any) -> Object:
    where = {"namespace": namespace} if namespace else {}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name, **where}, **rest}


def config(name: str, namespace: str = "hello", **data: str) -> Object:
    return thing("ConfigMap", name, namespace, data=data or {"a": "b"})


def child(name: str, **spec: Any) -> Object:
    """A Kustomization of Flux for a directory of its name."""
    settings: Object = {
        "interval": "10m",
        "retryInterval": "5s",
        "prune": True,
        "wait": True,
        "path": f"./{HERE}/{name}",
        "sourceRef": {"kind": "GitRepository", "name": "lab"},
    }
    return thing("Kustomization", name, "flux-system", "kustomize.toolkit.fluxcd.io/v1", spec={**settings, **spec})


def web(name: str = "web", namespace: str = "hello", **more: Any) -> Object:
    """A Deployment with the image of the sample app, which the nodes have. `more` are fields of the container."""
    selector = more.pop("selector", name)
    container = {"name": "web", "image": "threezone/hello:lab", "imagePullPolicy": "IfNotPresent", **more}
    pod = {"metadata": {"labels": {"app": selector}}, "spec": {"containers": [container]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": selector}}, "template": pod}
    return thing("Deployment", name, namespace, "apps/v1", spec=spec)


def definition(kind: str) -> Object:
    """A CustomResourceDefinition of a kind with one text."""
    text = {"type": "object", "properties": {"text": {"type": "string"}}}
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": text}}}
    plural = f"{kind.lower()}s"
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    spec = {"group": "check.example.com", "scope": "Namespaced", "names": names, "versions": versions}
    return thing("CustomResourceDefinition", f"{plural}.check.example.com", "", "apiextensions.k8s.io/v1", spec=spec)


@dataclass(frozen=True)
class Case:
    """A commit: the objects that the lab's own Kustomization applies, and files below HERE.

    `rules` are those of the errors that the check finds; without any, the delivery succeeds. `stricter` says that the
    delivery succeeds all the same. `changes` are what the diff says, as `verb Kind name`.
    """

    objects: tuple[Object, ...] = ()
    files: Mapping[str, str | list[Object]] = field(default_factory=dict)
    rules: tuple[str, ...] = ()
    stricter: bool = False
    changes: tuple[str, ...] = ()
    raw: str = ""  # instead of the objects


SETTINGS = child(
    "apps", postBuild={"substitute": {"one": "1"}, "substituteFrom": [{"kind": "ConfigMap", "name": "set"}]}
)
ENCRYPTED = "ENC[AES256_GCM,data:x,iv:x,tag:x,type:str]"
CASES = {
    "an object": Case((config("one"),), changes=("create ConfigMap one",)),
    "another value": Case((config("one", a="c"),), changes=("change ConfigMap one",)),
    "broken YAML": Case(raw="apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: one\n bad: [\n", rules=("yaml",)),
    "an object is deleted": Case((web(),), changes=("delete ConfigMap one", "create Deployment web")),
    "a selector, which is immutable": Case((web(selector="other"),), rules=("immutable",)),
    "an image that nobody has": Case((web(image="registry.invalid/none:1"),), rules=("image",)),
    "a field that does not exist": Case((web(imagePolicy="Never"),), rules=("field",), stricter=True),
    "a namespace that nobody brings": Case((config("one", "nowhere"),), rules=("namespace",)),
    "a namespace with its objects": Case(
        (thing("Namespace", "shop"), config("one", "shop"), web("web", "shop")),
        changes=("create Namespace shop", "create ConfigMap one", "create Deployment web", "delete Deployment web"),
    ),
    "a kind that nobody brings": Case(
        (thing("Thing", "one", "hello", "check.example.com/v1", spec={"text": "a"}),), rules=("kind",)
    ),
    "a kind with its object": Case(
        (definition("Thing"), thing("Thing", "one", "hello", "check.example.com/v1", spec={"text": "a"})),
    ),
    "a kind whose object has another field": Case(
        (definition("Other"), thing("Other", "one", "hello", "check.example.com/v1", spec={"txt": "a"})),
        rules=("field",),
    ),
    "infrastructure before apps": Case(
        (child("infra"), child("apps", dependsOn=[{"name": "infra"}])),
        {
            "infra/all.yaml": [thing("Namespace", "shop"), definition("Thing")],
            "apps/all.yaml": [
                web("web", "shop"),
                thing("Thing", "one", "shop", "check.example.com/v1", spec={"text": "a"}),
            ],
        },
    ),
    "apps that wait for each other": Case(
        (child("a", dependsOn=[{"name": "b"}]), child("b", dependsOn=[{"name": "a"}])),
        {"a/one.yaml": [config("a")], "b/one.yaml": [config("b")]},
        rules=("depends-on-cycle",),
    ),
    "a dependency that nobody brings": Case(
        (child("a", dependsOn=[{"name": "nobody"}]),), {"a/one.yaml": [config("a")]}, rules=("depends-on",)
    ),
    "values from a ConfigMap": Case(
        (config("set", "flux-system", two="2"), SETTINGS),
        {"apps/one.yaml": [config("one", a="v${one}.${two}.${three:=3}")]},
    ),
    "values that nobody brings": Case(
        (SETTINGS,), {"apps/one.yaml": [config("one", a="${one}")]}, rules=("substitute-from",)
    ),
    "a variable without a value": Case(
        (child("apps", postBuild={"substitute": {"one": "1"}}),),
        {"apps/one.yaml": [config("one", a="${two}")]},
        rules=("variable",),
        stricter=True,
    ),
    "a directory that is not there": Case((child("gone"),), rules=("path",)),
    "a source that nobody brings": Case(
        (child("a", sourceRef={"kind": "GitRepository", "name": "elsewhere"}),),
        {"a/one.yaml": [config("a")]},
        rules=("source",),
    ),
    "components and names that are not ASCII": Case(
        (child("apps", components=["../component"]),),
        {
            "apps/größe.yaml": [config("one", a="größe: ñ 名")],
            "component/kustomization.yaml": json.dumps(
                {"apiVersion": "kustomize.config.k8s.io/v1alpha1", "kind": "Component", "namePrefix": "my-"}
            ),
        },
    ),
    "a Secret in clear text": Case(
        (thing("Secret", "one", "hello", stringData={"password": "hunter2"}),), rules=("secret",), stricter=True
    ),
    "an encrypted Secret that Flux cannot read": Case(
        (
            thing(
                "Secret", "one", "hello", stringData={"password": ENCRYPTED}, sops={"mac": ENCRYPTED, "version": "3.9"}
            ),
        ),
        rules=("sops",),
        stricter=True,  # Flux writes the encrypted text into the Secret
    ),
}


@pytest.fixture(scope="module")
def base(lab: Project) -> str:
    """The Kustomization without the cases."""
    return (lab.root / KUSTOMIZATION).read_text()


@contextmanager
def patient(lab: Project, *, long: bool) -> Iterator[None]:
    """Have deliveries end early in the block, unless they may take `long`: Flux looks at dependencies every 30 s."""
    settings = (lab.root / "invoke.yaml").read_text()
    if not long:
        lab.write("invoke.yaml", re.sub(r"timeout: 180\b", f"timeout: {SECONDS}", settings))
    yield
    lab.write("invoke.yaml", settings)


def written(lab: Project, base: str, case: Case) -> None:
    """Write the files of a case, and remove those of others."""
    shutil.rmtree(lab.root / HERE, ignore_errors=True)
    text = case.raw or "\n---\n".join(json.dumps(each, ensure_ascii=False) for each in case.objects)
    lab.write(f"{CLUSTER}/case.yaml", f"{text}\n")
    lab.write(KUSTOMIZATION, f"{base}  - case.yaml\n")
    for name, content in case.files.items():
        objects = content if isinstance(content, str) else "\n---\n".join(map(json.dumps, content))
        lab.write(f"{HERE}/{name}", f"{objects}\n")


@pytest.mark.parametrize("name", CASES)
def test_the_check_says_what_the_push_does(lab: Project, base: str, name: str) -> None:
    case = CASES[name]
    written(lab, base, case)
    before = lab.invoke("gitops.check", "--json", check=False)  # of what is not committed
    lab.commit(name)
    checked = lab.invoke("gitops.check", "--revision", "HEAD", "--json", check=False)
    report = json.loads(checked.stdout)
    errors = [finding for finding in report["findings"] if finding["severity"] == "error"]
    assert {finding["rule"] for finding in errors} == set(case.rules), report
    assert checked.exit_code == (6 if case.rules else 0)
    assert json.loads(before.stdout)["findings"] == report["findings"]
    assert all(finding["file"] for finding in errors), "each is found in a file"
    if case.changes:
        diff = json.loads(lab.invoke("gitops.diff", "--json").stdout)
        seen = [f"{each['verb']} {each['kind']} {each['name']}" for each in diff["changes"]]
        assert sorted(seen) == sorted(case.changes)
    works = not case.rules or case.stricter
    with patient(lab, long=works):
        pushed = lab.invoke("gitops.push", "--no-check", check=False)
    assert pushed.exit_code == (0 if works else 6), pushed.stderr
    if works:
        left = lab.invoke("gitops.diff", "--exit-code", check=False)
        assert left.exit_code == 0, f"what was delivered differs from what was shown:\n{left.stdout}"


def test_a_commit_that_cannot_work_is_not_pushed(lab: Project, base: str) -> None:
    held = lab.run("git", "rev-parse", "HEAD").stdout
    written(lab, base, CASES["a namespace that nobody brings"])
    lab.commit("Not to be pushed")
    refused = lab.invoke("gitops.push", check=False)
    assert refused.exit_code == 6
    assert "namespace nowhere" in refused.stderr
    revision = lab.json("--namespace", "flux-system", "get", "gitrepository", "lab")["status"]["artifact"]["revision"]
    assert revision.endswith(held.strip())


def test_secrets_are_masked_in_a_diff(lab: Project, base: str) -> None:
    written(lab, base, CASES["a Secret in clear text"])
    lab.commit("A Secret")
    lab.invoke("gitops.push", "--no-check")
    secret = thing("Secret", "one", "hello", stringData={"password": "correct-horse", "user": "me"})
    written(lab, base, Case((secret,)))
    for options in ([], ["--json"], ["--markdown"], ["--base", "HEAD"]):
        shown = lab.invoke("gitops.diff", *options).stdout
        assert "*** (after)" in shown
        assert "hunter2" not in shown
        assert "correct-horse" not in shown
        assert "aHVudGVy" not in shown


def test_at_the_end_the_lab_is_as_it_was(lab: Project, base: str) -> None:
    shutil.rmtree(lab.root / HERE, ignore_errors=True)
    (lab.root / CLUSTER / "case.yaml").unlink()
    lab.write(KUSTOMIZATION, base)
    lab.commit("As it was")
    assert "0 errors" in lab.invoke("gitops.check").stdout
    lab.invoke("gitops.push")
    assert "0 to create, 0 to change, 0 to delete" in lab.invoke("gitops.diff").stdout
