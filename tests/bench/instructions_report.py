"""What is printed; see `instructions`."""

NAME_WIDTH = 100


def change(now, was):
    if was is None:
        return "new"
    return f"{(now / was - 1) * 100:+.1f} %" if was else "new"


def rows(title, shares, former, total, count):
    """The largest of `shares`, each per record and as a share of the total."""
    lines = [f"    {title}"]
    for name, share in list(shares.items())[:count]:
        shown = name if len(name) <= NAME_WIDTH else f"{name[:NAME_WIDTH // 2 - 2]} … {name[-NAME_WIDTH // 2:]}"
        line = f"      {share:12,.2f} {share / total * 100:5.1f} %  {shown}"
        if former is not None:
            line += f"  ({change(share, former.get(name))})"
        lines.append(line)
    return lines


def text(workload, measured, was, count):
    """One workload: a line a side, and below it where its instructions go."""
    per_batch = measured["records"] / measured["batches"]
    lines = [f"\n== {workload.name}: {workload.what}",
             f"   {measured['records']:,} records, {measured['batches']:,} batches, {per_batch:,.1f} records/batch"]
    for side, spent in measured["sides"].items():
        before = was and was["sides"].get(side)
        against = f"  ({change(spent['per_record'], before['per_record'])})" if before else ""
        lines.append(f"  {side}: {spent['per_record']:,.1f} instructions a record, {spent['per_batch']:,.0f} a batch{against}")
        for title, key in [("by part of the source: inlined code where it was written, the standard library's where it is used", "parts"),
                           ("by function alone, with what was inlined into it", "alone"),
                           ("our functions with all they call", "inclusive")]:
            lines += rows(title, spent[key], before and before[key], spent["per_record"], count)
    return "\n".join(lines)


def overview(found, before):
    """One line a workload and side."""
    head = f"{'workload':<10} {'side':<9} {'records/batch':>13} {'instr/record':>13} {'instr/batch':>12}"
    lines = ["", f"commit {found['commit']}, {found['valgrind']}", head + (f" {'change':>9}" if before else "")]
    for name, measured in found["workloads"].items():
        for side, spent in measured["sides"].items():
            line = (f"{name:<10} {side:<9} {measured['records'] / measured['batches']:>13,.1f} {spent['per_record']:>13,.1f} "
                    f"{spent['per_batch']:>12,.0f}")
            if before:
                former = before["workloads"].get(name, {"sides": {}})["sides"].get(side)
                line += f" {change(spent['per_record'], former and former['per_record']):>9}"
            lines.append(line)
    return "\n".join(lines)
