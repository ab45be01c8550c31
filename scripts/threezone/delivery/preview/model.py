"""A preview: its names, its end, and how its Flux objects record it. Pure. There is no other record of a preview."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from threezone.clients.kubernetes.api import Json
from threezone.core.errors import UsageError
from threezone.core.labels import PREVIEW
from threezone.delivery.sync import Target
from threezone.flux import objects

PREFIX = "preview-"
SLUG_LENGTH = 30
DIGEST_LENGTH = 8
LABEL_LENGTH = 63  # of a namespace's name (RFC 1123)
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
HASHED = re.compile(rf"-[0-9a-f]{{{DIGEST_LENGTH}}}\Z")
UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
MOST_DAYS = 3650

# Annotations of the GitRepository.
BRANCH, PATH, COMMIT = f"{PREVIEW}-branch", f"{PREVIEW}-path", f"{PREVIEW}-commit"
CREATED, EXPIRES, NAMESPACES = f"{PREVIEW}-created", f"{PREVIEW}-expires", f"{PREVIEW}-namespaces"


def slug(branch: str) -> str:
    """A DNS label for a branch, at most SLUG_LENGTH long. No two branches share one.

    A branch that had to be changed gets a digest of its name. So does one that looks as if it had one.
    """
    if LABEL.fullmatch(branch) and len(branch) <= SLUG_LENGTH and not HASHED.search(branch):
        return branch
    digest = hashlib.sha256(branch.encode(errors="surrogatepass")).hexdigest()[:DIGEST_LENGTH]
    plain = re.sub(r"[^a-z0-9]+", "-", branch.lower()).strip("-")
    plain = plain[: SLUG_LENGTH - DIGEST_LENGTH - 1].strip("-") or "branch"
    return f"{plain}-{digest}"


def name_of(branch: str) -> str:
    """The name of a branch's preview: of its Flux objects, and of its namespace where it has one only."""
    return f"{PREFIX}{slug(branch)}"


def suffixed(namespace: str, branch: str) -> str:
    """The preview's namespace in place of one of several. Raises UsageError for one that would be too long."""
    name = f"{namespace}-{slug(branch)}"
    if len(name) > LABEL_LENGTH:
        raise UsageError(
            f"the preview of {branch} needs a namespace with a name longer than {LABEL_LENGTH} characters",
            evidence=name,
            fix="give the branch a shorter name",
        )
    return name


def duration(text: str) -> timedelta:
    """The time that a word such as 30m, 8h or 2d means. Raises UsageError."""
    match = re.fullmatch(r"([1-9]\d{0,8})([smhd])", text)
    if match:
        time = timedelta(**{UNITS[match[2]]: int(match[1])})
        if time <= timedelta(days=MOST_DAYS):
            return time
    raise UsageError(f"--ttl {text}: expected a number and s, m, h or d", fix="--ttl 8h")


@dataclass(frozen=True)
class Preview:
    """A preview as the cluster has it. `path` is relative to the project; `namespaces` are by main's names for them.

    `expires` is None for one without an end. `ready` and `message` are Flux's words about `applied`.
    """

    branch: str
    path: str = ""
    commit: str = ""
    namespaces: Mapping[str, str] = field(default_factory=dict)
    created: datetime | None = None
    expires: datetime | None = None
    applied: str = ""
    ready: bool = False
    message: str = ""

    @property
    def name(self) -> str:
        """The name of its Flux objects."""
        return name_of(self.branch)

    def is_expired(self, now: datetime) -> bool:
        """Whether its time has ended."""
        return self.expires is not None and self.expires <= now

    def data(self, now: datetime) -> dict[str, object]:
        """For programs; the keys are an interface."""
        return {
            "name": self.name,
            "branch": self.branch,
            "path": self.path,
            "commit": self.commit,
            "namespaces": dict(self.namespaces),
            "applied": self.applied or None,
            "ready": self.ready,
            "message": self.message,
            "created": self.created.isoformat() if self.created else None,
            "expires": self.expires.isoformat() if self.expires else None,
            "expired": self.is_expired(now),
        }


def record(preview: Preview) -> dict[str, str]:
    """How a GitRepository records a preview."""
    return {
        BRANCH: preview.branch,
        PATH: preview.path,
        COMMIT: preview.commit,
        NAMESPACES: json.dumps(dict(preview.namespaces), sort_keys=True),
        CREATED: preview.created.isoformat() if preview.created else "",
        EXPIRES: preview.expires.isoformat() if preview.expires else "",
    }


def read(sources: Iterable[Json], kustomizations: Iterable[Json]) -> tuple[Preview, ...]:
    """The previews that Flux's objects record, by name. One whose Kustomization is gone is being stopped or started."""
    roots = {item["metadata"]["name"]: item for item in kustomizations if is_preview(item)}
    found = [_read(item, roots.get(item["metadata"]["name"])) for item in sources if is_preview(item)]
    return tuple(sorted(found, key=lambda each: each.name))


def is_preview(item: Json) -> bool:
    """Whether an object belongs to a preview."""
    return PREVIEW in (item["metadata"].get("labels") or {})


def _read(source: Json, root: Json | None) -> Preview:
    noted = source["metadata"].get("annotations") or {}
    branch = str(noted.get(BRANCH) or (source["spec"].get("ref") or {}).get("branch", ""))
    words = "it has no Kustomization" if root is None else _unready(source, root)
    return Preview(
        branch=branch,
        path=str(noted.get(PATH, "")),
        commit=str(noted.get(COMMIT, "")),
        namespaces=_namespaces(str(noted.get(NAMESPACES, ""))),
        created=_time(str(noted.get(CREATED, ""))),
        expires=_time(str(noted.get(EXPIRES, ""))),
        applied=objects.applied(root) if root else "",
        ready=not words,
        message=words,
    )


def _unready(source: Json, root: Json) -> str:
    if words := objects.unready(source) or objects.unready(root):
        return words
    held, applied = objects.artifact(source), objects.applied(root)
    return "" if held == applied else f"{held} is not applied yet"


def _namespaces(text: str) -> dict[str, str]:
    try:
        return {str(old): str(new) for old, new in json.loads(text).items()}
    except (ValueError, AttributeError):  # somebody has changed it
        return {}


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None


def source(preview: Preview, target: Target, url: str) -> Json:
    """The preview's GitRepository, which is its record."""
    return {
        "apiVersion": f"{objects.SOURCE}/v1",
        "kind": "GitRepository",
        "metadata": {**meta(preview, target.name), "namespace": target.namespace, "annotations": record(preview)},
        "spec": {"url": url, "ref": {"branch": preview.branch}, "interval": "1m0s", "timeout": "60s"},
    }


def meta(preview: Preview, name: str) -> Json:
    """The name and the labels of an object of the preview."""
    return {"name": name, "labels": {PREVIEW: slug(preview.branch)}}
