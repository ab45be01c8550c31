"""Validate cluster names. They come from flags, files, container labels and contexts, and are used in paths.

kind also allows dots (pkg/cluster/internal/create, validNameRE). The name of a new cluster must be a DNS label (RFC
1123), and its node names must fit one; an existing cluster may have dots.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

from threezone.core.errors import UsageError

_MAX_LENGTH = 50  # kind, clusterNameMax
PATTERN = rf"[a-z0-9][a-z0-9.-]{{0,{_MAX_LENGTH - 1}}}"
_LABEL = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_LENGTH = 63
_CONTEXT = "kind-"  # kind's context of a cluster is kind-NAME
_BALANCER = "-external-load-balancer"
_JOBS = "-ci"
_FIX = "choose another one: --name, or threezone.cluster.name in invoke.yaml"
RULE = "lower-case letters, digits and dashes, first and last a letter or a digit"


def is_cluster(name: str) -> bool:
    """Whether an existing cluster may have this name."""
    return re.fullmatch(PATTERN, name) is not None


def cluster(name: str) -> str:
    """The name, if an existing cluster may have it. Raises UsageError."""
    if not is_cluster(name):
        raise UsageError(f"{name[:80]!r} is not a valid cluster name: expected {RULE}, at most 50", fix=_FIX)
    return name


def new_cluster(name: str, roles: Iterable[str]) -> str:
    """The name, if a new cluster with nodes of these roles may have it. Raises UsageError."""
    if not re.fullmatch(_LABEL, name):
        raise UsageError(f"{name[:80]!r} is not a valid name for a new cluster: expected {RULE}", fix=_FIX)
    if problem := too_long(name, roles):
        raise UsageError(problem, fix=_FIX)
    return name


def for_jobs(name: str) -> str:
    """The name of the cluster that CI jobs create beside the cluster `name`."""
    longest = _LABEL_LENGTH - len(_BALANCER) - len(_JOBS)
    return f"{cluster(name).replace('.', '-')[:longest].rstrip('-')}{_JOBS}"


def too_long(name: str, roles: Iterable[str]) -> str:
    """Why the names of the nodes would be too long, with the allowed length; "" if they fit."""
    longest = max(_suffixes(roles), key=len)
    allowed = min(_LABEL_LENGTH - len(longest), _MAX_LENGTH)
    if len(name) <= allowed:
        return ""
    return (
        f"the cluster name {name[:80]} has {len(name)} characters, and at most {allowed} are allowed here: "
        f"the node name NAME{longest} may have {_LABEL_LENGTH}"
    )


def _suffixes(roles: Iterable[str]) -> list[str]:
    """The suffixes that kind adds to the cluster's name for each container; the first of a role has no number."""
    count: Counter[str] = Counter()
    suffixes = []
    for role in roles:
        count[role] += 1
        suffixes.append(f"-{role}{count[role] if count[role] > 1 else ''}")
    return [*suffixes, _BALANCER] if count["control-plane"] > 1 else suffixes


def in_context(context: str) -> str:
    """The name of the kind cluster that a context belongs to; "" for other contexts."""
    name = context.removeprefix(_CONTEXT)
    return name if name != context and is_cluster(name) else ""


def is_branch(name: str) -> bool:
    """Whether git takes the name for a branch (git-check-ref-format(1))."""
    wrong = r"[\x00-\x20\x7f~^:?*\[\\]|\.\.|//|@\{|(^|/)\.|\.lock(/|\Z)|^[-/]|[/.]\Z"
    return name not in ("", "@", "HEAD") and not re.search(wrong, name)
