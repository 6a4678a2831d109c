"""A report on scored files as plain JSON: every number with n, interval, method and origin.

How it is drawn, `report_html` and `report_markdown` know.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from eval.jsonl import Json
from eval.ssa.agreement import agreement
from eval.ssa.labels import ANSWERS, Label
from eval.ssa.ppi import Estimate, Response, SsaEstimate, estimate_ssa
from eval.ssa.published import CAUTION, PUBLISHED
from eval.ssa.results import METRICS, System, read_systems
from eval.stats import RESAMPLES, Clusters, Interval, cluster_bootstrap, wilson

Labels = Mapping[str, Mapping[str, Label]]


@dataclass(frozen=True, slots=True)
class Row:
    """One number.

    Attributes:
        source: "automatic" (mean score), "people" (share of majorities of yes), "combined"
            (prediction-powered).
        n, conversations: responses that it is of, and how many conversations they belong to.
        method: of the 95 % interval.
    """

    system: str
    metric: str
    source: str
    value: float
    low: float | None
    high: float | None
    n: int
    conversations: int
    method: str


def build_report(
    files: Sequence[str | Path],
    labels: Labels | None = None,
    *,
    command: str = "",
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Json:
    """The report as plain JSON.

    Args:
        files: scored files; a file may hold several systems.
        labels: task -> rater -> label, of `labels.read_labels`.
        command: what the person typed, to be printed.

    Raises:
        InputError: a file is not scored.
    """
    systems = [system for file in files for system in read_systems(file)]
    labels = labels or {}
    rows = [row for s in systems for row in _rows(s, labels, seed, resamples)]
    scorers = list({str(dict(s.scorer)): dict(s.scorer) for s in systems}.values())
    return {
        "command": command,
        "seed": seed,
        "resamples": resamples,
        "scorers": scorers,
        "systems": [
            {
                "name": s.name,
                "file": s.path.name,
                "responses": len(s.responses),
                "conversations": len(set(s.conversations())),
                "scorer": dict(s.scorer),
                **s.made,
            }
            for s in systems
        ],
        "rows": [asdict(row) for row in rows],
        "agreement": agreement_of(labels, seed=seed, resamples=resamples),
        "histograms": {s.name: _histograms(s) for s in systems},
        "published": [asdict(one) for one in PUBLISHED],
        "caution": CAUTION,
        "notes": _notes(systems, scorers, labels),
    }


def _rows(system: System, labels: Labels, seed: int, resamples: int) -> list[Row]:
    rows = [_automatic(system, metric, seed, resamples) for metric in METRICS]
    people = system.people(labels)
    if any(one is not None for one in people):
        rows += [_of_people(system, people, metric, seed, resamples) for metric in METRICS]
        responses = [
            Response(one.conversation, (one.sensible, one.specific), label)
            for one, label in zip(system.responses, people, strict=True)
        ]
        if (estimate := estimate_ssa(responses)) is not None:
            rows += [_combined(system, estimate, metric) for metric in METRICS]
    return rows


def _automatic(system: System, metric: str, seed: int, resamples: int) -> Row:
    clusters = Clusters.of(system.values(metric), system.conversations())
    interval = cluster_bootstrap(clusters, seed=seed, resamples=resamples)
    n = len(clusters.sums)
    return _row(system, metric, "automatic", clusters.mean, interval, int(clusters.counts.sum()), n,
                "cluster bootstrap")  # fmt: skip


def _of_people(
    system: System,
    people: Sequence[tuple[float, float] | None],
    metric: str,
    seed: int,
    resamples: int,
) -> Row:
    values, names = [], []
    for label, name in zip(people, system.conversations(), strict=True):
        if label is not None:
            values.append({"sensible": label[0], "specific": label[1]}.get(metric, sum(label) / 2))
            names.append(name)
    clusters = Clusters.of(values, names)
    alone = len(clusters.sums) == len(values)
    if metric != "ssa" and alone:  # one response a conversation: independent trials
        interval: Interval | None = wilson(round(sum(values)), len(values))
        method = "Wilson"
    else:
        interval = cluster_bootstrap(clusters, seed=seed, resamples=resamples)
        method = "cluster bootstrap"
        if interval and interval.low == interval.high:
            # All the same: the bootstrap sees no spread, and as many trials as there are
            # conversations is what can be said for certain.
            interval = wilson(round(clusters.mean * len(clusters.sums)), len(clusters.sums))
            method = "Wilson on conversations"
    return _row(system, metric, "people", clusters.mean, interval, len(values),
                len(clusters.sums), method)  # fmt: skip


def _combined(system: System, found: SsaEstimate, metric: str) -> Row:
    one: Estimate = getattr(found, metric)
    method = f"PPI++, lambda {one.weight:.2f}, {found.labelled} labelled, t interval"
    if found.gated and metric != "sensible":
        method += ", specific set to sensible"
    n = found.labelled + found.unlabelled
    conversations = len(set(system.conversations()))
    return _row(system, metric, "combined", one.value, one.interval, n, conversations, method)


def _row(
    system: System, metric: str, source: str, value: float, interval: Interval | None, n: int,
    conversations: int, method: str,
) -> Row:  # fmt: skip
    low, high = (interval.low, interval.high) if interval else (None, None)
    return Row(
        system=system.name, metric=metric, source=source, value=round(value, 4),
        low=None if low is None else round(low, 4), high=None if high is None else round(high, 4),
        n=n, conversations=conversations, method=method if interval else "none: one conversation",
    )  # fmt: skip


def agreement_views(labels: Labels) -> dict[str, tuple[dict[str, dict[str, str]], Sequence[str]]]:
    """Name -> (labels, categories) of the ways in which agreement is looked at.

    `specific` counts not sensible as not specific, as SSA does; `specific if asked` leaves those
    raters out who were not asked.
    """
    yes_no = ("no", "yes")
    return {
        "sensible": (_view(labels, lambda x: "yes" if x.is_sensible else "no"), yes_no),
        "specific": (_view(labels, lambda x: "yes" if x.is_specific else "no"), yes_no),
        "sensible, with maybe": (_view(labels, lambda x: x.sensible), ANSWERS),
        "specific if asked, with maybe": (_view(labels, lambda x: x.specific), ANSWERS),
    }


def _view(labels: Labels, of: Callable[[Label], str | None]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for task, given in labels.items():
        told = {rater: of(label) for rater, label in given.items()}
        found[task] = {rater: label for rater, label in told.items() if label is not None}
    return found


def agreement_of(labels: Labels, *, seed: int = 0, resamples: int = RESAMPLES) -> Json:
    """View -> its `Agreement` as plain JSON; views without two labels of a response are absent."""
    found = {}
    for name, (view, categories) in agreement_views(labels).items():
        level: Literal["nominal", "ordinal"] = "nominal" if len(categories) == 2 else "ordinal"
        measured = agreement(view, categories, level=level, seed=seed, resamples=resamples)
        if measured is not None:
            found[name] = asdict(measured) | {"level": level}
    return found


def _histograms(system: System) -> Json:
    """How many responses have a score in each tenth."""
    found = {}
    for metric in ("sensible", "specific"):
        counts = [0] * 10
        for value in system.values(metric):
            counts[min(9, int(value * 10))] += 1
        found[metric] = counts
    return found


def _notes(systems: Sequence[System], scorers: Sequence[Json], labels: Labels) -> list[str]:
    notes = []
    if len(scorers) > 1:
        notes.append(
            "The files are scored by several scorers: their automatic rows cannot be compared."
        )
    names = [system.name for system in systems]
    for name in sorted({name for name in names if names.count(name) > 1}):
        notes.append(f"Several systems are called {name}; give each run a --name.")
    known = {one.exchange.key for system in systems for one in system.responses}
    if unknown := [key for key in labels if key not in known]:
        notes.append(f"{len(unknown)} labels are of responses in none of the files.")
    raters = {len(given) for given in labels.values()}
    if raters and min(raters) < 5:
        notes.append(
            f"The paper takes the majority of 5 raters; here {min(raters)} to {max(raters)} "
            "labelled a response. Of an even number, more than half must say yes."
        )
    if labels:
        notes.append(
            "`combined` is right on average only if the labelled responses were picked at random, "
            "as `chatbot eval ssa tasks --limit` does."
        )
    return notes
