"""HTML that can't be broken by what stands in a log: every text is escaped unless it was built here.

A page is one file: its style is inline, it has no script, and its content policy forbids every fetch. The
markup is well-formed XML too. Colours are custom properties: a light and a dark set, the light one in print.
"""

import html
import re
from collections.abc import Mapping, Sequence
from typing import Final

_UNPRINTABLE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What neither HTML nor XML may hold, and no eye would see."""

_VOID = ("meta", "br", "col", "line", "rect", "circle", "path")
"""Elements that are written without a body."""


class Html(str):
    """Markup that `el`, `join` or `style` made: the only kind of text that is not escaped."""

    __slots__ = ()


def text(value: str) -> Html:
    """A text as markup that shows just that text."""
    return Html(html.escape(_UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", value)))


def join(*parts: str) -> Html:
    """Parts one after the other; those that are no markup are escaped."""
    return Html("".join(part if isinstance(part, Html) else text(part) for part in parts))


def el(name: str, attributes: Mapping[str, str | float] | None = None, *children: str) -> Html:
    """An element. Children that are no markup are escaped, and so are the attributes' values."""
    written = "".join(f' {key}="{text(_plain(value))}"' for key, value in (attributes or {}).items())
    if name in _VOID:
        return Html(f"<{name}{written}/>")
    return Html(f"<{name}{written}>{join(*children)}</{name}>")


def _plain(value: str | float) -> str:
    # Two decimals of a CSS pixel are finer than any screen, and keep a page small.
    return value if isinstance(value, str) else f"{value:.2f}".rstrip("0").rstrip(".")


def document(title: str, *body: str) -> str:
    """A whole page."""
    head = el(
        "head",
        None,
        el("meta", {"charset": "utf-8"}),
        el("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}),
        el(
            "meta",
            {
                "http-equiv": "Content-Security-Policy",
                "content": "default-src 'none'; style-src 'unsafe-inline'",
            },
        ),
        el("meta", {"name": "color-scheme", "content": "light dark"}),
        el("title", None, title),
        el("style", None, Html(STYLE)),
    )
    page = el("html", {"lang": "en"}, head, "\n", el("body", None, *body))
    return f"<!DOCTYPE html>\n{page}\n"


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    right: Sequence[str] = (),
    cells: Mapping[tuple[int, int], Mapping[str, str | float]] | None = None,
) -> Html:
    """A table that scrolls inside its own box where it is wider than the page.

    The first cell of each row is its header. Columns in `right` hold figures. `cells` gives attributes to
    some cells, by row and column. The box can be reached and scrolled with the keyboard.
    """
    classes = [{"class": "n"} if column in right else {} for column in columns]
    head = [
        el("th", {"scope": "col", **extra}, column) for column, extra in zip(columns, classes, strict=True)
    ]
    body = []
    for i, row in enumerate(rows):
        made = []
        for j, (cell, extra) in enumerate(zip(row, classes, strict=True)):
            attributes = {**extra, **(cells or {}).get((i, j), {})}
            made.append(
                el("th", {"scope": "row", **attributes}, cell) if j == 0 else el("td", attributes, cell)
            )
        body.append(el("tr", None, *made))
    whole = el(
        "table",
        None,
        el("caption", None, caption),
        el("thead", None, el("tr", None, *head)),
        el("tbody", None, *body),
    )
    return el("div", {"class": "wide", "role": "region", "tabindex": "0", "aria-label": caption}, whole)


STYLE: Final = """
:root {
  color-scheme: light dark;
  --paper: #fbfaf8; --card: #ffffff; --ink: #1d2329; --muted: #5b6672; --rule: #d9dde2; --grid: #e8ebee;
  --accent: #0f5ea8; --band: #c4dbf1; --second: #b4600b; --tint: 15 94 168;
  --ok: #1a7040; --warn: #8a5a00; --fail: #b3261e; --failpaper: #fdecea;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14181d; --card: #1c2229; --ink: #e6eaee; --muted: #a3aeb9; --rule: #3a434d; --grid: #2a323a;
    --accent: #7db8f2; --band: #274766; --second: #f0a95c; --tint: 125 184 242;
    --ok: #6fcf97; --warn: #e8bd5f; --fail: #ff9b92; --failpaper: #3a2021;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main, header, footer { max-width: 1120px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 32px; }
footer { padding-bottom: 40px; color: var(--muted); font-size: 14px; }
h1 { font-size: 28px; line-height: 1.2; margin: 0 0 8px; overflow-wrap: anywhere; }
h2 { font-size: 20px; line-height: 1.3; margin: 0 0 4px; }
h3 { font-size: 16px; margin: 20px 0 4px; overflow-wrap: anywhere; }
p { margin: 4px 0 12px; max-width: 76ch; overflow-wrap: anywhere; }
section {
  background: var(--card); border: 1px solid var(--rule); border-radius: 8px;
  padding: 20px; margin: 20px 0;
}
code { font: 0.92em ui-monospace, monospace; overflow-wrap: anywhere; unicode-bidi: isolate; }
.lead { color: var(--muted); }
dl {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(160px, 1fr)); gap: 8px 20px;
  margin: 16px 0 0;
}
dl div { min-width: 0; }
dt { color: var(--muted); font-size: 13px; }
dd { margin: 0; font-size: 15px; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
ul { margin: 8px 0; padding-left: 20px; }
li { margin: 6px 0; max-width: 76ch; overflow-wrap: anywhere; }
.alarm { border-color: var(--fail); background: var(--failpaper); }
.alarm h2 { color: var(--fail); }
.charts {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: 16px 28px;
}
.charts > * { min-width: 0; }
.pair > * { min-width: 0; }
@media (min-width: 1000px) {
  .pair { display: grid; grid-template-columns: minmax(320px, 5fr) minmax(0, 9fr); gap: 28px; }
}
.pair > .wide:only-child, .pair > figure:only-child { grid-column: 1 / -1; }
.tables {
  display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 480px), 1fr)); gap: 0 28px;
}
.tables > * { min-width: 0; }
figure { margin: 8px 0; }
figcaption { font-size: 14px; color: var(--muted); overflow-wrap: anywhere; }
figcaption b { color: var(--ink); display: block; font-size: 15px; }
svg { display: block; width: 100%; max-width: 520px; height: auto; overflow: visible; font-family: inherit; }
svg text {
  fill: var(--ink); font-size: 12px; font-variant-numeric: tabular-nums;
  paint-order: stroke; stroke: var(--card); stroke-width: 3px; stroke-linejoin: round;
}
svg .soft { fill: var(--muted); font-size: 11px; }
svg .end { text-anchor: end; } svg .mid { text-anchor: middle; }
svg .grid { stroke: var(--grid); } svg .axis { stroke: var(--rule); }
svg .ref { stroke: var(--second); stroke-dasharray: 4 3; stroke-width: 1.5; }
svg .reftext { fill: var(--second); font-size: 11px; }
svg .bar { stroke: var(--accent); stroke-width: 2.5; stroke-linecap: round; }
svg .bandbar { stroke: var(--band); stroke-width: 9; }
svg .dot { fill: var(--accent); stroke: var(--card); stroke-width: 1.5; }
svg .out { fill: var(--fail); }
svg .band { fill: var(--band); } svg .line { fill: none; stroke: var(--accent); stroke-width: 2; }
svg .rows { fill: var(--accent); } svg .mass { fill: none; stroke: var(--second); stroke-width: 1.5; }
.wide {
  overflow-x: auto; margin: 12px 0; border-radius: 4px;
  background:
    linear-gradient(to right, var(--card) 24px, transparent) left / 40px 100% no-repeat local,
    linear-gradient(to left, var(--card) 24px, transparent) right / 40px 100% no-repeat local,
    linear-gradient(to right, var(--rule), transparent) left / 14px 100% no-repeat scroll,
    linear-gradient(to left, var(--rule), transparent) right / 14px 100% no-repeat scroll;
}
.wide:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { border-collapse: collapse; font-size: 14px; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--muted); padding: 0 0 6px; }
th, td { text-align: left; vertical-align: top; padding: 5px 14px 5px 0; }
tr { border-bottom: 1px solid var(--rule); }
thead th { color: var(--muted); font-weight: 600; white-space: nowrap; }
tbody th { font-weight: 600; max-width: 30ch; min-width: 17ch; overflow-wrap: anywhere; }
.tables tbody th { min-width: 8ch; overflow-wrap: break-word; }
.tables th, .tables td { padding-right: 10px; }
td.n, th.n { text-align: right; white-space: nowrap; }
td.say { min-width: 26ch; }
td.share { padding-left: 8px; padding-right: 8px; background: rgb(var(--tint) / calc(var(--p) * 0.55)); }
.ok { color: var(--ok); } .warn { color: var(--warn); } .fail { color: var(--fail); }
.unknown { color: var(--muted); }
.ok, .warn, .fail { font-weight: 600; white-space: nowrap; }
@media (max-width: 480px) {
  main, header, footer { padding-left: 12px; padding-right: 12px; }
  section { padding: 14px 12px; }
  h1 { font-size: 23px; }
}
@media print {
  :root {
    color-scheme: light;
    --paper: #ffffff; --card: #ffffff; --ink: #000000; --muted: #444c54; --rule: #b9c0c7; --grid: #dfe3e7;
    --accent: #0f5ea8; --band: #c4dbf1; --second: #a05000; --tint: 15 94 168;
    --ok: #1a7040; --warn: #8a5a00; --fail: #b3261e; --failpaper: #ffffff;
  }
  body { font-size: 10pt; }
  h1 { font-size: 16pt; } h2 { font-size: 13pt; } h3 { font-size: 11pt; }
  svg { max-width: 340px; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  main, header, footer { max-width: none; padding-left: 0; padding-right: 0; }
  section { border-width: 1px 0 0; border-radius: 0; padding: 12px 0 0; }
  .alarm { border-width: 2px 0 0; }
  figure, table, tr, li, p { break-inside: avoid; }
  h2, h3, h2 + p, h3 + p, caption, thead { break-after: avoid; }
  .wide { overflow: visible; background: none; }
  table { font-size: 8pt; }
  th, td { padding: 3px 8px 3px 0; }
  tbody th { min-width: 15ch; }
  td.n, th.n, thead th { white-space: normal; }
  thead th { overflow-wrap: anywhere; }
  td.say { min-width: 0; }
}
"""
"""The page's style; no part of a log stands in it."""
