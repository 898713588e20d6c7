#!/usr/bin/python3
"""Starts leafspine,2,2 under Mininet with small programs, pings between all hosts, and checks TCP with default offloads.

Needs root, Debian's mininet and a built p4switch (P4SWITCH names it). Exit status 0 when everything held.
"""

import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
PROGRAMS = os.path.join(HERE, "..", "switch", "tests", "programs")

from mininet.log import setLogLevel  # noqa: E402
from mininet.net import Mininet  # noqa: E402

from pergola import LeafSpine, PergolaSwitch  # noqa: E402


def program(name, **params):
    role = "leaf" if int(name[1:]) <= 2 else "spine"
    return PergolaSwitch(name, json=os.path.join(PROGRAMS, "io_%s.json" % role), **params)


def check(what, holds, detail=""):
    print("%s ... %s %s" % (what, "ok" if holds else "FAILED", detail), flush=True)
    return holds


def main():
    setLogLevel("warning")
    net = Mininet(topo=LeafSpine(2, 2, 2), switch=program, controller=None)
    good = True
    try:
        net.start()
        for host in net.hosts:
            # One flat network for the test's programs: they forward by MAC address.
            host.cmd("ip route replace 10.0.0.0/16 dev %s" % host.defaultIntf())
            for other in net.hosts:
                if other is not host:
                    host.cmd("ip neigh replace %s lladdr %s dev %s" % (other.IP(), other.MAC(), host.defaultIntf()))
        good &= check("switches run", all(s.connected() for s in net.switches))
        loss = net.pingAll(timeout=5)
        if loss:  # links may still be coming up on a busy machine; a second round has no excuse
            loss = net.pingAll(timeout=5)
        good &= check("every host reaches every host", loss == 0.0, "loss %s %%" % loss)
        first, last = net.hosts[0], net.hosts[-1]
        server = last.popen(["iperf3", "-s", "-1"])
        text = ""
        for _ in range(50):  # refused until the server listens
            text = first.cmd("iperf3 -c %s -t 1 -f m" % last.IP())
            if "receiver" in text:
                break
        server.kill()
        line = [l for l in text.splitlines() if "receiver" in l]
        good &= check("TCP with default offloads", bool(line), line[0].split("sec")[1].strip() if line else text[-200:])
    finally:
        processes = [s.process for s in net.switches]
        net.stop()
    good &= check("switches ended cleanly", all(p is None or p.poll() == 0 for p in processes),
                  str([p and p.poll() for p in processes]))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
