from pathlib import Path

import pytest

from threezone.core.text import slug
from threezone.delivery.git_forward import Opened

ARN = "arn:aws:eks:eu-central-1:123456789012:cluster/one"


def test_a_plain_context_names_its_files_and_others_cannot_collide() -> None:
    assert slug("kind-kind") == "kind-kind"
    assert "/" not in slug(ARN)
    assert slug("a/b") != slug("a-b") != slug("a:b") != slug("a/b")
    assert not slug("../x").startswith(".")


@pytest.mark.parametrize("context", ["/", "ä" * 200, "."])
def test_a_strange_context_still_is_a_file_name(context: str) -> None:
    assert slug(context).replace("-", "").isalnum()
    assert len(slug(context)) < 100


def test_what_is_printed_names_the_passwords_file_and_quotes_it() -> None:
    opened = Opened("kind-kind", 8418, 1)
    assert opened.url("lab") == "http://threezone@127.0.0.1:8418/lab.git"
    command = opened.helper(Path("/home/a user/git-password"))
    assert "credential.http://threezone@127.0.0.1:8418.helper" in command
    assert "/home/a user/git-password" in command
