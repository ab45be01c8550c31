"""Measure the choice of a route with black holes: addresses whose packets a firewall drops. Run it in a new network:

    unshare --net python -m tests.bench.chooser --runs 15

It prints JSON: the seconds for the good route alone, and for the good route behind black holes.
"""

import argparse
import fcntl
import json
import socket
import struct
import sys
from pathlib import Path

from tests.integration.zones.conftest import Behaviour, Pki, api_server

from threezone.core import process
from threezone.zones.prove import prove
from threezone.zones.routes import Route

HOLES = ("127.77.0.1", "127.77.0.2")
_GET_FLAGS, _SET_FLAGS, _UP = 0x8913, 0x8914, 1  # SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP: netdevice(7)


def main() -> int:
    """Add the firewall rules, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=15)
    parser.add_argument("--name", default="", help="a host name in front too; here its resolver has to be a black hole")
    asked = parser.parse_args()
    if not loopback_up():
        sys.stderr.write("this sets firewall rules, and does so in a new network only: unshare --net\n")
        return 2
    for address in HOLES:
        process.run(["iptables", "--append", "INPUT", "--destination", address, "--jump", "DROP"], timeout=30)
    pki = Pki(Path(__file__).parents[1] / "integration/zones/pki/kind")
    trust = pki.trust()
    holes = [Route("black hole", f"https://{host}:6443") for host in (*HOLES, asked.name) if host]
    alone, crowd, whys = [], [], []
    with api_server(Behaviour(), pki) as port:
        good = Route("good", f"https://127.0.0.1:{port}")
        prove([good], trust)
        for _ in range(asked.runs):
            alone.append(prove([good], trust).seconds)
            verdict = prove([*holes, good], trust)
            if verdict.chosen is None or verdict.chosen.route != good:
                sys.stderr.write(f"another route was chosen:\n{verdict.evidence}\n")
                return 1
            crowd.append(verdict.seconds)
            whys = [proof.why for proof in verdict.proofs]
        nothing = prove(holes, trust, deadline=0.5)
    sys.stdout.write(json.dumps({"alone": alone, "crowd": crowd, "whys": whys, "nothing": nothing.evidence}) + "\n")
    return 0


def loopback_up() -> bool:
    """Bring the loopback up, which is down in a new network. False if it was up."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sh14x", b"lo", 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(any_socket, _GET_FLAGS, request), 16)
        fcntl.ioctl(any_socket, _SET_FLAGS, struct.pack("16sh14x", b"lo", flags | _UP))
    return not flags & _UP


if __name__ == "__main__":
    sys.exit(main())
