"""What can fail, and how it is made to fail: on the active node of a lab, for any contender."""

import dataclasses
import signal
import time
import typing

from lab import now_us, wait_for

NOT_HEARD = ("table inet cut { chain in { type filter hook input priority -300; "
             "udp dport 4242 drop; meta l4proto 112 drop; }; }")
FREEZE_S = 2.0
FEW, HUNDRED = (3, 2, 3, 4), (15, 10, 15, 10)  # downloads, uploads, kept, tunnels; for each family


# --- each returns when it began, CLOCK_MONOTONIC in us ---------------------------------------------
def nothing(_contender, _node):
    return now_us()


def to(role, sig):
    def strike(contender, node):
        fault_us = now_us()
        contender.signal(node, role, sig)
        return fault_us
    return strike


def unplug(contender, node):
    return contender.lab.unplug(node)


def ports(lab, *words):
    """The same to several ports of the switch, in one go: (bridge, node, words...)."""
    lab.switch.run("sh", "-c", "; ".join("ip link set %s-%s %s" % port for port in words))


def silence(contender, node):
    """Power gone behind a switch: no carrier event tells anybody."""
    fault_us = now_us()
    ports(contender.lab, *((bridge, node.name, "nomaster") for bridge in ("cable", "lan")))
    return fault_us


def move(contender, node):
    fault_us = now_us()
    contender.move(node)
    return fault_us


def cut_heartbeats(contender, _node):
    for node in contender.nodes():
        node.run("nft", NOT_HEARD)
    return now_us()


def isolate(contender, _node, on="on"):
    """The nodes do not hear each other at all, and everybody else hears both."""
    fault_us = now_us()
    ports(contender.lab, *((bridge, node.name, "type bridge_slave isolated " + on)
                           for bridge in ("lan", "cable") for node in contender.nodes()))
    return fault_us


def join(contender, node):
    return isolate(contender, node, "off")


def plug_and_boot(contender, node):
    contender.lab.plug(node)
    fault_us = now_us()
    contender.revive(node)
    return fault_us


# --- before the clients come -------------------------------------------------------------------------
def node_is_down(contender, node):
    """It has failed, the other has taken over and is returned: the owner that the strike finds."""
    peer = contender.lab.peer_of(node)
    contender.lab.unplug(node)
    wait_for("the other has taken over", peer.holds_vip)
    contender.reboot(node)
    wait_for("the other answers", contender.answers)
    return peer


@dataclasses.dataclass
class Fault:
    """kills_node: it boots anew afterwards, so that nothing of its clients is left there; later: what is done
    `later_s` after it; prepare: what is done before the clients come, and returns the owner."""
    name: str
    title: str
    strike: typing.Callable
    moves: bool = True
    counts: tuple = FEW
    kills_node: bool = False
    prepare: typing.Callable = None
    later: typing.Callable = None
    later_s: typing.Callable = lambda contender: 0.0
    limit_s: typing.Callable = lambda contender: contender.death_s

    def seconds(self, contender):
        """Until all that can come of it should have come, and a second to see that it stays so."""
        return self.later_s(contender) + self.limit_s(contender) + 1.0


ALL = (
    Fault("none", "nothing at all", nothing, moves=False, limit_s=lambda c: 0.0),
    Fault("proxy-kill", "proxy kill -9", to("proxy", signal.SIGKILL)),
    Fault("proxy-stop", "proxy SIGSTOP", to("proxy", signal.SIGSTOP), limit_s=lambda c: c.hang_s),
    Fault("agent-kill", "agent kill -9", to("agent", signal.SIGKILL)),
    Fault("agent-stop", "agent SIGSTOP for 2 s", to("agent", signal.SIGSTOP), later=to("agent", signal.SIGCONT),
          later_s=lambda c: FREEZE_S),
    Fault("node-unplug", "node death, its wires unplugged", unplug, kills_node=True),
    Fault("node-silent", "node death, carrier stays up", silence, kills_node=True),
    Fault("move", "planned move, 100 streams", move, counts=HUNDRED),
    Fault("heartbeats", "heartbeats lost, LAN intact", cut_heartbeats, moves=False),
    Fault("partition", "full partition, then heal", isolate, moves=False, later=join,
          later_s=lambda c: c.death_s + 1.0),
    Fault("return", "the failed node returns", plug_and_boot, moves=False, prepare=node_is_down),
)


def mend(contender):
    """All wires are whole, all filters gone."""
    for node in contender.nodes():
        for bridge in ("cable", "lan"):
            # not in one: what is not yet in a bridge cannot be isolated there
            ports(contender.lab, (bridge, node.name, "master %s up" % bridge),
                  (bridge, node.name, "type bridge_slave isolated off"))
        node.run("nft", "delete", "table", "inet", "cut", check=False)


def repair(contender, dead=None):
    """And all programs run, anew on a node that was dead; one node is active and the other ready."""
    if dead:
        contender.reboot(dead)
    mend(contender)
    for node in contender.nodes():
        contender.revive(node)
    contender.settle()
