"""Which cluster each e2e file uses, and in which order the files run.

Most files share one cluster, the fixture `lab`. A file that needs a cluster of its own says why in OWN; a unit test
compares OWN with the files. The fixtures of a file make what it needs, so each file can run alone. In a whole run,
files without the lab come first, then those that share it: the machine holds few clusters at the same time.
"""

from __future__ import annotations

from collections.abc import Collection

OWN = {
    "declared": "every field of its cluster has another value than the default",
    "devcontainer": "its cluster is made in a container, by a user who is not root",
    "families": "its clusters have IPv6, or IPv6 and IPv4",
    "flux_versions": "its Flux has other versions",
    "github": "its workflow creates and deletes a cluster",
    "ha": "its cluster has three control planes, one of which is killed",
    "images": "its cluster has two nodes, which have no images of the lab yet",
    "init": "its cluster is that of another repository",
    "lease": "its cluster is made by two runs, one of which is killed",
    "mounts": "its nodes have directories of the user mounted",
    "networks": "its nodes and its Flux trust an authority of the tests",
    "pipelines": "its jobs create and delete a cluster",
    "plan": "its cluster is compared with a declaration that changes, and recreated",
    "registry": "the image of its nodes comes from a registry of the tests (other tests here use the lab)",
    "versions": "its clusters run other versions of Kubernetes",
}
FIRST = "lab"  # checks the lab as `up` made it, before other files deliver to it
LAST = "away"  # deletes the lab


def turn(name: str, fixtures: Collection[str]) -> int:
    """The turn of a file in a run: `name` without test_ and .py, `fixtures` of all its tests."""
    if name == LAST:
        return 4
    if "lab" in fixtures:
        return 2 if name == FIRST else 3
    return 1 if "by_hand" in fixtures else 0
