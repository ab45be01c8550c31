from pathlib import Path

from threezone.delivery.git_forward import Opened


def test_what_is_printed_names_the_passwords_file_and_quotes_it() -> None:
    opened = Opened("kind-kind", 8418, 1)
    assert opened.url("lab") == "http://threezone@127.0.0.1:8418/lab.git"
    command = opened.helper(Path("/home/a user/git-password"))
    assert "credential.http://threezone@127.0.0.1:8418.helper" in command
    assert "/home/a user/git-password" in command
