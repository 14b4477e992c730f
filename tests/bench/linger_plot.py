"""The picture of linger.py: a column for each number of partitions, a row for each figure, all by rate."""

import math

WIDTH, LEFT, TOP, GAP_X, GAP_Y, PANEL_HEIGHT = 1080, 92, 116, 34, 62, 190
COLORS = {"0": "#d1495b", "5ms": "#6f4e9c", "auto": "#0b84a5"}
NAMES = {"0": "no linger", "5ms": "5 ms", "auto": "auto"}
ROWS = [
    ("Latency, ms: p99, and p50 dashed; the band is the range of p99 over the rounds", "p99_ms"),
    ("Requests a second", "requests_per_second"),
    ("Batch fill, %", "batch_fill"),
    ("CPU of both ends, seconds per million records", "cpu"),
]
HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" font-family="system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif" font-size="13">
<style>
.title {{ font-size: 20px; font-weight: 600; fill: #1b2733 }}
.head {{ font-size: 14px; font-weight: 600; fill: #1b2733 }}
.sub {{ fill: #5b6b7a }}
.tick {{ font-size: 12px; fill: #5b6b7a }}
.grid {{ stroke: #e3e8ed; stroke-width: 1 }}
.axis {{ stroke: #9aa7b3; stroke-width: 1 }}
</style>
<rect width="100%" height="100%" fill="#ffffff"/>
"""


def value(point, name):
    if name == "cpu":
        return (point["producer_cpu"] + point["broker_cpu"]) / point["records_per_second"] * 1e6
    return point[name] * 100 if name == "batch_fill" else point[name]


def short(number):
    for limit, unit in [(1e6, "M"), (1e3, "k")]:
        if number >= limit:
            return f"{number / limit:g}{unit}"
    return f"{number:.6f}".rstrip("0").rstrip(".")


class Scale:
    """Logarithmic, from pixels to pixels."""

    def __init__(self, values, start, end, whole_decades):
        low, high = math.log10(min(values)), math.log10(max(values))
        if whole_decades:
            low, high = math.floor(low), max(math.ceil(high), math.floor(low) + 1)
        self.low, self.high, self.start, self.end = low, high, start, end

    def at(self, number):
        share = (math.log10(number) - self.low) / (self.high - self.low)
        return self.start + share * (self.end - self.start)

    def decades(self):
        return [10.0 ** power for power in range(math.ceil(self.low - 1e-9), math.floor(self.high + 1e-9) + 1)]


def text(x, y, kind, words, anchor="start"):
    return f'<text x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}">{words}</text>\n'


def line(x1, y1, x2, y2, kind):
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>\n'


def path(points, color, dashed=False):
    steps = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    dash = ' stroke-dasharray="5 4" stroke-width="1.5"' if dashed else ' stroke-width="2"'
    return f'<path d="M{steps}" fill="none" stroke="{color}"{dash} stroke-linejoin="round"/>\n'


def band(points, color):
    there = "L".join(f"{x:.1f} {low:.1f}" for x, low, _ in points)
    back = "L".join(f"{x:.1f} {high:.1f}" for x, _, high in reversed(points))
    return f'<path d="M{there}L{back}Z" fill="{color}" fill-opacity="0.12"/>\n'


def panel(points, name, x, y):
    """The curves of one figure for one number of partitions, on given scales."""
    out = ""
    for linger, color in COLORS.items():
        mine = sorted((point for point in points if point["linger"] == linger), key=lambda point: point["due"])
        if not mine:
            continue
        if name == "p99_ms":
            out += band([(x.at(p["due"]), *(y.at(end) for end in p["p99_ms_range"])) for p in mine], color)
            out += path([(x.at(p["due"]), y.at(p["p50_ms"])) for p in mine], color, dashed=True)
        curve = [(x.at(p["due"]), y.at(value(p, name))) for p in mine]
        out += path(curve, color)
        for cx, cy in curve:
            out += f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="3" fill="{color}"/>\n'
    return out


def svg(points):
    columns = sorted({point["partitions"] for point in points})
    dues = sorted({point["due"] for point in points})
    width = (WIDTH - LEFT - 28 - GAP_X * (len(columns) - 1)) / len(columns)
    height = TOP + len(ROWS) * (PANEL_HEIGHT + GAP_Y)
    out = HEAD.format(w=WIDTH, h=height)
    out += text(LEFT, 34, "title", "Linger by rate: what a record waits, and what that spares")
    at = LEFT
    for linger, name in NAMES.items():
        out += f'<rect x="{at}" y="52" width="22" height="4" fill="{COLORS[linger]}"/>\n'
        out += text(at + 30, 59, "sub", name)
        at += 110
    for row, (title, name) in enumerate(ROWS):
        top = TOP + row * (PANEL_HEIGHT + GAP_Y)
        bottom = top + PANEL_HEIGHT
        values = [value(point, name) for point in points]
        if name == "p99_ms":
            values += [point["p50_ms"] for point in points] + [end for p in points for end in p["p99_ms_range"]]
        y = Scale(values, bottom, top, whole_decades=True)
        out += text(LEFT, top - 14, "head", title)
        for column, partitions in enumerate(columns):
            left = LEFT + column * (width + GAP_X)
            x = Scale([dues[0], max(dues[-1], dues[0] * 10)], left + 10, left + width - 10, whole_decades=False)
            if row == 0:
                name_of = "1 partition" if partitions == 1 else f"{partitions:,} partitions"
                out += text(left + width, top - 32, "head", name_of, "end")
            for number in y.decades():
                out += line(left, y.at(number), left + width, y.at(number), "grid")
                if column == 0:
                    out += text(left - 10, y.at(number) + 4, "tick", short(number), "end")
            for number in x.decades():
                out += line(x.at(number), top, x.at(number), bottom, "grid")
                out += text(x.at(number), bottom + 18, "tick", f"{short(number)}/s", "middle")
            out += line(left, bottom, left + width, bottom, "axis")
            out += panel([point for point in points if point["partitions"] == partitions], name, x, y)
    return out + "</svg>\n"
