"""addon.token: a file for its owner alone, in a directory that git leaves alone."""

import stat
from pathlib import Path
from typing import Any

import pytest

from threezone.cluster.lab import Lab
from threezone.core import process, redaction
from threezone.core.errors import UsageError
from threezone.core.settings import Settings
from threezone.extras.addons import token


class Cluster:
    """What is asked of an API server; the real one is asked end to end."""

    def __init__(self) -> None:
        self.changed: list[str] = []

    def get(self, path: str, **query: str) -> dict[str, Any] | None:
        if query:
            assert (
                query["labelSelector"]
                == "app.kubernetes.io/name=threezone-export,app.kubernetes.io/managed-by=threezone"
            )
            return {"items": [{"metadata": {"name": "threezone-export-view"}}]}
        return {} if path.endswith(("/view", "/headlamp/serviceaccounts/viewer")) else None

    def apply(self, path: str, wanted: dict[str, Any]) -> dict[str, Any]:
        self.changed.append(path)
        return wanted

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        self.changed.append(f"{method} {path.rpartition('/serviceaccounts/')[2] or path}")
        assert body is None or body["spec"] == {"expirationSeconds": 7200}
        return {"status": {"token": "a-token-of-the-test", "expirationTimestamp": "2030-01-01T00:00:00Z"}}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path, Settings(), "kind")


def write(cluster: Cluster, lab: Lab, **options: Any) -> token.Written:
    wanted = {"role": "", "account": "", "hours": 2, "output": ""} | options
    return token.write(cluster, lab, **wanted)  # type: ignore[arg-type]


def test_a_token_is_for_its_owner_alone_in_a_directory_that_ignores_itself(lab: Lab) -> None:
    made = write(Cluster(), lab)
    assert made.path == lab.root / "tokens" / "kind-kind.view.token"
    assert (made.account, made.ends) == ("kube-system/threezone-export-view", "2030-01-01T00:00:00Z")
    assert made.path.read_text() == "a-token-of-the-test"
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(made.path.parent.stat().st_mode) == 0o700
    assert (made.path.parent / ".gitignore").read_text() == "*\n"
    assert sorted(path.name for path in made.path.parent.iterdir()) == [".gitignore", "kind-kind.view.token"]
    assert redaction.redact("x a-token-of-the-test y") == "x *** y"


def test_a_token_of_an_account_makes_nothing_in_the_cluster(lab: Lab) -> None:
    cluster = Cluster()
    made = write(cluster, lab, account="headlamp/viewer")
    assert made.path.name == "kind-kind.headlamp.viewer.token"
    assert cluster.changed == ["POST viewer/token"]


def test_a_file_that_others_could_read_is_replaced(lab: Lab) -> None:
    path = write(Cluster(), lab).path
    path.chmod(0o644)
    assert stat.S_IMODE(write(Cluster(), lab).path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"role": "view", "account": "headlamp/viewer"}, "exclude each other"),
        ({"account": "viewer"}, "expected NAMESPACE/NAME"),
        ({"account": "headlamp/nobody"}, "has no service account headlamp/nobody"),
        ({"account": "headlamp/../x"}, "has no service account"),
        ({"role": "nobody"}, "has no role 'nobody'"),
        ({"output": "."}, "is a directory"),
    ],
)
def test_wrong_options_leave_no_file(
    lab: Lab, monkeypatch: pytest.MonkeyPatch, options: dict[str, str], sentence: str
) -> None:
    monkeypatch.chdir(lab.root)
    cluster = Cluster()
    with pytest.raises(UsageError, match=sentence):
        write(cluster, lab, **options)
    assert cluster.changed == []
    assert list(lab.root.glob("**/*.token")) == []


def test_a_file_that_git_would_pick_up_is_refused_before_anything_is_asked(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process, "find", lambda _: None)  # without git nobody can say that it is ignored
    (lab.root / ".git").mkdir()
    cluster = Cluster()
    with pytest.raises(UsageError, match="could be committed"):
        write(cluster, lab, output=str(lab.root / "token.txt"))
    assert cluster.changed == []


def test_removing_ends_the_accounts_and_takes_this_cluster_s_files(lab: Lab) -> None:
    made = write(Cluster(), lab)
    other = made.path.with_name("kind-other.view.token")
    other.write_text("x")
    cluster = Cluster()
    assert token.remove(cluster, lab) == ("threezone-export-view", str(made.path))  # type: ignore[arg-type]
    assert cluster.changed == [
        "DELETE /apis/rbac.authorization.k8s.io/v1/clusterrolebindings/threezone-export-view",
        "DELETE threezone-export-view",
    ]
    assert (made.path.exists(), other.exists()) == (False, True)
