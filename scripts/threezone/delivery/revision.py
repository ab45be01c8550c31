"""Revisions as Flux spells them: `branch@sha1:commit`. Pure."""

from __future__ import annotations

import re


def short(revision: str) -> str:
    """A revision as people read it: `main@sha1:0123456`."""
    head, colon, commit = revision.rpartition(":")
    return f"{head}{colon}{commit[:7]}"


def matches(revision: str, wanted: str) -> bool:
    """Whether Flux's `branch@sha1:commit` is what is wanted: the same, a full or short SHA, or the two combined."""
    head, _, commit = revision.rpartition(":")
    wanted_head, _, wanted_commit = wanted.rpartition(":")
    return bool(wanted_commit) and commit.startswith(wanted_commit) and wanted_head in ("", head)


def is_revision(text: str) -> bool:
    """Whether `text` is a revision as `matches` takes it (and not a name that only a repository knows)."""
    return re.fullmatch(r"([^:\s]+:)?[0-9a-f]{4,64}", text) is not None
