"""What a node's console tells of a cluster that could not be created."""

from threezone.cluster.lifecycle import diagnosed

# As systemd 252 wrote it into a node's console when the host had given out its 128 instances.
EXHAUSTED = "Failed to create control group inotify object: Too many open files\nFailed to allocate manager object.\n"


def test_a_host_without_inotify_instances_is_named_with_its_cure() -> None:
    cause, fix = diagnosed(EXHAUSTED)
    assert "inotify" in cause
    assert "sysctl fs.inotify.max_user_instances=512" in fix


def test_other_files_that_are_too_many_are_not_blamed_on_inotify() -> None:
    assert diagnosed("accept: Too many open files\n") == ("", "")
    assert diagnosed("") == ("", "")
