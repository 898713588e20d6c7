"""Pergola's switch and a leaf-spine fabric for Mininet.

    sudo mn --custom p4/mininet/pergola.py --topo leafspine,2,2 --switch pergola
    sudo mn --custom p4/mininet/pergola.py --topo leafspine,2,2 --switch pergola,json=p4/fabric/fabric.json

Environment: P4SWITCH names the binary (default: p4switch on PATH, else this tree's target/release or target/debug).
P4Runtime and gNMI of switch N listen on 127.0.0.1, port 50000 + N; N is also its device id.
"""

import os
import shutil
import signal
import socket
import subprocess
import time

from mininet.node import Switch
from mininet.topo import Topo

BASE_PORT = 50000
CPU_PORT = 255
STARTED_WITHIN_S = 10
HERE = os.path.dirname(os.path.abspath(__file__)) if "__file__" in globals() else os.getcwd()


def find_binary():
    """The switch's binary: P4SWITCH, then PATH, then this source tree."""
    named = os.environ.get("P4SWITCH")
    if named:
        return named
    found = shutil.which("p4switch")
    if found:
        return found
    for profile in ("release", "debug"):
        path = os.path.join(HERE, "..", "..", "target", profile, "p4switch")
        if os.access(path, os.X_OK):
            return os.path.abspath(path)
    raise RuntimeError("p4switch: not on PATH and not built; set P4SWITCH to the binary")


class PergolaSwitch(Switch):
    """One p4switch process. Port numbers are Mininet's: interface sN-ethM is port M.

    json:       program to start with; without it a controller pushes one
    p4info:     its P4Info, for a pipeline that answers at once
    device_id:  P4Runtime device id; default: the number in the switch's name
    grpc_port:  default: 50000 + device id
    cpu_port:   port of packet-in and packet-out
    pcap_dir:   folder for captures of every port
    log_level:  trace, debug, info, warn, error or off
    args:       further arguments, one string
    """

    next_device_id = 1

    def __init__(self, name, json=None, p4info=None, device_id=None, grpc_port=None, cpu_port=CPU_PORT, pcap_dir=None,
                 log_level="info", args="", **params):
        Switch.__init__(self, name, **params)
        if device_id is None:
            digits = "".join(c for c in name if c.isdigit())
            device_id = int(digits) if name.startswith("s") and digits else PergolaSwitch.next_device_id
        PergolaSwitch.next_device_id = max(PergolaSwitch.next_device_id, int(device_id)) + 1
        self.device_id = int(device_id)
        self.grpc_port = int(grpc_port) if grpc_port else BASE_PORT + self.device_id
        self.json = json
        self.p4info = p4info
        self.cpu_port = int(cpu_port)
        self.pcap_dir = pcap_dir
        self.log_level = log_level
        self.extra = args.split() if isinstance(args, str) else list(args)
        self.log_path = "/tmp/pergola-%s.log" % name
        self.process = None

    @classmethod
    def setup(cls):
        find_binary()

    def command(self):
        """The command line, with every interface that is there now."""
        command = [find_binary(), "--device-id", str(self.device_id), "--log-file", self.log_path, "-L", self.log_level,
                   "--grpc-server-addr", "127.0.0.1:%d" % self.grpc_port, "--cpu-port", str(self.cpu_port)]
        for number, intf in sorted(self.intfs.items()):
            if intf.name != "lo":
                command += ["-i", "%d@%s" % (number, intf.name)]
        if self.pcap_dir:
            os.makedirs(self.pcap_dir, exist_ok=True)
            command.append("--pcap=" + self.pcap_dir)
        if self.p4info:
            command += ["--p4info", self.p4info]
        return command + self.extra + ([self.json] if self.json else ["--no-p4"])

    def start(self, controllers):
        """Starts the process and waits until its server accepts. Controllers find switches by their port."""
        for intf in self.intfList():
            if intf.name != "lo":
                # The switch forwards for hosts and must not answer in their place.
                self.cmd("sysctl -qw net.ipv6.conf.%s.disable_ipv6=1" % intf.name)
        # Mininet keeps descriptors of its shells open; they are none of the switch's business.
        self.process = self.popen(self.command(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL)
        until = time.monotonic() + STARTED_WITHIN_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.grpc_port), timeout=1).close()
                return
            except OSError:
                if self.process.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("%s did not start; see %s" % (self.name, self.log_path))
                time.sleep(0.005)

    def stop(self, deleteIntfs=True):
        if self.process is not None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
            self.process = None
        Switch.stop(self, deleteIntfs)

    def connected(self):
        return self.process is not None and self.process.poll() is None

    def defaultIntf(self):
        return None

    def describe(self):
        """How a controller reaches it."""
        return {"name": self.name, "device_id": self.device_id, "address": "127.0.0.1:%d" % self.grpc_port,
                "cpu_port": self.cpu_port}


class LeafSpine(Topo):
    """Leaves s1.., then spines; every leaf joined to every spine; hosts on each leaf.

    Ports of a leaf: 1..spines lead to the spines in order, then one for each host. Ports of a spine: 1..leaves.
    Host hN of leaf L has 10.0.L.N/24 and the gateway 10.0.L.254.
    """

    def build(self, leaves=2, spines=2, hosts=2, **params):
        leaves, spines, hosts = int(leaves), int(spines), int(hosts)
        leaf_names = [self.addSwitch("s%d" % (n + 1)) for n in range(leaves)]
        spine_names = [self.addSwitch("s%d" % (leaves + n + 1)) for n in range(spines)]
        for leaf_number, leaf in enumerate(leaf_names, start=1):
            for spine_number, spine in enumerate(spine_names, start=1):
                self.addLink(leaf, spine, port1=spine_number, port2=leaf_number)
        number = 0
        for leaf_number, leaf in enumerate(leaf_names, start=1):
            for n in range(1, hosts + 1):
                number += 1
                host = self.addHost("h%d" % number, ip="10.0.%d.%d/24" % (leaf_number, n),
                                    mac="02:00:00:00:%02x:%02x" % (leaf_number, n),
                                    defaultRoute="via 10.0.%d.254" % leaf_number)
                self.addLink(host, leaf, port2=spines + n)


switches = {"pergola": PergolaSwitch}
topos = {"leafspine": LeafSpine}
