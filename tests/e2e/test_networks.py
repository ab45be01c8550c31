"""A network with an authority and a proxy of its own: nodes and Flux fetch with the setting, and not without.

The registries are on a network of theirs, which only the proxy is connected to beside the nodes' network.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml
from tests.e2e.places import IMAGE as PLACE
from tests.e2e.project import Project, free_port

from threezone.cluster.lab import CHANNELS
from threezone.core import process
from threezone.images import build

pytestmark = pytest.mark.timeout(3600)

NAME, API_PORT = "threezone-company", 26963
CONTEXT = f"kind-{NAME}"
PLAIN_PORT = free_port(15004, 25004)
KNOWN, UNKNOWN = f"{NAME}-known", f"{NAME}-unknown"  # registries: signed by the company's authority, and by nobody's
VOLUME, PLAIN = f"{NAME}-registry", f"{NAME}-plain"
PROXY, PROXY_PORT, INSIDE = f"{NAME}-proxy", 3128, f"{NAME}-inside"  # INSIDE: the network behind the proxy
LOGIN = "flux:only-for-this-test"
STORE = "/var/lib/registry"


def docker(*argv: str | Path, check: bool = True) -> str:
    return process.run(["docker", *argv], timeout=300, check=check).stdout.strip()


@dataclass(frozen=True)
class Authority:
    """An authority that signs certificates; its own is `NAME.pem`."""

    directory: Path
    name: str

    def __post_init__(self) -> None:
        self._make(self.name, "basicConstraints=critical,CA:true", "keyUsage=critical,keyCertSign,cRLSign")

    def sign(self, host: str) -> tuple[Path, Path]:
        """A certificate for a host, and its key."""
        by = ("-CA", self.directory / f"{self.name}.pem", "-CAkey", self.directory / f"{self.name}.key")
        return self._make(host, f"subjectAltName=DNS:{host}", "basicConstraints=critical,CA:false", by=by)

    def _make(self, name: str, *extensions: str, by: tuple[str | Path, ...] = ()) -> tuple[Path, Path]:
        certificate, key, config = (self.directory / f"{name}.{kind}" for kind in ("pem", "key", "cnf"))
        config.write_text("[req]\ndistinguished_name=dn\n[dn]\n")
        added = [part for each in extensions for part in ("-addext", each)]
        argv = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
        files: list[str | Path] = ["-config", config, "-keyout", key, "-out", certificate]
        process.run([*argv, "-subj", f"/CN={name}", "-days", "2", *files, *added, *by], timeout=30)
        return certificate, key


@pytest.fixture(scope="module")
def company(
    project: Project,  # noqa: ARG001  the engine
    places: None,  # noqa: ARG001  the image of the proxy
    make_project: Callable[[str, int], Project],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Project]:
    """A lab whose settings name the company's authority, beside two registries with TLS."""
    made, keys = make_project(NAME, API_PORT), tmp_path_factory.mktemp("authorities")
    authority = Authority(keys, "company")
    (made.root / "company.pem").write_bytes((keys / "company.pem").read_bytes())
    settings = yaml.safe_load((made.root / "invoke.yaml").read_text())
    settings["threezone"]["network"] = {"ca": "company.pem"}
    made.write("invoke.yaml", yaml.safe_dump(settings))
    made.commit("The authority of our network")
    remove()
    made.invoke("down", "--yes")
    is_new = not docker("network", "ls", "--quiet", "--filter", "name=^kind$")
    if is_new:
        docker("network", "create", "kind")  # kind takes it as it is
    address = serve_proxy()
    made.invoke("image.build", "all", timeout=5400)  # through no proxy: this one leads to the registries alone
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY"), f"http://{LOGIN}@{address}:{PROXY_PORT}")
    made.invoke("up", "--yes", timeout=5400, env=proxies)
    made.invoke("image.build", "registry", timeout=1800)
    fill(made, keys)
    for name, by in ((KNOWN, authority), (UNKNOWN, Authority(keys, "stranger"))):
        serve_with_tls(name, *by.sign(name))
    yield made
    if "THREEZONE_KEEP" not in os.environ:
        remove()
        made.invoke("down", "--yes")
        if is_new:
            docker("network", "rm", "kind", check=False)


def serve_proxy() -> str:
    """Start the proxy, which asks for a login. Returns its address on the nodes' network."""
    docker("network", "create", "--internal", INSIDE)
    script = Path(__file__).with_name("containers") / "proxy.py"
    command = ("python3", "-u", "/proxy.py", str(PROXY_PORT), KNOWN, UNKNOWN)
    docker("create", "--name", PROXY, "--network", "kind", "--env", f"LOGIN={LOGIN}", PLACE, *command)
    docker("cp", script, f"{PROXY}:/proxy.py")
    docker("network", "connect", INSIDE, PROXY)
    docker("start", PROXY)
    return docker("inspect", "--format", "{{.NetworkSettings.Networks.kind.IPAddress}}", PROXY)


def passed(host: str) -> int:
    """How many connections to a host the proxy has let through."""
    return docker("logs", PROXY).splitlines().count(f"{host}:443")


def image() -> str:
    """The image of a registry that the engine has."""
    return next(
        build.references(build.REGISTRY, each)[0] for each in CHANNELS if build.has_all((build.REGISTRY,), each)
    )


def remove() -> None:
    docker("rm", "--force", PLAIN, KNOWN, UNKNOWN, PROXY, check=False)
    docker("volume", "rm", "--force", VOLUME, check=False)
    docker("network", "rm", INSIDE, check=False)


def fill(made: Project, directory: Path) -> None:
    """Push an image and an artifact of Flux into the volume of the registries, by plain HTTP on loopback."""
    at = f"localhost:{PLAIN_PORT}"
    docker("run", "--detach", "--name", PLAIN, "--publish", f"127.0.0.1:{PLAIN_PORT}:5000", "--volume",
           f"{VOLUME}:{STORE}", "--env", "REGISTRY_HTTP_ADDR=:5000", image())  # fmt: skip
    container = docker("create", build.APP)
    docker("commit", "--change", "LABEL made-for=the-company", container, f"{at}/app:1")
    docker("rm", container)
    docker("push", f"{at}/app:1")
    docker("image", "rm", f"{at}/app:1")
    artifact = directory / "artifact"
    artifact.mkdir()
    (artifact / "empty.yaml").write_text("")
    made.run(made.tool("flux"), "push", "artifact", f"oci://{at}/config:1", f"--path={artifact}", "--source=tests",
             "--revision=main@sha1:0000000")  # fmt: skip
    docker("rm", "--force", PLAIN)


def serve_with_tls(name: str, certificate: Path, key: Path) -> None:
    """Serve the volume under a name of the nodes' network, with a certificate for that name."""
    tls = (f"REGISTRY_HTTP_TLS_CERTIFICATE={STORE}/{name}.pem", f"REGISTRY_HTTP_TLS_KEY={STORE}/{name}.key")
    variables = [part for each in ("REGISTRY_HTTP_ADDR=:443", *tls) for part in ("--env", each)]
    docker("create", "--name", name, "--network", INSIDE, "--volume", f"{VOLUME}:{STORE}", *variables, image())
    docker("cp", certificate, f"{name}:{STORE}/{name}.pem")
    docker("cp", key, f"{name}:{STORE}/{name}.key")
    docker("start", name)


def test_a_node_pulls_from_a_registry_of_the_network(company: Project) -> None:
    company.kubectl("run", "known", f"--image={KNOWN}:443/app:1", context=CONTEXT)
    company.kubectl("wait", "pod/known", "--for=condition=Ready", "--timeout=120s", context=CONTEXT)
    assert passed(KNOWN) > 0


def test_flux_fetches_from_a_source_of_the_network(company: Project) -> None:
    before = passed(KNOWN)
    company.write("known.yaml", source("known", KNOWN))
    company.kubectl("apply", "--filename=known.yaml", context=CONTEXT)
    ready = ("wait", "ocirepository/known", "--namespace=flux-system", "--for=condition=Ready", "--timeout=120s")
    company.kubectl(*ready, context=CONTEXT)
    assert passed(KNOWN) > before


def test_the_password_of_the_proxy_is_in_a_secret_alone(company: Project) -> None:
    asked = ("--namespace=flux-system", "--output=json")
    everything = company.kubectl("get", "deployments,pods,configmaps,events", *asked, context=CONTEXT).stdout
    password = LOGIN.partition(":")[2]
    assert password not in everything
    assert base64.b64encode(password.encode()).decode()[:-2] not in everything
    assert password not in company.invoke("flux.install", "--export").stdout


def source(name: str, host: str) -> str:
    """An OCIRepository of Flux as JSON."""
    return json.dumps(
        {
            "apiVersion": "source.toolkit.fluxcd.io/v1",
            "kind": "OCIRepository",
            "metadata": {"name": name, "namespace": "flux-system"},
            "spec": {"url": f"oci://{host}:443/config", "ref": {"tag": "1"}, "interval": "1m"},
        }
    )


def test_up_again_changes_nothing(company: Project) -> None:
    assert "nothing to do" in company.invoke("up", "--dry-run").stdout
    company.invoke("cluster.plan")  # fails where the cluster differs from what is declared


def test_an_unknown_authority_is_named_by_doctor_and_never_trusted(company: Project) -> None:
    company.kubectl("run", "unknown", f"--image={UNKNOWN}:443/app:1", context=CONTEXT)
    refused = "jsonpath={.status.containerStatuses[0].state.waiting.reason}=ErrImagePull"
    try:
        company.kubectl("wait", "pod/unknown", f"--for={refused}", "--timeout=60s", context=CONTEXT)
        diagnosis = json.loads(company.invoke("doctor", "--json", check=False).stdout)
        assert diagnosis["causes"][0]["id"] == "tls-intercepted"
        assert "threezone.network.ca" in diagnosis["causes"][0]["fix"]
    finally:
        company.kubectl("delete", "pod", "unknown", "--now", context=CONTEXT)
