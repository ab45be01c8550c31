"""init: adopt threezone in a repository."""

from typing import Annotated

from threezone.tasks.options import DryRun, Yes
from threezone.tasks.runtime import agreed, say, task


@task
def init(
    yes: Yes = False,
    dry_run: DryRun = False,
    devcontainer: Annotated[bool, "also write a devcontainer, .devcontainer/threezone"] = False,
    pre_commit: Annotated[bool, "also write a configuration of pre-commit that checks what is pushed"] = False,
    ci: Annotated[str, "also write the pipeline's file: gitlab or github"] = "",
    renew: Annotated[
        bool, "also replace files that you edited, where threezone has a newer one; shows the change"
    ] = False,
) -> None:
    """Prepare this Git repository for a lab: tasks, settings, a cluster, and a sample app. Safe to repeat.

    Every change is shown first, and asked about. Files that threezone did not write stay as they are, and so do those
    that you edited, without --renew. Run it again after an upgrade of threezone. Then: threezone up.
    """
    from pathlib import Path

    from threezone.core.errors import UsageError
    from threezone.extras.ci import pipeline
    from threezone.extras.init import contents, origin, plan
    from threezone.extras.init.observe import observe

    if ci and ci not in pipeline.OUTPUTS:
        raise UsageError(f"--ci {ci}: expected {' or '.join(pipeline.OUTPUTS)}")
    repository = observe(Path.cwd())
    source, notice = origin.requirement()
    texts = contents.files(repository, contents.Wanted(devcontainer, pre_commit, ci, source))
    present = plan.existing(repository, texts)
    wanted = plan.plan(repository, texts, present, renew=renew)
    if not agreed(wanted, yes=yes, dry_run=dry_run):
        return
    written = plan.apply(repository, wanted, texts, present)
    lines = [f"wrote {path}" for path in written] or ["nothing to do"]
    if written:
        lines += [notice] if notice else []
        lines.append("next: git add --all && git commit --message 'Add a lab', then threezone up")
    say("\n".join([*lines, *wanted.notices]))
