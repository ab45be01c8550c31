"""No image by a tag alone: a tag can be moved, and then other programs run than those that were tested."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import pytest

from threezone.extras.ci import pipeline

ROOT = Path(__file__).parents[3]
PLACES = ("scripts", "local", ".devcontainer", "run", "tasks.py", "noxfile.py", ".ci")
# A name with the host of a public registry and a tag; what follows it decides whether it is pinned.
REFERENCE = re.compile(
    r"(?:docker\.io|ghcr\.io|quay\.io|registry\.k8s\.io|mcr\.microsoft\.com|gcr\.io)/[\w./-]+:[\w.-]+(@sha256:[0-9a-f]{64})?"
)
FEATURE = "a full version; the lock file of docs/devcontainer.md adds its digest"
UNKNOWN = "no digest is public in two independent places"
# Names without a digest, and why.
BY_TAG = {
    "docker.io/kindest/haproxy:v20251211-v0.29.0-alpha-100-g82a92c5d": "kind itself runs it by this tag",
    "mcr.microsoft.com/devcontainers/python:3.0.7-3.13-bookworm": UNKNOWN,
    "ghcr.io/devcontainers/features/docker-outside-of-docker:1.10.0": FEATURE,
    "ghcr.io/devcontainers/features/docker-in-docker:3.0.1": FEATURE,
    "ghcr.io/devcontainers-extra/features/kind:1.0.15": FEATURE,
    "ghcr.io/headlamp-k8s/headlamp:v0.45.0": UNKNOWN,
    "docker.io/library/traefik:v3.6.12": UNKNOWN,
}


def _texts() -> dict[Path, str]:
    found = {}
    for place in PLACES:
        path = ROOT / place
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file() and file.suffix not in (".pyc", ".png") and "__pycache__" not in file.parts:
                found[file.relative_to(ROOT)] = file.read_text(encoding="utf-8", errors="replace")
    return found


def test_every_image_of_a_registry_has_a_digest_or_a_reason() -> None:
    by_tag = {
        match[0]: str(path)
        for path, text in _texts().items()
        for match in REFERENCE.finditer(text)
        if not match[1] and not match[0].startswith("docker.io/threezone/")  # made here, and in no registry
    }
    assert {name: path for name, path in by_tag.items() if name not in BY_TAG} == {}
    assert set(BY_TAG) - set(by_tag) == set(), "these reasons have no reference any more"


@pytest.mark.parametrize("kind", ["gitlab", "github"])
@pytest.mark.parametrize("runner", get_args(pipeline.Runner))
def test_every_image_of_a_pipeline_has_a_digest(kind: str, runner: pipeline.Runner) -> None:
    text = pipeline.text(kind, pipeline.Pipeline(runner))
    images = re.findall(r"^\s*(?:- name|image): *(\S+)$", text, re.MULTILINE)
    images = [each for each in images if ":" in each and "$" not in each]
    assert all("@sha256:" in each for each in images), images
    assert images or runner in ("shell", "hosted")
