"""Findings are ranked: the cause first, what follows from it below."""

from dataclasses import replace

from tests.unit.doctor.faults import FAULTS, NODE, both, broken_facts, engine, flux, item, part
from tests.unit.doctor.recording import load

from threezone.doctor.diagnose import Diagnosis, Finding, diagnose, text


def broken(*ids: str) -> Diagnosis:
    return diagnose(broken_facts(*ids))


def tree(diagnosis: Diagnosis) -> list[object]:
    def of(finding: Finding) -> object:
        below = [of(each) for each in finding.consequences]
        return [finding.row.id, *below] if below else finding.row.id

    return [of(cause) for cause in diagnosis.causes]


def test_a_stopped_engine_explains_the_cluster_and_that_explains_flux() -> None:
    diagnosis = diagnose(engine("stopped", "Is the docker daemon running?")(load("healthy")))
    (root,) = diagnosis.causes
    assert root.row.id == "engine-stopped"
    assert {each.row.id for each in root.walk()} == {"engine-stopped", "cluster-unknown", "api-refused", "flux-unknown"}
    assert diagnosis.exit_code == 3


def test_a_source_that_cannot_resolve_its_host_follows_from_the_dns() -> None:
    change = flux("GitRepository", "dial tcp: lookup git.threezone.svc: i/o timeout")
    failed = flux("Kustomization", "dependency is not ready", "DependencyNotReady")
    facts = FAULTS["dns-down"].broken
    assert facts is not None
    diagnosis = diagnose(both(facts, change, failed)(load("healthy")))
    assert tree(diagnosis) == [["dns-down", ["source-unreachable", "kustomization-failed"]]]


def test_independent_causes_are_in_the_order_in_which_one_part_needs_the_other() -> None:
    diagnosis = broken("flux-scaled-to-zero", "pod-unschedulable", "dns-down")
    assert tree(diagnosis) == ["dns-down", "pod-unschedulable", "flux-scaled-to-zero"]
    assert diagnosis.exit_code == 4


def test_a_risk_is_a_cause_only_where_it_explains_a_fault() -> None:
    alone = broken("disk-full")
    assert (alone.causes, [each.row.id for each in alone.risks], alone.exit_code) == ((), ["disk-full"], 0)
    assert alone.healthy
    both_ = broken("disk-full", "node-pressure")
    assert tree(both_) == [["disk-full", "node-pressure"]]
    assert both_.exit_code == 3


def test_the_text_names_evidence_fix_and_what_follows() -> None:
    change = flux("GitRepository", "dial tcp: lookup git.threezone.svc: i/o timeout")
    shown = text(diagnose(both(FAULTS["dns-down"].broken or part("here"), change)(load("healthy"))))
    lines = shown.splitlines()
    assert lines[0] == "1. dns-down: the cluster's DNS does not run"
    assert "  | Deployment kube-system/coredns is scaled to zero" in lines
    assert "  fix: kubectl -n kube-system scale deployment coredns --replicas=2" in lines
    assert "  ./run invoke doctor --fix does it" in lines
    assert "  ./run invoke doctor --explain dns-down" in lines
    assert any("source-unreachable" in line for line in lines[lines.index("  because of it:") :])


def test_a_probe_without_an_answer_is_no_health() -> None:
    facts = replace(load("healthy"), world=None, silent=("world",))
    diagnosis = diagnose(facts)
    assert not diagnosis.healthy
    assert diagnosis.causes == ()
    assert diagnosis.exit_code == 4
    assert "not answered: world" in text(diagnosis)


def test_the_keys_of_the_json_are_documented() -> None:
    from tests.documents import ROOT

    data = broken("dns-down").data
    page = (ROOT / "docs/doctor.md").read_text()
    for key in (*data, *data["causes"][0]):
        assert f"`{key}`" in page, key


def test_a_place_without_an_engine_needs_none_where_the_api_server_answers() -> None:
    healthy = load("healthy")
    here = engine("missing")(healthy)
    assert diagnose(replace(here, world=healthy.world, route=healthy.route)).healthy


def test_a_cluster_of_another_engine_is_not_missed() -> None:
    healthy = load("healthy")
    assert healthy.cluster is not None
    assert diagnose(replace(healthy, cluster=replace(healthy.cluster, state="absent", nodes=(), ca=None))).healthy


def test_what_the_user_may_not_list_is_named_and_is_no_cause() -> None:
    refused = {"world": "the user ci may not list pods at the cluster scope"}
    diagnosis = diagnose(replace(load("healthy"), world=None, failed=refused))
    assert (diagnosis.causes, diagnosis.exit_code) == ((), 4)
    assert "could not look at world: the user ci may not list pods at the cluster scope" in text(diagnosis)


def test_a_row_that_fails_hides_no_other() -> None:
    facts = replace(broken_facts("dns-down"), here=None)
    strange = item("nodes", NODE, {"metadata": {}, "status": {"conditions": [None]}})(facts)
    diagnosis = diagnose(strange)
    assert "dns-down" in [cause.row.id for cause in diagnosis.causes]
    assert "node-pressure" in diagnosis.failed
    assert diagnose(item("nodes", NODE, {"status": {"conditions": [None]}})(load("healthy"))).exit_code == 4
