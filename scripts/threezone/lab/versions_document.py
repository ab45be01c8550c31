"""docs/versions.md, from the pins: which versions there are, in which channel, and which go together.

`./run python -m threezone.lab.versions_document` prints it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from threezone.cluster.spec.version_notes import ENVOY_SINCE, kubeadm_api
from threezone.cluster.version_skew import SUPPORTED_BY_KIND
from threezone.core import pins
from threezone.core.pins import Sums
from threezone.core.versions import dotted, parse
from threezone.flux.check import KUBERNETES
from threezone.flux.removed_apis import GATE, REMOVED, gate_hurts
from threezone.images.versions import Images, NodePin, OtherVersion, images, node_for

DOCUMENT = "docs/versions.md"
# What the e2e tests run, in the channel source: `versions` and every other file, `flux_versions`.
TESTED_KUBERNETES = {"1.34.3": "versions", "1.35.0": "lab", "1.36.3": "versions"}
TESTED_FLUX = {"2.7.3": "flux", "2.9.5": "flux_versions"}
PLATFORMS = {"linux_amd64": "Linux amd64", "linux_arm64": "Linux arm64", "darwin_amd64": "macOS amd64",
             "darwin_arm64": "macOS arm64"}  # fmt: skip
_HEAD = """\
# Versions: what there is, and what goes together

<!-- Written by `./run python -m threezone.lab.versions_document > docs/versions.md`; held to the pins by a test. -->

```yaml
# invoke.yaml
threezone:
  cluster:
    kubernetes: "1.36" # "" is the pinned one; a minor version is its newest pinned patch
  flux:
    version: "2.9" # the same; "2.9.5" is exactly that one
```

`up` upgrades the Flux that it installed to the version that is asked for, and waits until it serves; the workloads
stay. It asks before a downgrade. A Flux of somebody else stays, with a notice. Another Kubernetes needs a new cluster
([`up --recreate`](plan.md)). `./run invoke up --dry-run` shows the steps, and warns of what does not go together.

*tested* names the e2e test that runs it (in the channel source); *expected* means that the pins have all of it. *no …*
says what they lack: then pin it in `local/pins.toml`, as [below](#other-versions).
"""
_TAIL = """
Flux 2.9.5 was tested where the Go module proxy lacks one module of its source-controller, version 0.18.3 of
`github.com/fluxcd/pkg/artifact`: there, the test builds it with 0.18.0. The tasks never do that.

## What the plan warns of
- versions that are too far apart: kubectl, kubelets, kind and Flux against the API server
- patches of kubeadm's configuration for another version than kind writes, which kind drops
- kube-proxy's ipvs mode, deprecated since Kubernetes 1.35 (KEP-5495)
- an engine on cgroup v1 with Kubernetes 1.35 or newer: `failCgroupV1: false` is added
- files of the commit, and objects in the cluster, of an API that the wanted Flux no longer has
- the feature gate `{gate}` in a controller of {hurts}, where it leaves releases not ready

## Newer versions
```console
./run invoke tools.list --outdated
```
This asks the Go module proxy (GOPROXY) for at most ten seconds. Without an answer there is a note, and no error.

## Other versions
A checksum or digest is pinned here only if public sources agree on it. For another version, add what you trust to
`local/pins.toml`:

```toml
[tools.flux.others."2.9.6"] # the release's checksums: flux_2.9.6_checksums.txt; not needed in the channel source
linux-amd64 = "…"
[images.other-flux."2.9.6"] # what its manifests/bases name; needed in the channel source only
source-controller = "1.9.6"
kustomize-controller = "1.9.6"
helm-controller = "…"

[tools.kind]
version = "0.33.0" # its checksums are known, see above
[images.kubernetes."1.37.1"]
digest = "sha256:…" # docker buildx imagetools inspect kindest/node:v1.37.1
kind = "0.33.0" # in whose release notes the digest is
etcd = "…" # for the channel source: kubeadm config images list
coredns = "…"
```

The channel source needs each Go module of a version. Where your module proxy lacks one, the build ends with that
module's name, and nothing in the cluster has changed. A Kubernetes more than one minor version away from the pinned
kubectl needs another kubectl, too: `[tools.kubectl]` with `version` (that of 1.37.0 has its checksums here).
"""


def document() -> str:
    """docs/versions.md."""
    hurts = " and ".join(f"Flux 2.8.{patch}" for patch in range(9) if gate_hurts(f"2.8.{patch}"))
    tables = {
        "Kubernetes | channel `release` | channel `source` | kind | Flux": _kubernetes(),
        "Flux | channel `release` | channel `source` | controllers | Kubernetes | APIs gone": _flux(),
        "kind | channel `release` | Kubernetes | kubeadm's configuration | balancer": _kind(),
    }
    parts = [_HEAD]
    for line, rows in tables.items():
        head = line.split(" | ")
        parts.append(f"\n## {head[0]}\n" + "".join(map(_row, [head, ["---"] * len(head), *rows])))
    return "".join([*parts, _TAIL.format(gate=GATE, hurts=hurts)])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _state(test: str) -> str:
    return f"tested: `{test}`" if test else "expected"


def _kubernetes() -> Iterator[list[str]]:
    pinned = images()
    known = sorted({pinned.node.version, *pinned.kubernetes}, key=parse, reverse=True)
    for version in known:
        node, own = node_for(version, pinned), version == pinned.node.version
        flux = [_name(each) for each in _fluxes() if (needs := KUBERNETES.get(parse(each).series))
                and parse(version).series >= needs]  # fmt: skip
        yield [
            f"**{version}** (pinned)" if own else version,
            "expected" if node.digest else "no digest",
            _state(TESTED_KUBERNETES.get(version, ""))
            if node.parts.etcd and node.parts.coredns
            else "no etcd, CoreDNS",
            _kind_of(node, pinned),
            ", ".join(dict.fromkeys(flux)) or "none",
        ]


def _kind_of(node: NodePin, pinned: Images) -> str:
    other = pinned.kubernetes.get(node.version, OtherVersion()).kind
    return f"{other} or newer" if other else pins.tools().kind.version


def _fluxes() -> list[str]:
    pin = pins.tools().flux
    return sorted({pin.version, *pin.others}, key=parse, reverse=True)


def _name(flux: str) -> str:
    return dotted(parse(flux).series)


def _flux() -> Iterator[list[str]]:
    pin, pinned = pins.tools().flux, images()
    for version in _fluxes():
        own = version == pin.version
        part = pinned.flux if own else pinned.other_flux[version]
        gone = [api for api, since in REMOVED.items() if since == parse(version).series]
        needs = KUBERNETES[parse(version).series]
        yield [
            f"**{version}** (pinned)" if own else version,
            _platforms(pin.sha256 if own else pin.others[version]),
            _state(TESTED_FLUX.get(version, "")),
            f"source {part.source_controller}, kustomize {part.kustomize_controller}, helm {part.helm_controller}",
            f"{dotted(needs)} or newer",
            ", ".join(f"`{api.replace('.toolkit.fluxcd.io', '')}`" for api in gone),
        ]


def _platforms(sums: Sums) -> str:
    missing = [title for name, title in PLATFORMS.items() if getattr(sums, name) is None]
    if len(missing) == len(PLATFORMS):
        return "no checksums"
    return "expected" if not missing else f"expected; no checksum for {', '.join(missing)}"


def _kind() -> Iterator[list[str]]:
    pin = pins.tools().kind
    for version in sorted({pin.version, *pin.others}, key=parse, reverse=True):
        oldest, newest = SUPPORTED_BY_KIND[parse(version).series]
        apis = {kubeadm_api(version, minor).rpartition("/")[2]: minor for minor in range(oldest[1], newest[1] + 1)}
        last = list(apis.items())
        words = [f"{api} up to 1.{minor}" for api, minor in last]
        yield [
            f"**{version}** (pinned)" if version == pin.version else version,
            _platforms(pin.sha256 if version == pin.version else pin.others[version]),
            f"{dotted(oldest)} to {dotted(newest)}",
            ", ".join(words),
            "Envoy, in the channel `release`" if parse(version).series >= ENVOY_SINCE else "HAProxy",
        ]


if __name__ == "__main__":
    sys.stdout.write(document())
