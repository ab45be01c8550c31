"""Build Kubernetes' programs from its Go module.

`k8s.io/kubernetes` replaces its staging modules by paths that its module does not contain. Kubernetes publishes each of
them from the same commit: those of 1.X.Y as v0.X.Y.
"""

from __future__ import annotations

from threezone.core import versions
from threezone.core.errors import ToolError
from threezone.toolchain import golang

MODULE = "k8s.io/kubernetes"

# The modules below staging/src/k8s.io in Kubernetes' go.mod (1.34 and 1.35), and those of later minor versions.
STAGING = (  # noqa: SIM905  thirty-one words read better than thirty-one literals
    "api apiextensions-apiserver apimachinery apiserver cli-runtime client-go cloud-provider cluster-bootstrap "
    "code-generator component-base component-helpers controller-manager cri-api cri-client csi-translation-lib "
    "dynamic-resource-allocation endpointslice externaljwt kms kube-aggregator kube-controller-manager kube-proxy "
    "kube-scheduler kubectl kubelet metrics mount-utils pod-security-admission sample-apiserver sample-cli-plugin "
    "sample-controller"
).split()
LATER = {36: ("cri-streaming", "streaming")}


def description(name: str, version: str, *, goos: str = "", goarch: str = "") -> golang.Program:
    """The description of a program (kubectl, kubelet, …) of Kubernetes `version`, such as 1.35.0."""
    major, minor, patch = versions.parse_release(version)
    if major != 1:
        raise ToolError(f"{version!r} is not a Kubernetes release like 1.35.0")
    # kubeadm derives image tags and version skew from these; hack/lib/version.sh sets them in both packages.
    facts = {"gitVersion": f"v{version}", "gitMajor": "1", "gitMinor": f"{minor}", "gitTreeState": "archive"}
    packages = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")
    staging = (*STAGING, *(module for since, new in LATER.items() if minor >= since for module in new))
    return golang.Program(
        module=MODULE,
        version=f"v{version}",
        package=f"{MODULE}/cmd/{name}",
        name=name,
        ldflags=tuple(f"-X {package}.{fact}={value}" for package in packages for fact, value in facts.items()),
        replace=tuple((f"k8s.io/{module}", f"k8s.io/{module}@v0.{minor}.{patch}") for module in staging),
        goos=goos,
        goarch=goarch,
    )
