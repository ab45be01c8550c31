from pathlib import Path

from threezone.delivery.git_forward import Forward


def test_what_is_printed_names_the_passwords_file_and_quotes_it() -> None:
    forward = Forward(8418)
    assert forward.url("lab") == "http://threezone@127.0.0.1:8418/lab.git"
    command = forward.helper(Path("/home/a user/git-password"))
    assert "credential.http://threezone@127.0.0.1:8418.helper" in command
    assert "/home/a user/git-password" in command
