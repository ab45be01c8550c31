"""A firewall that drops packets and a name server that never answers do not delay a good route."""

import json
import statistics

import pytest
from tests.bench.chooser import HOLES
from tests.e2e.places import place
from tests.e2e.project import Project

pytestmark = pytest.mark.timeout(3600)

RIGHTS = ("--cap-add=NET_ADMIN", "--cap-add=SYS_ADMIN", "--security-opt=apparmor=unconfined")  # to make a network in it


def test_dropped_packets_and_a_silent_resolver_hardly_delay_a_good_route(
    project: Project,
    places: None,  # noqa: ARG001
) -> None:
    with place(project, "black-holes", *RIGHTS, socket=False) as zone:
        zone.run("./run", "python", "-c", "")  # makes its environment, while there is a network to fetch it from
        zone.run("sh", "-c", f"echo nameserver {HOLES[0]} >/etc/resolv.conf")
        measure = ["unshare", "--net", "./run", "python", "-m", "tests.bench.chooser", "--runs", "15"]
        actual = json.loads(zone.run(*measure, "--name", "hangs.example").stdout)
    first, second, name, good = actual["whys"]
    assert first.startswith("cancelled in tcp: ")
    assert second.startswith("cancelled in tcp: ")
    assert name.startswith("cancelled in dns: ")
    assert good == ""
    assert [line.partition(": ")[2] for line in actual["nothing"].splitlines()] == [
        "no answer within 0.5 s (tcp)",
        "no answer within 0.5 s (tcp)",
        "no answer within 0.5 s (dns)",
    ]
    # A preferred name gets 0.1 s to be resolved. The benchmark measures the exact cost.
    assert statistics.median(actual["crowd"]) < 2 * statistics.median(actual["alone"]) + 0.15
