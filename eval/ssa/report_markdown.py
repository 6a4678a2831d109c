"""Draws a report of `report.build_report` as Markdown."""

from collections.abc import Sequence

from eval.jsonl import Json


def markdown(report: Json) -> str:
    """The whole report."""
    parts = ["# Sensibleness and specificity", "", *_origin(report), "", *results(report["rows"])]
    if report["agreement"]:
        parts += ["", "## Agreement of the raters", "", *agreement_table(report["agreement"])]
        parts += ["", *rater_table(report["agreement"])]
    parts += ["", "## Published systems", "", f"*{report['caution']}*", ""]
    parts += ["| system | setting | sensible | specific | SSA |", "|---|---|---|---|---|"]
    for one in report["published"]:
        cells = [_percent(one[name]) for name in ("sensible", "specific", "ssa")]
        parts.append(f"| {one['system']} | {one['setting']} | {' | '.join(cells)} |")
    return "\n".join(parts) + "\n"


def results(rows: Sequence[Json]) -> list[str]:
    """The table of numbers."""
    head = "| system | metric | source | value | 95 % interval | n | conversations | interval by |"
    parts = [head, "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        span = "none" if row["low"] is None else f"{row['low']:.3f} to {row['high']:.3f}"
        parts.append(
            f"| {_cell(row['system'])} | {row['metric']} | {row['source']} | {row['value']:.3f} "
            f"| {span} | {row['n']} | {row['conversations']} | {row['method']} |"
        )
    return parts


def agreement_table(found: Json) -> list[str]:
    """Percent agreement, alpha and AC1 of every view."""
    parts = [
        "| labels | items | agreement | Krippendorff alpha | Gwet AC1 |",
        "|---|---|---|---|---|",
    ]
    for name, one in found.items():
        told = [_measure(one[key]) for key in ("percent", "alpha", "ac1")]
        told[1] += f" ({one['level']})" + (", all labels the same" if one["is_constant"] else "")
        parts.append(f"| {name} | {one['items']} | {' | '.join(told)} |")
    return parts


def rater_table(found: Json) -> list[str]:
    """Each rater's labels and how often they are those of the others."""
    parts = [
        "| labels | rater | n | yes | with the others' majority | |",
        "|---|---|---|---|---|---|",
    ]
    for name, one in found.items():
        for rater in one["raters"]:
            agreed = rater["with_majority"]
            parts.append(
                f"| {name} | {_cell(rater['name'])} | {rater['labels']} "
                f"| {100 * rater['shares']['yes']:.0f} % "
                f"| {'-' if agreed is None else f'{100 * agreed:.0f} %'} "
                f"| {'all labels the same' if rater['is_uniform'] else ''} |"
            )
    return parts


def _origin(report: Json) -> list[str]:
    parts = [f"- command: `{report['command']}`"] if report["command"] else []
    for one in report["scorers"]:
        parts.append(f"- scorer: {one.get('name', '?')}, digest `{one.get('digest', '?')}`")
    parts.append(
        f"- intervals: 95 %; bootstrap of {report['resamples']} draws of conversations, seed "
        f"{report['seed']}"
    )
    for one in report["systems"]:
        contexts = one.get("contexts")
        told = f", contexts {contexts['file']} (sha256 `{contexts['sha256']}`)" if contexts else ""
        parts.append(
            f"- {_cell(one['name'])}: {one['responses']} responses, {one['conversations']} "
            f"conversations, {one['file']}{told}"
        )
    return parts + [f"- note: {note}" for note in report["notes"]]


def _measure(one: Json) -> str:
    span = one["interval"]
    return f"{one['value']:.3f}" + (f" [{span['low']:.3f}, {span['high']:.3f}]" if span else "")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:g} %"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
