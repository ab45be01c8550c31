"""flux.*"""

from types import SimpleNamespace

import pytest
from tests.unit.tasks.conftest import Invoke, Patch

from threezone.core.errors import Declined, DeliveryError, UsageError
from threezone.core.plan import Plan, Step, StepKind
from threezone.flux.check import Check

pytestmark = pytest.mark.usefixtures("api")
REPLACE = Step(StepKind.INSTALL_FLUX, "replace it", asks=True)
STATE = SimpleNamespace()


def flux_object(
    name: str, *, suspended: bool = False, static: bool = False, kind: str = "Kustomization"
) -> SimpleNamespace:
    kinds = SimpleNamespace(kind=kind)
    return SimpleNamespace(what=f"{kind.lower()}/{name}", suspended=suspended, static=static, kind=kinds)


RUNNING, SUSPENDED, STATIC = flux_object("a"), flux_object("b", suspended=True), flux_object("c", static=True)


@pytest.fixture
def objects(patch: Patch, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three objects of Flux; those that are named are found by their name."""
    every = (RUNNING, SUSPENDED, STATIC)
    patch("flux.objects.discover", ())
    patch("flux.objects.observe", every)
    patch("flux.installation.observe", None)
    patch("flux.reconcile.require_controllers")
    patch("flux.status.state", STATE)
    patch("flux.status.rows", [["NAME"], ["row"]])
    monkeypatch.setattr(
        "threezone.flux.reconcile.select",
        lambda found, _kinds, named, _namespace: tuple(each for each in found if each.what in named),
    )


@pytest.mark.parametrize(
    ("words", "steps", "code", "applied"),
    [
        ([], (REPLACE,), Declined.exit_code, 0),
        (["--yes"], (REPLACE,), 0, 1),
        (["--dry-run"], (REPLACE,), 0, 0),
        ([], (), 0, 1),
    ],
)
def test_install_asks_before_it_replaces(
    *, words: list[str], steps: tuple[Step, ...], code: int, applied: int, invoke: Invoke, patch: Patch
) -> None:
    plan = patch("flux.install.plan", (Plan(steps, ("a notice",)), []))
    apply = patch("flux.install.apply")
    patch("flux.installation.observe", SimpleNamespace(version="v2.7.0", names=("source-controller",)))
    done = invoke("flux.install", "--components", "source-controller, helm-controller", *words)
    assert (done.exit_code, len(apply)) == (code, applied)
    assert plan[0][0][1] == ["source-controller", "helm-controller"]
    if code == 0:
        assert "a notice" in done.out


@pytest.mark.usefixtures("adopted")
def test_install_asks_on_an_adopted_cluster(invoke: Invoke, patch: Patch) -> None:
    patch("flux.install.plan", (Plan((Step(StepKind.INSTALL_FLUX, "install"),)), []))
    done = invoke("flux.install")
    assert done.exit_code == Declined.exit_code
    assert "(on theirs)" in done.err


def test_install_exports_manifests_without_a_cluster(invoke: Invoke, patch: Patch) -> None:
    patch("flux.installation.choose", ("source-controller",))
    patch("flux.install.manifest", "kind: Namespace\n")
    assert invoke("flux.install", "--export").out == "kind: Namespace\n"
    assert invoke("flux.install", "--flux-version", "0.0.1").exit_code == UsageError.exit_code


@pytest.mark.parametrize(("ok", "code"), [(True, 0), (False, DeliveryError.exit_code)])
def test_check_fails_with_its_first_reason(ok: bool, code: int, invoke: Invoke, patch: Patch) -> None:
    patch("toolchain.install.find", None)
    patch("flux.check.observe")
    patch("flux.check.checks", (Check("source-controller", ok=ok, found="a\nb"),))
    done = invoke("flux.check", "--json")
    assert (done.exit_code, done.data["ok"]) == (code, ok)
    assert "a b" in invoke("flux.check").out


@pytest.mark.usefixtures("objects")
@pytest.mark.parametrize(
    ("words", "targets"),
    [
        ([], [RUNNING]),
        (["--object", "kustomization/a"], [RUNNING]),
        (["--object", "kustomization/a", "--with-source"], [RUNNING]),
    ],
)
def test_reconcile_reconciles_what_is_not_suspended(
    words: list[str], targets: list[SimpleNamespace], invoke: Invoke, patch: Patch
) -> None:
    patch("flux.reconcile.sources_of", ())
    calls = patch("flux.reconcile.reconcile", (RUNNING,))
    assert "row" in invoke("flux.reconcile", *words, "--timeout", "7").out
    assert (list(calls[0][0][1]), calls[0][0][2]) == (targets, 7)


@pytest.mark.usefixtures("objects")
def test_a_suspended_object_is_not_reconciled(invoke: Invoke) -> None:
    assert invoke("flux.reconcile", "--object", "kustomization/b").exit_code == UsageError.exit_code


@pytest.mark.usefixtures("objects")
def test_suspend_and_resume_need_names_or_all(invoke: Invoke, patch: Patch) -> None:
    suspend, resume = patch("flux.reconcile.suspend"), patch("flux.reconcile.resume", (SUSPENDED,))
    for task in ("flux.suspend", "flux.resume"):
        assert invoke(task).exit_code == UsageError.exit_code
        assert invoke(task, "--all", "--object", "kustomization/a").exit_code == UsageError.exit_code
    assert invoke("flux.suspend", "--all").out == "suspended kustomization/a\n"
    assert invoke("flux.suspend", "--object", "kustomization/b").out == "nothing to do\n"
    assert [list(arguments[1]) for arguments, _ in suspend] == [[RUNNING], []]
    assert "row" in invoke("flux.resume", "--all").out
    assert invoke("flux.resume", "--object", "kustomization/a").out == "nothing to do\n"
    assert [list(arguments[1]) for arguments, _ in resume] == [[SUSPENDED]]


@pytest.mark.parametrize(
    ("words", "steps", "code", "applied"),
    [
        ([], (), 0, 0),
        (["--dry-run"], (REPLACE,), 0, 0),
        ([], (REPLACE,), Declined.exit_code, 0),
        (["--yes", "--prune"], (REPLACE,), 0, 1),
    ],
)
def test_uninstall_asks_first(
    *, words: list[str], steps: tuple[Step, ...], code: int, applied: int, invoke: Invoke, patch: Patch
) -> None:
    patch("flux.uninstall.observe")
    patch("flux.uninstall.plan", Plan(steps))
    apply = patch("flux.uninstall.apply")
    done = invoke("flux.uninstall", *words)
    assert (done.exit_code, len(apply)) == (code, applied)
    assert all(options["prune"] for _, options in apply)


@pytest.mark.parametrize("installed", [True, False])
def test_status_fails_without_flux(installed: bool, invoke: Invoke, patch: Patch) -> None:
    from threezone.flux.components import Component
    from threezone.flux.installation import Installation

    parts = tuple(Component(name, "image:1", ready=True) for name in ("source-controller", "kustomize-controller"))
    flux = Installation("v2.7.0", parts, "flux-system", "threezone") if installed else None
    patch("flux.installation.observe", flux)
    patch("flux.objects.observe", ())
    code = 0 if installed else DeliveryError.exit_code
    done = invoke("flux.status")
    assert done.exit_code == code
    assert ("nothing is declared" in done.out) is installed
    done = invoke("flux.status", "--json")
    assert (done.exit_code, done.data["ready"], done.data["objects"]) == (code, installed, [])
