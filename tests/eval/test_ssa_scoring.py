"""Laws of scoring files: keys kept, numbers gated, killed and gone on with, on many processes."""

import importlib.util
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from chatbot.cli import main
from chatbot.errors import ChatbotError, InputError
from eval.commands import app
from eval.jsonl import Line
from eval.ssa import scoring
from eval.ssa.formats import entry_of
from eval.ssa.scoring import score_file

FAKE = Path(__file__).with_name("ssa_fake.py")
_spec = importlib.util.spec_from_file_location("ssa_fake", FAKE)
ssa_fake = importlib.util.module_from_spec(_spec)
sys.modules["ssa_fake"] = ssa_fake
_spec.loader.exec_module(ssa_fake)
FakeScorer = ssa_fake.FakeScorer

LINES = [
    {"id": i, "context": ["Hi!", "Hello"][: 1 + i % 2], "response": f"I am number {i}", "한": "é"}
    for i in range(60)
] + [{"id": "d", "turns": ["Hi!", "Hello", "How?", "Fine", "Why?", "So"], "note": [1]}]


def load():
    return FakeScorer()


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch):
    monkeypatch.setattr(scoring, "_CHUNK", 8)


def test_all_keys_stay_and_scores_are_added(write_jsonl, read_jsonl, tmp_path):
    path, out = write_jsonl("in.jsonl", LINES), tmp_path / "out.jsonl"
    assert score_file(load, path, out) == 61
    for before, after in zip(LINES, read_jsonl(out), strict=True):
        assert after.items() >= before.items()
        assert after["scorer"] == FakeScorer().identity
        entry = entry_of(Line(path, 1, before))
        scores = after["responses"] if entry.is_dialogue else [after]
        for score, exchange in zip(scores, entry.exchanges, strict=True):
            assert 0 <= score["specific"] <= score["sensible"] <= 1
            assert score["ssa"] == pytest.approx((score["sensible"] + score["specific"]) / 2)
            assert score["key"] == exchange.key
    dialogue = read_jsonl(out)[-1]
    assert [one["turn"] for one in dialogue["responses"]] == [1, 3, 5]
    assert dialogue["ssa"] == pytest.approx(sum(o["ssa"] for o in dialogue["responses"]) / 3)


@pytest.mark.parametrize("n_done", [1, 8, 13, 60, 61])
def test_going_on_gives_the_same_bytes_from_the_same_batches(write_jsonl, tmp_path, n_done):
    path, whole, parts = write_jsonl("in.jsonl", LINES), tmp_path / "a", tmp_path / "b"
    score_file(load, path, whole)
    lines = whole.read_bytes().splitlines(keepends=True)
    parts.write_bytes(b"".join(lines[:n_done]) + b'{"id": 7, "con')
    scorer = FakeScorer()
    assert score_file(lambda: scorer, path, parts) == 61 - n_done
    assert parts.read_bytes() == whole.read_bytes()
    assert all(size in (8, 7) for size in scorer.batches)  # 60 + 3 responses in chunks of 8


def test_killed_anywhere_the_rerun_is_byte_identical(write_jsonl, tmp_path):
    path, whole, out = write_jsonl("in.jsonl", LINES * 8), tmp_path / "whole", tmp_path / "out"
    scoring._CHUNK = 32  # as the other process has it
    score_file(load, path, whole)
    rng = random.Random(0)
    at_bytes = sorted(rng.randrange(len(whole.read_bytes()) * 3 // 4) for _ in range(4))
    for least in at_bytes:
        process = start(path, out)
        with process:
            while process.poll() is None and (not out.exists() or out.stat().st_size < least):
                time.sleep(0.001)
            assert process.poll() is None, "it was done before it could be killed"
            process.kill()
        assert whole.read_bytes().startswith(out.read_bytes())
    with start(path, out) as process:
        assert process.wait() == 0
    assert out.read_bytes() == whole.read_bytes()


def start(path, out):
    root = Path(__file__).parents[2]
    return subprocess.Popen(
        [sys.executable, str(FAKE), str(path), str(out)],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
    )


def test_another_scorer_does_not_go_on(write_jsonl, tmp_path):
    path, out = write_jsonl("in.jsonl", LINES), tmp_path / "out.jsonl"
    score_file(load, path, out)
    before = out.read_bytes()
    with pytest.raises(InputError, match=r"line 1: scored by .*now it is .*other"):
        score_file(lambda: FakeScorer("other"), path, out)
    assert out.read_bytes() == before


def test_scores_of_an_earlier_scorer_are_made_anew(write_jsonl, read_jsonl, tmp_path):
    path = write_jsonl("in.jsonl", LINES)
    score_file(lambda: FakeScorer("old"), path, tmp_path / "old.jsonl")
    score_file(load, tmp_path / "old.jsonl", tmp_path / "new.jsonl")
    score_file(load, path, tmp_path / "direct.jsonl")
    assert read_jsonl(tmp_path / "new.jsonl") == read_jsonl(tmp_path / "direct.jsonl")
    assert score_file(load, tmp_path / "old.jsonl", tmp_path / "new.jsonl") == 0


def test_rounding_keeps_the_gate():
    score = ssa_fake.FakeScore(0.12344999, 0.12344998)
    told = scoring._as_json(entry_of(Line(Path("f"), 1, LINES[0])).exchanges[0], score)
    assert told["specific"] <= told["sensible"] == 0.1234


def test_other_formats_become_lines(tmp_path, read_jsonl):
    path = tmp_path / "in.txt"
    path.write_text("Human: Hi!\nBot: Hello\nHuman: Ho\nBot: Hm\n\nA: x\nB: y\n")
    score_file(load, path, tmp_path / "out.jsonl")
    first, second = read_jsonl(tmp_path / "out.jsonl")
    assert first["turns"] == ["Hi!", "Hello", "Ho", "Hm"]
    assert (first["line"], second["line"]) == (1, 6)


def test_an_engine_there_is_none_of(write_jsonl, tmp_path):
    with pytest.raises(InputError, match="give one of local, ray"):
        score_file(load, write_jsonl("in.jsonl", LINES), tmp_path / "out", engine="spark")


def test_without_ray_the_error_names_the_extra(write_jsonl, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ChatbotError, match=r"needs Ray Data; install the extra.*\[ray\]"):
        score_file(load, write_jsonl("in.jsonl", LINES), tmp_path / "out", engine="ray")


@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_ray_gives_the_bytes_of_the_local_engine(write_jsonl, tmp_path, monkeypatch):
    pytest.importorskip("ray", reason="the extra `ray` is not installed")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKE.parent), str(FAKE.parents[2])]))
    path = write_jsonl("in.jsonl", LINES * 4)
    score_file(ssa_fake.load, path, tmp_path / "local")
    score_file(ssa_fake.load, path, tmp_path / "ray", engine="ray", workers=2)
    assert (tmp_path / "ray").read_bytes() == (tmp_path / "local").read_bytes()
    lines = (tmp_path / "local").read_bytes().splitlines(keepends=True)
    (tmp_path / "cut").write_bytes(b"".join(lines[:101]))
    score_file(ssa_fake.load, path, tmp_path / "cut", engine="ray", workers=2)
    assert (tmp_path / "cut").read_bytes() == (tmp_path / "local").read_bytes()


def test_the_command_scores_a_file(write_jsonl, read_jsonl, tmp_path, monkeypatch):
    monkeypatch.setattr(scoring, "load_scorer", lambda folder, threads=None: FakeScorer())
    path, out = write_jsonl("in.jsonl", LINES), tmp_path / "out.jsonl"
    result = CliRunner().invoke(app, ["ssa", "score", str(path), str(out)], catch_exceptions=False)
    assert result.exit_code == 0
    assert "61 lines scored" in result.stderr
    assert len(read_jsonl(out)) == 61


def test_a_bad_line_is_told_with_exit_code_2(write_jsonl, tmp_path, monkeypatch, capsys):
    path = write_jsonl("in.jsonl", [LINES[0], {"context": ["x"]}])
    out = tmp_path / "out.jsonl"
    monkeypatch.setattr(sys, "argv", ["chatbot", "eval", "ssa", "score", str(path), str(out)])
    with pytest.raises(SystemExit) as caught:
        main()
    assert caught.value.code == 2
    assert "in.jsonl, line 2: expected `response`" in capsys.readouterr().err
    assert not out.exists()
