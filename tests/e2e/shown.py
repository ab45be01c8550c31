"""The commands of README and of the pages about places, each with the test that runs it or the reason why none does.

A unit test compares these rows with the pages: every command has a row, and every row has its command. A hook in
conftest.py fails a test that did not run what its rows say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from invoke.exceptions import ParseError
from tests.documents import Asked, asked
from tests.e2e.project import Ran

IGNORED = {"yes", "json", "channel"}  # options that a test may add or leave out
ANY_VALUE = {"context", "kustomization", "token-file"}  # options whose value differs: a test has its own objects


@dataclass(frozen=True)
class Run:
    """A test that runs the command: the same task with the same options, or another program with the same words."""

    test: str  # FILE::FUNCTION, where FILE is without test_ and .py
    words: str = ""  # a pattern of what the test runs, where it cannot use the words of the page
    exit_code: int = 0


@dataclass(frozen=True)
class Line:
    """A line of code that does what the command does."""

    function: str  # PATH::FUNCTION
    line: str


@dataclass(frozen=True)
class Expected:
    """The page says beside the block that this is not tested, and why."""

    says: str


Row = Run | Line | Expected

_LAB, _ZONES, _LIFECYCLE = "lab", "zones", "lifecycle"
_EDITED = f"{_LAB}::test_an_edited_text_is_delivered_by_commit_and_push"
_SSH = "tunnel::test_an_ssh_engine_is_reached_by_ssh_port_forwarding"
_ADOPT = "adopt::test_an_adopted_cluster_is_the_lab_until_it_is_given_back"
_ADDED = "addons::test_add_ons_are_checked_by_the_server_and_delivered_by_commit"
_TOKEN = "addons::test_a_token_can_only_read_and_can_be_revoked"
_PROXY = "addons::test_the_proxy_is_a_daemon_of_its_cluster"
_AGENT = "addons::test_the_token_of_the_agent_is_stored_in_a_secret"
_RIGHTS = "pipelines::test_missing_rights_of_a_job_are_named_and_restored"
_DOCUMENTS = "pipelines::test_the_job_of_the_documents_fails_and_ours_delivers_from_the_same_container"
_TOFU = "terraform::test_the_module_uses_the_same_kubeconfig_and_route"
_HELM = "terraform::test_the_pinned_helm_works_with_the_lab"
_OPENED = "devcontainer::test_a_recreated_devcontainer_reconnects_quickly"

_NO_CODESPACE = "Expected, not tested: no Codespace can be had where these tests run."
_ANY = "--context prod --kustomization flux-system/flux-system"
_GITHUB = "--context prod --account github-ci --kustomization flux-system/flux-system"

ROWS: dict[str, dict[str, Row]] = {
    "check": {
        "./run invoke gitops.check": Run("check::test_at_the_end_the_lab_is_as_it_was"),
        "./run invoke gitops.diff": Run("check::test_secrets_are_masked_in_a_diff"),
    },
    "release": {
        "./run invoke app.release --build shop --commit": Run(
            "release::test_again_without_a_change_there_is_nothing_to_do"
        ),
        "./run invoke app.release --build shop --dry-run": Run("release::test_without_a_yes_nothing_is_committed"),
        "./run invoke app.release --build shop --commit --watch": Line(
            "tests/e2e/test_release.py::test_watch_releases_each_change_and_survives_a_failure",
            '"app.release", "--build", "shop", "--commit", "--watch"',
        ),
    },
    "secrets": {
        "./run invoke secret.init": Run("secrets::test_flux_decrypts_what_was_committed"),
        "./run invoke secret.set shop --value password=@password.txt --namespace shop": Run(
            "secrets::test_flux_decrypts_what_was_committed"
        ),
        "./run invoke gitops.push": Run("secrets::test_flux_decrypts_what_was_committed"),
        "./run invoke secret.list": Run("secrets::test_the_list_needs_no_key"),
        "./run invoke secret.show shop --key password": Run("secrets::test_flux_decrypts_what_was_committed"),
        "./run invoke secret.rotate": Run("secrets::test_the_pod_has_the_new_value_after_a_rotation"),
    },
    "preview": {
        "git switch --create new-text": Run("preview::test_the_commands_of_the_page"),
        "git commit --all --message A new text": Run("preview::test_the_commands_of_the_page"),
        "./run invoke preview.start --ttl 8h": Run("preview::test_the_commands_of_the_page"),
        "./run invoke preview.open --branch new-text --once": Run("preview::test_the_commands_of_the_page"),
        "./run invoke preview.list": Run("preview::test_the_commands_of_the_page"),
        "./run invoke preview.stop --branch new-text": Run("preview::test_the_commands_of_the_page"),
        "./run invoke preview.prune": Run("preview::test_the_commands_of_the_page"),
    },
    "README": {
        "./run invoke up --yes": Run(f"{_LAB}::test_up_again_has_nothing_to_do_and_changes_no_object"),
        "./run nox": Line("noxfile.py::e2e", "*E2E"),
        "$EDITOR local/gitops/apps/hello/index.html": Line(f"tests/e2e/test_{_EDITED.replace('::', '.py::')}", "PAGE"),
        "git commit --all --message A new text": Run(_EDITED),
        "./run invoke gitops.push": Run(_EDITED),
        "./run invoke app.open --once": Run(_EDITED),
        "./run invoke gitops.prove --report proof.html": Run("report::test_the_command_of_readme_writes_the_page"),
        "./run invoke zones.show": Run(f"{_ZONES}::test_zones_show_draws_node_port_and_container"),
        "./run invoke zones.probe": Run(f"{_ZONES}::test_an_export_for_the_network_works_on_that_network_only"),
        "./run invoke kubeconfig.connect": Run(f"{_ZONES}::test_the_host_uses_the_published_port"),
        "./run invoke kubeconfig.check": Run(f"{_ZONES}::test_check_does_not_change_the_entry"),
        "./run invoke kubeconfig.export --for network": Run(
            f"{_ZONES}::test_an_export_for_the_network_works_on_that_network_only"
        ),
        "devcontainer up --workspace-folder .": Run(_OPENED, "devcontainer up --workspace-folder *"),
        "./run invoke cluster.stop": Run(f"{_LIFECYCLE}::test_a_stopped_cluster_is_reported_by_every_task"),
        "./run invoke cluster.start": Run(f"{_LIFECYCLE}::test_a_start_waits_until_the_same_pods_are_ready"),
        "./run invoke cluster.inspect": Run(f"{_LIFECYCLE}::test_inspect_shows_the_parts_of_the_cluster"),
        "./run invoke doctor": Run("doctor::test_a_healthy_lab_is_one_line"),
        "./run invoke down --yes": Run("away::test_down_removes_ours_and_nothing_else"),
        "pip install ../threezone": Line(
            "tests/integration/house/test_adoption.py::test_a_clone_beside_the_project_can_be_installed",
            '"../threezone"',
        ),
        "threezone init": Line(
            "tests/e2e/test_init.py::test_after_init_a_lab_comes_up_and_a_commit_is_delivered", '"init", "--yes"'
        ),
        "threezone up": Line(
            "tests/e2e/test_init.py::test_after_init_a_lab_comes_up_and_a_commit_is_delivered", '"up", "--yes"'
        ),
    },
    "host": {
        "./run invoke up --yes": Run(f"{_LAB}::test_up_again_has_nothing_to_do_and_changes_no_object"),
        "./run invoke status": Run(f"{_LAB}::test_status_shows_the_whole_lab"),
        "./run invoke kubeconfig.check": Run(f"{_ZONES}::test_check_does_not_change_the_entry"),
        "./run invoke zones.probe": Run(f"{_ZONES}::test_an_export_for_the_network_works_on_that_network_only"),
    },
    "devcontainer": {
        "npm install -g @devcontainers/cli": Line("tests/e2e/node.py::command", '"ci", "--ignore-scripts"'),
        "devcontainer up --workspace-folder .": Run(_OPENED, "devcontainer up --workspace-folder *"),
        "devcontainer exec --workspace-folder . kubectl get nodes": Run(
            _OPENED, "devcontainer exec --workspace-folder * kubectl get nodes"
        ),
        "./run invoke tools.install --shell --name helm --name tofu": Run(_HELM),
        "devcontainer upgrade --workspace-folder .": Expected("Expected, not tested: it asks the registry"),
    },
    "codespaces": {
        "gh codespace create --repo OWNER/REPOSITORY --machine standardLinux32gb": Expected(_NO_CODESPACE),
        "gh codespace ssh": Expected(_NO_CODESPACE),
        "kubectl get nodes": Expected(_NO_CODESPACE),
    },
    "gitlab": {
        "./run invoke ci.gitlab --runner socket": Run(_DOCUMENTS),
        f"./run invoke ci.kubeconfig {_ANY} --dry-run": Run(_RIGHTS),
        f"./run invoke ci.kubeconfig {_ANY}": Run(_RIGHTS),
        "./run invoke ci.kubeconfig --context prod --remove": Run(_RIGHTS),
    },
    "github": {
        "./run invoke ci.github": Run("pipelines::test_a_github_workflow_is_written_in_the_same_project"),
        f"./run invoke ci.kubeconfig {_GITHUB}": Run(_RIGHTS),
        "gh secret set PROD_KUBECONFIG <FILE": Expected("Expected, not tested: `gh` is GitHub's own program"),
    },
    "remote-engine": {
        "export DOCKER_HOST=ssh://you@machine": Line("tests/e2e/test_tunnel.py::engine", "DOCKER_HOST=ssh://root@"),
        "./run invoke up": Run(_SSH),
        "./run invoke kubeconfig.check": Run(_SSH),
    },
    "adopt": {
        "./run invoke cluster.adopt --context docker-desktop": Run(_ADOPT),
        "./run invoke up": Run(_ADOPT),
        "./run invoke status": Run(_ADOPT),
        "./run invoke gitops.push": Run(_ADOPT),
        "./run invoke down": Run(_ADOPT),
    },
    "addons": {
        "./run invoke addon.dashboard": Run(_ADDED, exit_code=7),  # the page says that its image is not available
        "git add local/gitops": Run(_ADDED),
        "git commit --message Add dashboard": Run(_ADDED),
        "./run invoke gitops.push": Run(_ADDED),
        "./run invoke addon.token": Run(_TOKEN),
        "./run invoke addon.token --account headlamp/viewer --hours 8": Run(_ADDED),
        "./run invoke addon.token --remove": Run(_TOKEN),
        "./run invoke addon.proxy start": Run(_PROXY),
        "curl http://127.0.0.1:8001/api/v1/pods": Line(
            f"tests/e2e/test_{_PROXY.replace('::', '.py::')}", 'through_proxy(started["port"], "GET", "/api/v1/pods")'
        ),
        "./run invoke addon.proxy status": Run(_PROXY),
        "./run invoke addon.proxy stop": Run(_PROXY),
        "./run invoke addon.token --account headlamp/viewer": Run(_ADDED),
        "kubectl --namespace headlamp port-forward service/headlamp 4466:80": Expected("Headlamp's page is expected"),
        "./run invoke cluster.create --port 8080:30080": Line(
            "tests/e2e/test_declared.py::declared", '"--port", f"{WEB_TOO}:30081"'
        ),
        "curl --header Host: hello.localhost http://localhost:8080/": Expected("Traefik's answer is expected"),
        "./run invoke addon.agent --token-file ~/agent-token": Run(_AGENT, exit_code=7),  # its chart, the same
        "./run invoke tools.install --name tofu --shell": Run(_TOFU),
        "tofu -chdir=local/terraform init": Expected("`init` is expected, not tested"),
        "tofu -chdir=local/terraform apply -var context=kind-kind": Run(
            _TOFU, "*/tofu -chdir=local/terraform apply -auto-approve *"
        ),
    },
}


def missing(test: str, ran: Sequence[Ran]) -> list[str]:
    """The commands that `test` has to run by these rows and that are not in `ran`."""
    rows = [(page, command, row) for page, shown in ROWS.items() for command, row in shown.items()]
    mine = [(page, command, row) for page, command, row in rows if isinstance(row, Run) and row.test == test]
    return [f"{page}.md: {command}" for page, command, row in mine if not any(_is(command, row, e) for e in ran)]


def _is(command: str, row: Run, ran: Ran) -> bool:
    """Whether `ran` is the command of this row."""
    if ran.exit_code != row.exit_code:
        return False
    ours = ["./run", "invoke"]
    words = command.split()
    if words[:2] != ours:
        return fnmatchcase(" ".join(ran.argv), row.words or command)
    return list(ran.argv[:2]) == ours and _meaning(words[2:]) == _meaning(list(ran.argv[2:]))


def _meaning(words: list[str]) -> Asked | None:
    """The tasks and options in these words, without IGNORED; None when there is no such task or option."""
    try:
        tasks = asked(words)
    except (ParseError, ValueError):
        return None
    return [
        (task, {name: "" if name in ANY_VALUE else value for name, value in given.items() if name not in IGNORED})
        for task, given in tasks
    ]
