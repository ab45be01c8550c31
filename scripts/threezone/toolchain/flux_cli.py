"""Build the flux CLI from its Go module.

The CLI contains the manifests that `flux install` applies, but the published module lacks them. They are generated as
in a release (manifests/scripts/bundle.sh of flux2), but from `config/` of each controller's own module, the source of
its release assets. Controllers without a published module are left out, so `flux install` needs `--components` (see
COMPONENTS). Without it, it fails on the missing file before it changes a cluster.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from threezone.core import events, process
from threezone.core.errors import ToolError
from threezone.toolchain import golang

MODULE = "github.com/fluxcd/flux2/v2"
COMPONENTS = ("source-controller", "kustomize-controller", "helm-controller")
KUSTOMIZE = golang.Program(
    module="sigs.k8s.io/kustomize/kustomize/v5",
    version="v5.8.1",
    package="sigs.k8s.io/kustomize/kustomize/v5",
    name="kustomize",
)
# The release assets of a controller, as a base names them.
ASSET = re.compile(
    r"https://github\.com/fluxcd/(?P<name>[\w-]+)/releases/download/(?P<version>v[\w.]+)/(?P=name)\.(?P<part>crds|deployment)\.yaml"
)
PARTS = {"crds": "config/crd", "deployment": "config/manager"}


def build(version: str) -> Path:
    """The path of the program `flux` of `version`, such as 2.7.3. Raises ToolError or CommandFailed."""
    published = golang.module_source(MODULE, f"v{version}")
    kustomize = golang.build(KUSTOMIZE)
    with tempfile.TemporaryDirectory(prefix="threezone-flux-") as scratch:
        module = Path(scratch) / "flux2"
        _copy(published, module)
        with events.step(f"generate the manifests of flux {version}"):
            manifests(kustomize, module)
        return golang.build(program(version, module))


def program(version: str, source: Path | None = None) -> golang.Program:
    """The description of `flux`; it can be built from `source` only, a copy of the module with the manifests."""
    return golang.Program(
        module=MODULE,
        version=f"v{version}",
        package=f"{MODULE}/cmd/flux",
        name="flux",
        ldflags=(f"-X main.VERSION={version}",),
        source=source,
    )


def manifests(kustomize: Path, module: Path) -> None:
    """Write cmd/flux/manifests/*.yaml in `module`, a writable copy of flux2's module."""
    sources = module / "manifests"
    target = module / "cmd" / "flux" / "manifests"
    target.mkdir()
    for name in COMPONENTS:
        _redirect(sources / "bases" / name)
    for directory in (*(sources / "bases" / name for name in COMPONENTS), sources / "rbac", sources / "policies"):
        done = process.run([kustomize, "build", directory], timeout=120)
        (target / f"{directory.name}.yaml").write_text(done.stdout, encoding="utf-8")


def _redirect(base: Path) -> None:
    """Change a base so that it uses the files of its controller's module."""
    file = base / "kustomization.yaml"

    def local(asset: re.Match[str]) -> str:
        module = golang.module_source(f"github.com/fluxcd/{asset['name']}", asset["version"])
        _copy(module / PARTS[asset["part"]], base / asset["part"])
        return asset["part"]

    text, count = ASSET.subn(local, file.read_text(encoding="utf-8"))
    if count != len(PARTS):
        raise ToolError(f"flux2's manifests/bases/{base.name} is not as expected", evidence=text)
    file.write_text(text, encoding="utf-8")


def _copy(directory: Path, to: Path) -> None:
    """Make a writable copy: Go's module cache is read-only."""
    shutil.copytree(directory, to, copy_function=shutil.copyfile)
    for path in (to, *to.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)
