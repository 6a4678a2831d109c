"""Laws of comparing and reporting: paired, gated, every number with its n, interval and origin."""

import json
import re

import numpy as np
import pytest
from typer.testing import CliRunner

from chatbot.errors import InputError
from eval.commands import app
from eval.ssa.compare import compare
from eval.ssa.labels import Label
from eval.ssa.published import PUBLISHED
from eval.ssa.report import build_report
from eval.ssa.report_html import html
from eval.ssa.report_markdown import markdown
from eval.ssa.results import read_system, read_systems
from eval.ssa.selftest import FILE, selftest

SCORER = {"name": "s", "digest": "abc123"}
FEW = 1000


def scored(name, values, **more):
    """Lines of single responses to the same contexts; values are (sensible, specific)."""
    return [
        {"context": [f"c{i}"], "response": f"{name} {i}", "system": name, "sensible": a,
         "specific": b, "ssa": (a + b) / 2, "scorer": SCORER} | more
        for i, (a, b) in enumerate(values)
    ]  # fmt: skip


def noise(seed, n=60, shift=0.0):
    rng = np.random.default_rng(seed)
    a = np.clip(rng.random(n) * 0.5 + 0.3 + shift, 0, 1)
    return [(float(x), float(x * y)) for x, y in zip(a, rng.random(n), strict=True)]


@pytest.fixture
def systems(write_jsonl):
    def make(a, b):
        return (read_system(write_jsonl("a.jsonl", scored("A", a))),
                read_system(write_jsonl("b.jsonl", scored("B", b))))  # fmt: skip

    return make


# -- comparing


def test_a_system_is_no_worse_than_itself(systems):
    found = compare(*systems(noise(0), noise(0)), resamples=FEW)
    assert not found.is_worse(0)
    assert found.is_shown_no_worse(0)
    ssa = found.differences[2]
    assert (ssa.value, ssa.interval.low, ssa.interval.high, ssa.b_worse) == (0, 0, 0, 0)
    assert found.differences[0].p == 1


def test_worse_beyond_the_margin_is_seen_and_the_other_way_is_its_mirror(systems):
    a, b = systems(noise(0), noise(0, shift=-0.2))
    found, back = compare(a, b, resamples=FEW), compare(b, a, resamples=FEW)
    assert found.is_worse(0.0)
    assert found.is_worse(0.05)
    assert not found.is_worse(0.5)
    assert not back.is_worse(0)
    for one, other in zip(found.differences, back.differences, strict=True):
        assert one.value == pytest.approx(-other.value)
        assert (one.only_a, one.only_b, one.p) == (other.only_b, other.only_a, other.p)


def test_pairing_is_what_makes_a_small_difference_seen(systems):
    values = noise(1, n=80)
    less = [(a - 0.02, b - 0.02 if b > 0.02 else b) for a, b in values]
    found = compare(*systems(values, less), resamples=FEW).differences[0]
    assert found.interval.high < 0
    assert found.detectable < 0.01 < np.std([a for a, _ in values]) / 80**0.5


def test_pairs_are_those_of_the_same_context(systems, write_jsonl):
    a = scored("A", noise(0, n=10))
    b = list(reversed(scored("B", noise(1, n=10))))[:7]
    found = compare(
        read_system(write_jsonl("x.jsonl", a)), read_system(write_jsonl("y.jsonl", b)),
        resamples=FEW,
    )  # fmt: skip
    assert (len(found.pairs), found.left_out) == (7, 3)
    assert all(p.a_text.split()[1] == p.b_text.split()[1] for p in found.pairs)


def test_dialogues_are_paired_by_id_and_weigh_as_one(write_jsonl):
    def dialogues(name, shift):
        return [
            {"id": i, "turns": ["Hi!"] + [f"{name} {t}" for t in range(n)],
             "speakers": ["opening"] + ["bot"] * n, "scorer": SCORER,
             "responses": [{"sensible": 0.5 + shift, "specific": 0.1 * i}] * n}
            for i, n in enumerate([3, 5, 8])
        ]  # fmt: skip

    a = read_system(write_jsonl("a.jsonl", dialogues("A", 0)))
    b = read_system(write_jsonl("b.jsonl", dialogues("B", 0.1)))
    found = compare(a, b, resamples=FEW)
    assert len(found.pairs) == 3
    assert found.differences[0].value == pytest.approx(0.1)
    assert found.differences[0].p is None


def test_what_cannot_be_compared_is_told(write_jsonl):
    a = read_system(write_jsonl("a.jsonl", scored("A", noise(0))))
    other = scored("B", noise(0), scorer={"name": "t", "digest": "x"})
    with pytest.raises(InputError, match="score both with the same scorer"):
        compare(a, read_system(write_jsonl("b.jsonl", other)))
    apart = [
        line | {"context": ["elsewhere", str(i)]} for i, line in enumerate(scored("B", noise(0)))
    ]
    with pytest.raises(InputError, match="share no context"):
        compare(a, read_system(write_jsonl("c.jsonl", apart)))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"sensible": 0.2, "specific": 0.3}, "line 1: specific is 0.3, more than sensible"),
        ({"sensible": 2}, "line 1: `sensible` is 2, no number from 0 to 1"),
        ({"specific": None}, "line 1: `specific` is None"),
        ({"scorer": None}, "line 1: has no `scorer`"),
    ],
)
def test_a_line_without_good_scores_is_told(write_jsonl, bad, message):
    with pytest.raises(InputError, match=message):
        read_systems(write_jsonl("a.jsonl", scored("A", [(0.5, 0.5)], **bad)))


@pytest.mark.parametrize(("shift", "margin", "code"), [(0, 0, 0), (-0.2, 0.02, 1), (-0.2, 0.9, 0)])
def test_the_exit_code_is_a_gate(write_jsonl, shift, margin, code):
    a = write_jsonl("a.jsonl", scored("A", noise(0)))
    b = write_jsonl("b.jsonl", scored("B", noise(0, shift=shift)))
    arguments = ["ssa", "compare", str(a), str(b), "--margin", str(margin), "--resamples", "1000"]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == code
    assert "McNemar p" in result.stdout
    assert CliRunner().invoke(app, [*arguments, "--json"]).exit_code == code


# -- reporting


def labels_of(system, n, raters=5):
    rng = np.random.default_rng(0)
    found = {}
    for one in system.responses[:n]:
        yes = rng.random() < one.sensible
        label = Label("yes", "yes" if rng.random() < 0.5 else "no") if yes else Label("no", None)
        found[one.exchange.key] = {f"r{r}": label for r in range(raters)}
    return found


def test_every_row_has_n_interval_and_method(systems):
    a, b = systems(noise(0, n=80), noise(2, n=80))
    report = build_report([a.path, b.path], labels_of(a, 40), command="chatbot x", resamples=FEW)
    json.dumps(report)
    sources = {(row["system"], row["source"]) for row in report["rows"]}
    assert sources == {("A", "automatic"), ("A", "people"), ("A", "combined"), ("B", "automatic")}
    for row in report["rows"]:
        assert row["low"] <= row["value"] <= row["high"]
        assert row["n"] == (40 if row["source"] == "people" else 80)
        assert row["method"]
    for text in (html(report), markdown(report)):
        for told in (
            "abc123",
            "chatbot x",
            "seed 0",
            "Wilson",
            "PPI++",
            "Mitsuku",
            "not comparable",
        ):
            assert told in text, told


def test_the_rows_are_the_means_and_the_estimate_is_between(systems):
    a, _ = systems(noise(0, n=80), noise(1))
    labels = labels_of(a, 40)
    rows = {
        (r["metric"], r["source"]): r for r in build_report([a.path], labels, resamples=FEW)["rows"]
    }
    assert rows["sensible", "automatic"]["value"] == pytest.approx(
        np.mean(a.values("sensible")), abs=1e-4
    )
    people = [next(iter(given.values())).is_sensible for given in labels.values()]
    assert rows["sensible", "people"]["value"] == pytest.approx(np.mean(people), abs=1e-4)
    for source in ("automatic", "people", "combined"):
        parts = [rows[m, source]["value"] for m in ("sensible", "specific", "ssa")]
        assert parts[1] <= parts[0]
        assert parts[2] == pytest.approx((parts[0] + parts[1]) / 2, abs=1e-4)


def test_labels_all_alike_still_have_an_interval_of_some_width(write_jsonl):
    a = read_system(write_jsonl("a.jsonl", scored("A", noise(0, n=20))))
    labels = {one.exchange.key: {"r": Label("yes", "no")} for one in a.responses}
    rows = build_report([a.path], labels, resamples=FEW)["rows"]
    people = {row["metric"]: row for row in rows if row["source"] == "people"}
    assert (people["sensible"]["value"], people["sensible"]["high"]) == (1.0, 1.0)
    assert people["sensible"]["low"] == pytest.approx(0.8389, abs=1e-4)  # Wilson, 20 of 20
    assert people["specific"]["high"] == pytest.approx(0.1611, abs=1e-4)


def test_the_report_repeats(systems):
    a, b = systems(noise(0), noise(1))
    one, two = (html(build_report([a.path, b.path], resamples=FEW)) for _ in range(2))
    assert one == two


def test_the_page_needs_nothing_beside_itself_and_escapes_names(write_jsonl):
    path = write_jsonl("a.jsonl", scored("<script>alert(1)</script>|x", noise(0)))
    report = build_report([path], command='chatbot "<b>"', resamples=FEW)
    page = html(report)
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=|url\(|@import|https?://(?!www\.w3\.org)", page)
    assert page.count("<svg") == 2
    assert "prefers-color-scheme: dark" in page
    assert "\\|x" in markdown(report)


def test_the_published_figures_are_those_of_the_papers():
    interactive = {one.system: one.ssa for one in PUBLISHED if one.setting == "interactive"}
    assert interactive == {
        "Human": 86, "Meena (full)": 79, "Meena (base)": 72, "Mitsuku": 56, "Cleverbot": 56,
        "DialoGPT 762M": 48, "XiaoIce": 31,
    }  # fmt: skip
    for one in PUBLISHED:
        if one.specific is not None:
            assert abs((one.sensible + one.specific) / 2 - one.ssa) <= 0.5


def test_the_command_writes_three_files(write_jsonl, tmp_path):
    path, out = write_jsonl("a.jsonl", scored("A", noise(0))), tmp_path / "report.html"
    arguments = ["ssa", "report", str(path), "--out", str(out), "--resamples", "1000"]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    assert out.read_text().startswith("<!doctype html>")
    assert json.loads(out.with_suffix(".json").read_text())["resamples"] == 1000
    assert out.with_suffix(".md").read_text().startswith("# Sens")


# -- selftest


class Oracle:
    """Knows the labels, or says their opposite, or nothing."""

    identity = {"name": "oracle", "digest": "0"}  # noqa: RUF012

    def __init__(self, answer):
        self._answer = answer

    def score(self, pairs):
        lines = [json.loads(line) for line in FILE.read_text("utf-8").splitlines()]
        known = {(tuple(x["context"]), x["response"]): x for x in lines}
        return [self._answer(known[tuple(context), response]) for context, response in pairs]


class Numbers:
    def __init__(self, sensible, specific):
        self.sensible, self.specific, self.reasons = sensible, specific, ()


def test_figures_are_right_at_the_ends():
    _, best = selftest(Oracle(lambda x: Numbers(x["sensible"], x["specific"] or 0)))
    _, worst = selftest(Oracle(lambda x: Numbers(1 - x["sensible"], 1 - (x["specific"] or 0))))
    _, none = selftest(Oracle(lambda x: Numbers(0.5, 0.5)))
    for one in best:
        assert (one.auc, one.ece, one.right) == (1.0, 0.0, 1.0)
        assert one.spearman == pytest.approx(1.0)
    assert [one.auc for one in worst] == [0, 0]
    assert [(one.auc, one.auc_interval.low) for one in none] == [(0.5, 0.5)] * 2
    assert "n = " in str(best[0])
