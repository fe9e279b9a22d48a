"""A page of HTML that stands alone: no scripts, no other files, readable in light and in dark."""

import base64
from collections.abc import Iterable, Sequence
from html import escape

STYLE = """
:root { color-scheme: light dark; --text: #1d2327; --soft: #5c6770; --line: #dde2e6; --page: #ffffff;
  --card: #f5f7f8; --accent: #1b6ca8; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e8eb; --soft: #9aa5ae; --line: #39424a;
  --page: #15191c; --card: #1e2429; --accent: #6cb4e8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 72rem; background: var(--page);
  color: var(--text); font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .4rem; }
h2 { font-size: 1.15rem; margin: 2.8rem 0 .8rem; padding-top: 1.2rem; border-top: 1px solid var(--line); }
h3 { font-size: .95rem; margin: 1.4rem 0 .5rem; }
p { max-width: 46rem; margin: .5rem 0; } .soft, figcaption { color: var(--soft); font-size: .9rem; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; margin: .6rem 0 1rem; }
.wide { overflow-x: auto; }
th, td { text-align: left; vertical-align: top; padding: .35rem 1.1rem .35rem 0;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; font-size: .85rem; color: var(--soft); }
td.number, th.number { text-align: right; } tr.total td { font-weight: 600; }
figure { margin: .5rem 0 1.2rem; } figcaption { margin-top: .35rem; }
img { display: block; width: 100%; height: auto; background: #fff; border-radius: 6px;
  border: 1px solid var(--line); }
.row { display: grid; grid-template-columns: repeat(3, 1fr); gap: .8rem; }
.pair { display: grid; grid-template-columns: repeat(2, 1fr); gap: .8rem; }
@media (max-width: 45rem) { .pair { grid-template-columns: 1fr; } }
.figures { display: flex; flex-wrap: wrap; gap: .8rem; margin: 1.4rem 0; }
.figure { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .8rem 1.2rem; min-width: 9rem; }
.figure b { display: block; font-size: 1.6rem; line-height: 1.2; } .figure span { color: var(--soft);
  font-size: .85rem; }
code, pre { font: .85rem/1.5 ui-monospace, Menlo, Consolas, monospace; }
pre { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem;
  overflow-x: auto; }
.key { display: inline-flex; align-items: center; gap: .4rem; margin-right: 1.1rem; font-size: .9rem; }
.swatch { width: .85rem; height: .85rem; border-radius: 3px; border: 1px solid #0004; }
a { color: var(--accent); }
""".strip()


def page(title: str, sections: Iterable[str]) -> str:
    """A whole document.

    Args:
        title: Plain text.
        sections: Finished HTML.
    """
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>\n{STYLE}\n</style>\n</head>\n<body>",
            *sections,
            "</body>\n</html>\n",
        ]
    )


def section(title: str, *parts: str) -> str:
    """A heading of plain text over finished HTML."""
    return "\n".join([f"<section>\n<h2>{escape(title)}</h2>", *parts, "</section>"])


def paragraph(text: str, *, soft: bool = False) -> str:
    """A paragraph of plain text."""
    return f'<p class="soft">{escape(text)}</p>' if soft else f"<p>{escape(text)}</p>"


def data_uri(data: bytes, kind: str = "png") -> str:
    """The bytes of an image as a URI, so that a page needs no other file."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def figure(uri: str, caption: str, alternative: str) -> str:
    """A picture from a data URI, with plain text under it and in its place."""
    return (
        f'<figure><img src="{escape(uri)}" alt="{escape(alternative)}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def grid(parts: Iterable[str], kind: str) -> str:
    """Finished HTML side by side: ``row`` of three or ``pair`` of two."""
    return "\n".join([f'<div class="{escape(kind)}">', *parts, "</div>"])


def legend(colors: Sequence[tuple[str, tuple[int, int, int]]]) -> str:
    """Names with a patch of their colour."""
    keys = [
        f'<span class="key"><span class="swatch" style="background: rgb{color}"></span>{escape(name)}</span>'
        for name, color in colors
    ]
    return "".join(["<p>", *keys, "</p>"])


def table(
    headings: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    left: int = 1,
    total: bool = False,
    code: bool = False,
) -> str:
    """A table of plain text.

    Args:
        headings: Of the columns.
        rows: Of cells, as many as there are headings.
        left: The first so many columns hold words, the others numbers.
        total: Whether the last row sums up the others.
        code: Whether the first column holds file names or commands.
    """
    kinds = ["" if place < left else ' class="number"' for place in range(len(headings))]
    lines = ['<div class="wide"><table>']
    lines.append("<tr>" + "".join(map("<th{}>{}</th>".format, kinds, map(escape, headings))) + "</tr>")
    rows = list(rows)
    for index, row in enumerate(rows):
        cells = [escape(cell) for cell in row]
        if code:
            cells[0] = f"<code>{cells[0]}</code>"
        last = ' class="total"' if total and index == len(rows) - 1 else ""
        lines.append(f"<tr{last}>" + "".join(map("<td{}>{}</td>".format, kinds, cells)) + "</tr>")
    return "\n".join([*lines, "</table></div>"])


def headline(figures: Sequence[tuple[str, str]]) -> str:
    """The few figures that matter most: (value, what it is)."""
    cards = [
        f'<div class="figure"><b>{escape(value)}</b><span>{escape(what)}</span></div>'
        for value, what in figures
    ]
    return "\n".join(['<div class="figures">', *cards, "</div>"])
