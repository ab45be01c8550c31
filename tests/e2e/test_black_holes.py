"""Black holes for real: a firewall that drops packets and a name server that never answers, before a good route."""

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
    with place(project, "black-holes", *RIGHTS, socket=False) as stand:
        stand.run("./run", "python", "-c", "")  # makes its environment, while there is a network to fetch it from
        stand.run("sh", "-c", f"echo nameserver {HOLES[0]} >/etc/resolv.conf")
        measure = ["unshare", "--net", "./run", "python", "-m", "tests.bench.chooser", "--runs", "15"]
        seen = json.loads(stand.run(*measure, "--name", "hangs.example").stdout)
    first, second, name, good = seen["whys"]
    assert first.startswith("cancelled in tcp: ")
    assert second.startswith("cancelled in tcp: ")
    assert name.startswith("cancelled in dns: ")
    assert good == ""
    assert [line.partition(": ")[2] for line in seen["nothing"].splitlines()] == [
        "no answer within 0.5 s (tcp)",
        "no answer within 0.5 s (tcp)",
        "no answer within 0.5 s (dns)",
    ]
    # A name that is preferred gets 0.1 s to be resolved. How much the others cost is the benchmark's question.
    assert statistics.median(seen["crowd"]) < 2 * statistics.median(seen["alone"]) + 0.15
