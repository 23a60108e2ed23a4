"""Who had the address, and for how long did two have it: from what observe.py heard on the wire.

An owner has it from one answer to the next as long as these are not too far apart. Two owners overlap where
both have it by the same question; an answer of one in the middle of the other's counts as the time between
two questions, which is what can be told apart.
"""

CLAIMS = ("arp", "nd")
EVERY_US = 2000       # observe.py asks this often
PAUSE_US = 50000      # longer than this without an answer: not the owner in between
OPEN_US = 100000      # two owners until this close to the end: still so when the measurement ended


def spells(times):
    """[(first, last)] of answers that belong together."""
    found = []
    for at in sorted(times):
        if found and at - found[-1][1] <= PAUSE_US:
            found[-1][1] = at
        else:
            found.append([at, at])
    return found


def overlaps(mine, theirs):
    found = []
    for first, last in spells(mine):
        for other_first, other_last in spells(theirs):
            start, end = max(first, other_first), min(last, other_last)
            if start <= end:
                found.append((start, max(end, start + EVERY_US)))
    return found


def dual(heard, a, b, from_us):
    """{question: [(start, end)]} of the time after from_us in which both answered."""
    return {what: overlaps([t for t in nodes.get(a, []) if t >= from_us], [t for t in nodes.get(b, []) if t >= from_us])
            for what, nodes in heard.items()}


def summary(heard, a, b, from_us):
    """The worst question's milliseconds in which two said that the address is theirs (ARP, ND), and in which
    two took new connections that were sent to their MAC (TCP); whether the former was so to the end, and when
    it last was."""
    found = dual(heard, a, b, from_us)
    ms = {what: sum(end - start for start, end in spans) / 1000 for what, spans in found.items()}
    last = max((end for what in CLAIMS for _, end in found.get(what, [])), default=None)
    end = max(t for nodes in heard.values() for times in nodes.values() for t in times)
    return {"dual_ms": max(ms.get(what, 0.0) for what in CLAIMS),
            "both_ms": max((n for what, n in ms.items() if what not in CLAIMS), default=0.0), "dual_by_question": ms,
            "dual_open": last is not None and end - last < OPEN_US, "dual_last_us": last}


def first_answer_us(heard, node, from_us):
    """When the node first answered any question after from_us; None: never."""
    return min((t for nodes in heard.values() for t in nodes.get(node, []) if t >= from_us), default=None)
