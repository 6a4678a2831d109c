"""Draws a report of `report.build_report` as one HTML page that needs nothing beside itself."""

import json
from collections.abc import Sequence
from html import escape

from eval.jsonl import Json

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2126; --soft: #5b6670; --line: #d9dee3;
  --page: #ffffff; --auto: #0b6e99; --people: #b4530a; --combined: #4b3fa7; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaed; --soft: #a3adb6; --line: #3a424a;
  --page: #15191d; --auto: #5db9e0; --people: #f0a15a; --combined: #ada3f5; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2.2rem; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; } .wide { overflow-x: auto; } .soft, caption { color: var(--soft); }
code { overflow-wrap: anywhere; } svg { width: 100%; height: auto; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; } svg .soft { fill: var(--soft); }
.grid { stroke: var(--line); } .automatic { stroke: var(--auto); fill: var(--auto); }
.people { stroke: var(--people); fill: var(--people); }
.combined { stroke: var(--combined); fill: var(--combined); }
"""

_WIDTH, _LEFT, _ROW = 900, 330, 24


def html(report: Json) -> str:
    """The whole page."""
    body = [
        "<h1>Sensibleness and specificity</h1>",
        _origin(report),
        "<h2>Results</h2>",
        _dots(report["rows"]),
        _table(
            ["system", "metric", "source", "value", "95 % interval", "n", "conversations",
             "interval by"],
            [_cells(row) for row in report["rows"]],
        ),
    ]  # fmt: skip
    if report["agreement"]:
        body += ["<h2>Agreement of the raters</h2>", *_agreement(report["agreement"])]
    body += ["<h2>How the scores are spread</h2>", _histograms(report["histograms"])]
    body += [
        "<h2>Published systems</h2>",
        f"<p><strong>{_words(report['caution'])}</strong></p>",
        _table(
            ["system", "setting", "sensible", "specific", "SSA"],
            [
                [one["system"], one["setting"]]
                + [_percent(one[name]) for name in ("sensible", "specific", "ssa")]
                for one in report["published"]
            ],
        ),
    ]
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>Sensibleness and specificity</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        + "\n".join(body)
        + "\n</body>\n</html>\n"
    )


def _origin(report: Json) -> str:
    items = [f"command: <code>{escape(report['command'])}</code>"] if report["command"] else []
    items += [
        f"scorer: {escape(str(one.get('name')))}, digest <code>{escape(str(one.get('digest')))}"
        "</code>"
        for one in report["scorers"]
    ]
    items.append(
        f"intervals: 95 %; bootstrap of {report['resamples']} draws of conversations, seed "
        f"{report['seed']}"
    )
    items += [_words(note) for note in report["notes"]]
    lines = "".join(f"<li>{item}</li>" for item in items)
    systems = "".join(
        f"<details><summary>{escape(one['name'])}: {one['responses']} responses, "
        f"{one['conversations']} conversations</summary><code>"
        f"{escape(json.dumps(one, ensure_ascii=False))}</code></details>"
        for one in report["systems"]
    )
    return f"<ul>{lines}</ul>{systems}"


def _cells(row: Json) -> list[str]:
    span = "none" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
    return [row["system"], row["metric"], row["source"], f"{row['value']:.3f}", span,
            str(row["n"]), str(row["conversations"]), row["method"]]  # fmt: skip


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{cells}</tr>{lines}</table></div>'


def _dots(rows: Sequence[Json]) -> str:
    """A dot with its interval for each number, from 0 to 1."""
    height = _ROW * (len(rows) + 1) + 8
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="Values and intervals">']
    for tick in range(0, 11, 2):
        x = _x(tick / 10)
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="0" y2="{height - _ROW}"/>')
        parts.append(f'<text class="soft" x="{x}" y="{height - 8}" text-anchor="middle">'
                     f"{tick / 10:g}</text>")  # fmt: skip
    for place, row in enumerate(rows):
        y = _ROW * place + _ROW / 2
        name = f"{row['system'][:28]} · {row['metric']} · {row['source']}"
        parts.append(f'<text x="0" y="{y + 4}">{escape(name)}</text>')
        if row["low"] is not None:
            parts.append(f'<line class="{row["source"]}" stroke-width="3" x1="{_x(row["low"])}" '
                         f'x2="{_x(row["high"])}" y1="{y}" y2="{y}"/>')  # fmt: skip
        parts.append(f'<circle class="{row["source"]}" cx="{_x(row["value"])}" cy="{y}" r="5"/>')
    return "".join(parts) + "</svg>"


def _x(value: float) -> float:
    return round(_LEFT + value * (_WIDTH - _LEFT - 20), 1)


def _histograms(found: Json) -> str:
    """Columns of ten bars, one pair of pictures per system."""
    parts = []
    for name, of in found.items():
        pictures = "".join(_bars(metric, counts) for metric, counts in of.items())
        parts.append(
            f"<figure><figcaption>{escape(name)}: responses by score, sensible left, specific "
            f'right</figcaption><svg viewBox="0 0 620 100" role="img" '
            f'aria-label="Histogram of {escape(name, quote=True)}">{pictures}</svg></figure>'
        )
    return "".join(parts)


def _bars(metric: str, counts: Sequence[int]) -> str:
    left, most = (0 if metric == "sensible" else 320), max(*counts, 1)
    bars = []
    for place, count in enumerate(counts):
        height = round(70 * count / most, 1)
        x = left + 30 * place
        bars.append(f'<rect class="automatic" x="{x}" y="{80 - height}" width="24" '
                    f'height="{height}"><title>{count}</title></rect>'
                    f'<text class="soft" x="{x}" y="95">{place / 10:g}</text>')  # fmt: skip
    return "".join(bars)


def _agreement(found: Json) -> list[str]:
    rows, raters = [], []
    for name, one in found.items():
        told = [_measure(one[key]) for key in ("percent", "alpha", "ac1")]
        told[1] += f" ({one['level']})" + (", all labels the same" if one["is_constant"] else "")
        rows.append([name, str(one["items"]), *told])
        for rater in one["raters"]:
            agreed = rater["with_majority"]
            raters.append([
                name, rater["name"], str(rater["labels"]), f"{100 * rater['shares']['yes']:.0f} %",
                "-" if agreed is None else f"{100 * agreed:.0f} %",
                "all labels the same" if rater["is_uniform"] else "",
            ])  # fmt: skip
    return [
        _table(["labels", "items", "agreement", "Krippendorff alpha", "Gwet AC1"], rows),
        _table(["labels", "rater", "n", "yes", "with the others' majority", ""], raters),
    ]


def _measure(one: Json) -> str:
    span = one["interval"]
    return f"{one['value']:.3f}" + (f" [{span['low']:.3f}, {span['high']:.3f}]" if span else "")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:g} %"


def _words(text: str) -> str:
    """A sentence written for Markdown, escaped."""
    return escape(text).replace("`", "")
