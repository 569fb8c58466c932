"""A picture of a report: a panel of horizontal bars for each of the figures that matter most."""

from __future__ import annotations

from xml.sax.saxutils import escape

from figures import METRICS, Spread
from report import Report, describe_machine, number

PANELS = [("tcp1", "up"), ("tcp1", "cpu"), ("udp64", "loss-free rate"), ("udp64", "flood delivered"), ("udp64", "flood cpu"), ("ping", "average"),
          ("memory", "loaded"), ("peers10k", "setconf")]
COLOURS = {"vern": "#1f6feb", "peer": "#8c959f", "floor": "#d0d7de"}
COLUMNS = 2
PANEL_WIDTH, LABEL_WIDTH, VALUE_WIDTH = 520, 110, 90
BAR_HEIGHT, BAR_GAP, HEADER_HEIGHT, MARGIN = 16, 7, 46, 24
FONT = "font-family='system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif'"


def text(x: float, y: float, content: str, size: int = 12, colour: str = "#24292f", anchor: str = "start", weight: str = "normal") -> str:
    return f"<text x='{x:.1f}' y='{y:.1f}' font-size='{size}' fill='{colour}' text-anchor='{anchor}' font-weight='{weight}'>{escape(content)}</text>"


def bar(x: float, y: float, scale: float, name: str, kind: str, found: Spread, unit: str) -> str:
    """Name, bar to the median, whisker from least to greatest, value."""
    left, middle = x + LABEL_WIDTH, y + BAR_HEIGHT / 2
    width = max(1.0, found.median * scale)
    end = left + max(width, found.most * scale)
    parts = [text(left - 8, middle + 4, name, 12, anchor="end", weight="600" if kind == "vern" else "normal"),
             f"<rect x='{left:.1f}' y='{y:.1f}' width='{width:.1f}' height='{BAR_HEIGHT}' rx='2' fill='{COLOURS[kind]}'/>"]
    if found.count > 1:
        low, high = left + found.least * scale, left + found.most * scale
        parts.append(f"<path d='M{low:.1f} {middle:.1f}H{high:.1f}M{low:.1f} {middle - 4:.1f}v8M{high:.1f} {middle - 4:.1f}v8' stroke='#24292f' "
                     f"stroke-opacity='0.65' fill='none'/>")
    parts.append(text(end + 8, middle + 4, f"{number(found.median)} {unit}", 11, "#57606a"))
    return "".join(parts)


def panel(report: Report, key: tuple[str, str], x: float, y: float) -> tuple[str, float]:
    """A panel and its height."""
    metric = METRICS[key]
    kinds = {contender["name"]: contender.get("kind", "vern") for contender in report.contenders}
    rows = [(name, found) for name in report.all_names() if (found := report.figures.spread(name, *key))]
    rows.sort(key=lambda row: row[1].median, reverse=metric.higher_is_better)
    room = PANEL_WIDTH - LABEL_WIDTH - VALUE_WIDTH - MARGIN
    scale = room / max((max(found.median, found.most) for _, found in rows), default=1) if any(found.most for _, found in rows) else 0
    parts = [text(x, y + 14, metric.title, 14, weight="600"), text(x, y + 31, f"{metric.unit}, {'more' if metric.higher_is_better else 'less'} is better", 11, "#57606a")]
    for index, (name, found) in enumerate(rows):
        parts.append(bar(x, y + HEADER_HEIGHT + index * (BAR_HEIGHT + BAR_GAP), scale, name, kinds[name], found, metric.unit))
    return "".join(parts), HEADER_HEIGHT + len(rows) * (BAR_HEIGHT + BAR_GAP) + MARGIN


def picture(report: Report) -> str:
    keys = [key for key in PANELS if key in report.figures.keys()]
    parts, y = [], 92.0
    for row in range(0, len(keys), COLUMNS):
        drawn = [panel(report, key, MARGIN + column * PANEL_WIDTH, y) for column, key in enumerate(keys[row:row + COLUMNS])]
        parts += [content for content, _ in drawn]
        y += max(height for _, height in drawn)
    width = 2 * MARGIN + COLUMNS * PANEL_WIDTH
    heading = "".join([text(MARGIN, 32, "WireGuard data planes, both ends on one machine", 18, weight="600"),
                       text(MARGIN, 52, describe_machine(report.machine), 11, "#57606a"),
                       text(MARGIN, 68, f"bars: median of {report.rounds}; whiskers: least to greatest; lightest: floors that encrypt nothing", 11, "#57606a")])
    return (f"<svg xmlns='http://www.w3.org/2000/svg' width='{width}' height='{y:.0f}' viewBox='0 0 {width} {y:.0f}' {FONT}>"
            f"<rect width='100%' height='100%' fill='#ffffff'/>{heading}{''.join(parts)}</svg>\n")
