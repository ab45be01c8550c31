"""local/terraform with OpenTofu and a provider, both built from Go modules, on the lab's kubeconfig."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.e2e.project import NAME, Project

from threezone.toolchain import golang
from threezone.toolchain.golang import Program

pytestmark = pytest.mark.timeout(3600)

KUBECTL = "github.com/gavinbunney/terraform-provider-kubectl"
CONTEXT = f"kind-{NAME}"


@pytest.fixture(scope="module")
def tofu(lab: Project) -> Path:
    """OpenTofu, as a user installs it. The first build takes some minutes."""
    (made,) = json.loads(lab.invoke("tools.install", "--name", "tofu", "--json", timeout=3000).stdout)
    return Path(made["path"])


@pytest.fixture(scope="module")
def provider() -> Path:
    """The provider in the version that the module needs."""
    return golang.build(Program(KUBECTL, "v1.19.0", KUBECTL, "terraform-provider-kubectl"))


def home(base: Path) -> dict[str, str]:
    """The environment of a new home directory for --shell, with the existing cache of programs."""
    cache = os.environ.get("THREEZONE_CACHE") or str(Path.home() / ".cache/threezone")
    (base / "home").mkdir()
    return {"HOME": str(base / "home"), "THREEZONE_CACHE": cache}


def test_the_module_uses_the_same_kubeconfig_and_route(
    lab: Project, tofu: Path, provider: Path, tmp_path: Path
) -> None:
    lab.invoke("tools.install", "--name", "tofu", "--shell", env=home(tmp_path))
    assert (tmp_path / "home/.local/bin/tofu").resolve() == tofu.resolve()
    asked = {"COMP_LINE": "tofu vali", "TF_CLI_CONFIG_FILE": os.devnull}
    assert lab.run(tofu, env=asked).stdout.split() == ["validate"], "as bash asks it"
    source = f'"gavinbunney/kubectl" = {json.dumps(str(provider.parent))}'
    (tmp_path / "tofurc").write_text(f"provider_installation {{\n  dev_overrides {{\n    {source}\n  }}\n}}\n")
    given = {"TF_VAR_kubeconfig": str(lab.kubeconfig), "TF_VAR_context": CONTEXT}
    env = {"TF_CLI_CONFIG_FILE": str(tmp_path / "tofurc"), "TF_DATA_DIR": str(tmp_path / "data"), **given}
    at = (tofu, "-chdir=local/terraform")
    state = f"-state={tmp_path / 'state.json'}"
    lab.run(*at, "fmt", "-check", "-recursive", env=env)
    assert json.loads(lab.run(*at, "validate", "-json", env=env).stdout)["valid"]
    lab.run(*at, "apply", "-auto-approve", "-input=false", "-lock=false", state, env=env)
    found = json.loads(lab.run(*at, "output", "-json", state, env=env).stdout)
    shown = json.loads(lab.invoke("kubeconfig.show", "--json").stdout)
    version = json.loads(lab.kubectl("version", "-o", "json").stdout)["serverVersion"]["gitVersion"]
    assert {name: each["value"] for name, each in found.items()} == {
        "kubernetes": version,
        "server": shown["server"],
        "tls_server_name": shown["tlsServerName"] or "",
    }
    assert lab.run("git", "status", "--porcelain").stdout == "", "it leaves nothing in the project"
    env["TF_VAR_context"] = "no-such-context"
    assert lab.run(*at, "apply", "-auto-approve", "-input=false", state, env=env, check=False).exit_code != 0


def test_the_pinned_helm_works_with_the_lab(lab: Project, tofu: Path, tmp_path: Path) -> None:
    (made,) = json.loads(lab.invoke("tools.install", "--name", "helm", "--json", timeout=3000).stdout)
    assert lab.run(made["path"], "version", "--template", "{{.Version}}").stdout == f"v{made['version']}"
    lab.run(made["path"], "create", tmp_path / "chart")
    lab.run(made["path"], "--kube-context", CONTEXT, "template", "made", tmp_path / "chart", "--validate")
    assert lab.run(made["path"], "--kube-context", CONTEXT, "list", "--output", "json").stdout.strip() == "[]"
    assert "helm" in {tool["name"] for tool in json.loads(lab.invoke("tools.list", "--json").stdout)}
    lab.invoke("tools.verify")
    lab.invoke("tools.install", "--shell", "--name", "helm", "--name", "tofu", env=home(tmp_path))
    linked = {name: (tmp_path / "home/.local/bin" / name).resolve() for name in ("helm", "tofu")}
    assert linked == {"helm": Path(made["path"]).resolve(), "tofu": tofu.resolve()}
