"""Figures into tables: medians and quartiles over rounds, ratios within a round."""

import statistics


def quartiles(values):
    """(lower, median, upper)"""
    if len(values) == 1:
        return values[0], values[0], values[0]
    lower, middle, upper = statistics.quantiles(values, n=4, method="inclusive")
    return lower, middle, upper


def number(value):
    """Three digits that count."""
    if value is None:
        return "-"
    if abs(value) >= 100:
        return "{:,.0f}".format(value)
    return "%.1f" % value if abs(value) >= 10 else "%.2f" % value


def table(head, rows):
    """Markdown that reads well as plain text: the first column to the left, the others to the right."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]

    def line(cells):
        return "| %s |" % " | ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(cells, widths)))
    rule = "|%s|" % "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths))
    return "\n".join([line(head), rule, *map(line, rows)]) + "\n"


def of(rounds, key):
    return [r[key] for r in rounds if r.get(key) is not None]


def best_peer(results, key):
    """The peer with the lowest median."""
    medians = {name: statistics.median(of(rounds, key)) for name, rounds in results.items()
               if name != "tandem" and of(rounds, key)}
    return min(medians, key=medians.get) if medians else None


def ratios(results, key):
    """Quartiles of tandem's figure by the best peer's of the same round, and that peer's name; or None."""
    best = best_peer(results, key)
    if best is None or "tandem" not in results:
        return None
    peer = {r["round"]: r[key] for r in results[best] if r.get(key)}
    both = [r[key] / peer[r["round"]] for r in results["tandem"] if r.get(key) is not None and r["round"] in peer]
    return (*quartiles(both), best) if both else None


def ratio_text(results, key):
    found = ratios(results, key)
    return "-" if found is None else "%.2f (%.2f to %.2f) of %s" % (found[1], found[0], found[2], found[3])


def spread(values):
    if not values:
        return "-", "-"
    lower, middle, upper = quartiles(values)
    return number(middle), "%s to %s" % (number(lower), number(upper))


def percent(values):
    return "%.0f %%" % (100 * statistics.median(values)) if values else "-"


def remarks(rounds):
    said = []
    disturbed = sum(r["disturbed"] for r in rounds)
    if disturbed:
        said.append("%d of %d rounds disturbed" % (disturbed, len(rounds)))
    wrong = sum(r["failed"] + r["lost"] for r in rounds)
    if wrong:
        reason = next((r["reason"] for r in rounds if r.get("reason")), "late")
        said.append("%d failed or lost (%s)" % (wrong, reason))
    aside = statistics.median(r["ksoftirqd_s"] / r["cpu_s"] if r["cpu_s"] else 0 for r in rounds)
    if aside > 0.02:
        said.append("and %.0f %% more in ksoftirqd" % (100 * aside))
    return "; ".join(said)


def workload_tables(workload, results):
    """The Markdown of one workload: a table, and tandem's ratios."""
    if workload.idle:
        rows = [[name, *spread(of(rounds, "idle_kib"))] for name, rounds in results.items()]
        return "%s\n%s\n" % (
            table(["proxy", "KiB a connection", "quartiles"], rows),
            "tandem's memory: " + ratio_text(results, "idle_kib"))
    head = ["proxy", "CPU us a request", "quartiles", "user", "requests/s", "proxy busy"]
    tail = ["p50 us", "p99 us", "p99.9 us"] if workload.open_rate else []
    rows = []
    for name, rounds in results.items():
        row = [name, *spread(of(rounds, "cpu_us")), percent(of(rounds, "user_share")),
               spread(of(rounds, "per_second"))[0], percent(of(rounds, "proxy_busy"))]
        row += [spread(of(rounds, key))[0] for key in ("p50_us", "p99_us", "p999_us")] if tail else []
        rows.append([*row, remarks(rounds)])
    text = table([*head, *tail, "remarks"], rows) + "\n"
    text += "tandem's CPU time: " + ratio_text(results, "cpu_us") + "\n"
    for key, what in (("p50_us", "p50"), ("p99_us", "p99"), ("p999_us", "p99.9")) if tail else ():
        text += "tandem's %s: %s\n" % (what, ratio_text(results, key))
    return text


def about_text(about, notes):
    lines = ["Machine: %s. Proxies on processor %d, load on %d." % (
        about["machine"], about["processors"]["proxy"], about["processors"]["load"])]
    lines += ["", "Measured: %s. Tandem was built with `%s`." % (
        "; ".join("%s (%s)" % (version, name) for name, version in about["versions"].items()), about["build"])]
    lines += ["", *("Note: " + note for note in notes)] if notes else []
    return "\n".join(lines) + "\n"


def summary(measured, names):
    """One line a workload: the median of each proxy, and tandem's ratio to the best of the others."""
    rows = []
    for workload, results in measured:
        key = "idle_kib" if workload.idle else "cpu_us"
        figures = [spread(of(results.get(name, []), key))[0] for name in names]
        rows.append([workload.title, *figures, ratio_text(results, key)])
    return table(["CPU us a request", *names, "tandem by the best peer"], rows)


def latency_summary(measured):
    rows = []
    for workload, results in measured:
        for name, rounds in results.items() if workload.open_rate else ():
            tail = (spread(of(rounds, key))[0] for key in ("p50_us", "p99_us", "p999_us"))
            rows.append([workload.title, name, *tail])
    return table(["latency", "proxy", "p50 us", "p99 us", "p99.9 us"], rows) if rows else ""


def proxy_document(about, notes, measured, options):
    names = [n for n in about["versions"] if any(n in results for _, results in measured)]
    text = "# What a request costs\n\n%s\n" % about_text(about, notes)
    text += "%d rounds of %g s, interleaved; medians, and the quartiles of the ratios of each round.\n\n" % (
        options.rounds, options.seconds)
    text += summary(measured, names) + "\n" + latency_summary(measured)
    for workload, results in measured:
        text += "\n## %s: %s\n\n%s" % (workload.name, workload.title, workload_tables(workload, results))
    return text
