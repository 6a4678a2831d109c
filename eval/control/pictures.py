"""Draws the tables: strength curves, the price of success, conversations, leakage.

Knows matplotlib, which comes with the extra `train`. The same tables give the same bytes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from chatbot.errors import ChatbotError
from eval.control.tables import Tables


class PicturesError(ChatbotError):
    """The pictures cannot be drawn; the tables do not need them."""


def draw_pictures(tables: Tables, folder: Path) -> list[str]:
    """Writes the pictures; their names.

    Raises:
        PicturesError: matplotlib is missing.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise PicturesError(
            "the pictures need matplotlib; install the extra `train` for them "
            "(`pip install 'meena-controllable-chatbot[train]'`) and use --report-only"
        ) from error
    names = []
    with matplotlib.rc_context({"svg.hashsalt": "control", "font.size": 9}):
        for name, figure in _figures(tables, Figure):
            # Without the date, so that the same tables give the same file.
            figure.savefig(folder / name, format="svg", metadata={"Date": None})
            names.append(name)
    return names


def _figures(tables: Tables, new: Any) -> Iterator[tuple[str, Any]]:
    if tables.curves:
        yield "curves.svg", _curves(tables, new)
    if tables.graded:
        yield "graded.svg", _graded(tables, new)
    for mode in tables.leakage:
        yield f"leakage-{mode}.svg", _leakage(tables, mode, new)


def _curves(tables: Tables, new: Any) -> Any:
    figure = new(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for one in tables.curves:
        name = f"{one.attribute}, {one.mode}"
        left.plot(one.strengths, one.success, marker="o", label=name)
        right.plot(one.perplexity, one.success, marker="o", label=name)
    left.set(xlabel="strength asked", ylabel="share of replies judged to show it", ylim=(0, 1))
    right.set(xlabel="perplexity, ratio to unsteered")
    right.axvline(1.25, color="grey", linewidth=0.8, linestyle=":")
    right.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    return figure


def _graded(tables: Tables, new: Any) -> Any:
    figure = new(figsize=(5, 3.5), layout="constrained")
    axes = figure.subplots()
    for one in tables.graded:
        turns = range(1, len(one.probability) + 1)
        (line,) = axes.plot(turns, one.probability, marker="o",
                            label=f"{one.attribute}, {one.mode}")  # fmt: skip
        axes.plot(turns, one.plain, color=line.get_color(), linestyle=":", label="not asked")
    axes.set(xlabel="turn", ylabel="mean judged probability")
    axes.legend(fontsize=7)
    return figure


def _leakage(tables: Tables, mode: str, new: Any) -> Any:
    asked = tables.leakage[mode]
    figure = new(figsize=(9, 1.5 + 0.35 * len(asked)), layout="constrained")
    axes = figure.subplots()
    values = list(asked.values())
    image = axes.imshow(values, cmap="RdBu_r", vmin=-100, vmax=100, aspect="auto")
    axes.set_yticks(range(len(asked)), list(asked))
    axes.set_xticks(
        range(len(tables.labels)),
        [label.partition(":")[2] for label in tables.labels], rotation=60, ha="right",
    )  # fmt: skip
    axes.set(ylabel="asked", title=f"change of the share of each label in points, {mode}")
    figure.colorbar(image)
    return figure
