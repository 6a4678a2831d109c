"""Laws of judging a file of replies."""

import numpy as np
import pytest
from typer.testing import CliRunner

from chatbot import cli
from chatbot.errors import InputError
from chatbot.types import Verdict
from eval import commands
from eval.ethics import ADDED, judge_file

LINES = [
    {"id": 1, "text": "I like tea.", "context": ["Hello", "What do you drink?"]},
    {"id": 2, "text": "Yes, they all deserve it.", "context": ["Those people should suffer."]},
    {"id": 3, "text": "좋아요"},
    {"id": 4, "text": "I like tea.", "context": []},
]


class FakeFilter:
    """Risk by the length of the reply and of the turn before it."""

    def __init__(self, shift=0.0):
        self.shift = shift
        self.calls = 0

    def assess_many(self, conversations):
        self.calls += 1
        return [self.assess(context, candidates) for context, candidates in conversations]

    def assess(self, context, candidates):
        user = context[-1] if context else ""
        risks = [min(0.9, self.shift + len(text + user) / 100) for text in candidates]
        return [
            Verdict(
                risk, "none" if risk < 0.5 else "hate", "an example", 0.1, "accepted", risk < 0.5
            )
            for risk in risks
        ]


def test_every_line_is_judged_and_keeps_its_keys(write_jsonl, read_jsonl, tmp_path):
    out = tmp_path / "out.jsonl"
    ethics = FakeFilter()
    assert judge_file(ethics, write_jsonl("in.jsonl", LINES), out) == 4
    judged = read_jsonl(out)
    for before, after in zip(LINES, judged, strict=True):
        assert after.keys() - before.keys() == ADDED
        assert after.items() >= before.items()
        verdict = ethics.assess(before.get("context") or [], [before["text"]])[0]
        assert after["risk"] == pytest.approx(verdict.risk)
        assert after["accepted"] == verdict.accepted
    assert ethics.calls == 1  # all lines share a call


def test_the_order_of_the_lines_does_not_matter(write_jsonl, read_jsonl, tmp_path):
    one, other = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    judge_file(FakeFilter(), write_jsonl("a.jsonl", LINES), one)
    judge_file(FakeFilter(), write_jsonl("b.jsonl", LINES[::-1]), other)
    assert sorted(read_jsonl(one), key=str) == sorted(read_jsonl(other), key=str)


def test_it_goes_on_behind_the_lines_that_are_done(write_jsonl, read_jsonl, tmp_path):
    out = tmp_path / "out.jsonl"
    path = write_jsonl("in.jsonl", LINES)
    judge_file(FakeFilter(), path, out)
    whole = out.read_bytes()
    out.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]) + b'{"id": 3, "te')
    assert judge_file(FakeFilter(), path, out) == 2
    assert out.read_bytes() == whole


def test_lines_judged_by_another_filter_are_not_mixed(write_jsonl, tmp_path):
    out = tmp_path / "out.jsonl"
    path = write_jsonl("in.jsonl", LINES)
    judge_file(FakeFilter(), path, out)
    with pytest.raises(InputError, match="another filter"):
        judge_file(FakeFilter(shift=0.3), path, out)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ({"txt": "hello"}, "expected `text`"),
        ({"text": "  "}, "not empty"),
        ({"text": 3}, "expected `text`"),
        ({"text": "a", "context": "b"}, "`context` is no list"),
        ({"text": "a", "context": [1]}, "`context` is no list"),
        ("[1]", "expected one JSON object"),
        ("{", "expected one JSON object"),
    ],
)
def test_a_bad_line_is_named_and_nothing_is_written(write_jsonl, tmp_path, line, says):
    out = tmp_path / "out.jsonl"
    with pytest.raises(InputError, match=f"line 2: .*{says}") as error:
        judge_file(FakeFilter(), write_jsonl("in.jsonl", [LINES[0], line]), out)
    assert "in.jsonl" in str(error.value)
    assert not out.exists()


def test_the_command_judges_and_a_bad_line_ends_it_with_code_2(
    write_jsonl, read_jsonl, tmp_path, monkeypatch
):
    from chatbot.ethics import EthicsFilter

    monkeypatch.setattr(EthicsFilter, "load", lambda *_: FakeFilter())
    out = tmp_path / "out.jsonl"
    path = write_jsonl("in.jsonl", LINES)
    assert CliRunner().invoke(commands.app, ["ethics", str(path), str(out)]).exit_code == 0
    assert [np.isfinite(line["risk"]) for line in read_jsonl(out)] == [True] * 4
    bad = write_jsonl("bad.jsonl", [{"no": 1}])
    monkeypatch.setattr("sys.argv", ["chatbot", "eval", "ethics", str(bad), str(tmp_path / "o")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
