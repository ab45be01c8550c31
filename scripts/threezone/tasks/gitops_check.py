"""gitops.check and gitops.diff: what a commit will do, before it is pushed."""

from pathlib import Path
from typing import Annotated

from threezone.tasks.options import Channel, ClusterName, ContextName, Json, open_lab
from threezone.tasks.runtime import present, task

Revision = Annotated[
    str, "a commit, as git names it (default: the working tree, with what is not committed)", "revisions"
]


@task
def check(
    revision: Revision = "",
    json: Json = False,
    junit: Annotated[str, "write the findings as JUnit XML to this file"] = "",
    name: ClusterName = "",
    channel: Channel = "",
    context: ContextName = "",
) -> None:
    """Check what Flux would apply, with the lab's API server if that answers. Changes nothing. Exit 6 on errors."""
    from threezone.delivery.check.check import check as look

    lab = open_lab(name, channel, context)
    report = look(lab, revision)
    present(report.data(), report.text(), as_json=json)
    if junit:
        from threezone.extras.report import check_junit, files

        files.save(Path(junit), check_junit.junit(report.data()))
    report.require("correct what is found: ./run invoke gitops.check")


@task
def diff(
    revision: Revision = "",
    base: Annotated[str, "compare with this commit instead of the live cluster; needs no cluster", "revisions"] = "",
    json: Json = False,
    markdown: Annotated[bool, "print Markdown, as a comment of a merge request"] = False,
    exit_code: Annotated[bool, "exit 1 when there are differences"] = False,
    name: ClusterName = "",
    channel: Channel = "",
    context: ContextName = "",
) -> None:
    """Show what a delivery would create, change and delete, as YAML; values of Secrets are masked. Changes nothing."""
    import sys

    from threezone.delivery.diff.compare import diff as compare

    found = compare(open_lab(name, channel, context), revision, base)
    present(found.data(), found.markdown() if markdown else found.text(), as_json=json)
    if exit_code and found.changes:
        sys.exit(1)
