"""Laws of `chatbot eval control`, with the shipped judges and a bot of random weights."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from chatbot import Chatbot, Controls, Sampling
from chatbot import embedding as embedding_module
from chatbot.errors import ChatbotError, InputError, UnknownAttributeError
from eval.commands import app
from eval.control import metrics, plan
from eval.control.answers import Answer, Answers, Request, same_attributes
from eval.control.plan import PLAIN, Condition, Run, conditions, ranked, read_contexts
from eval.control.tables import requests
from eval.judges import PRETRAINED

CONTEXTS = [
    {"id": "a", "context": ["Hello"]},
    {"id": "b", "context": ["Hello", "Hi", "How are you?"]},
    {"id": "c", "context": ["Good weather today"]},
]
TALKS = [{"id": str(i), "person": [f"word {i} {turn}" for turn in range(6)]} for i in range(2)]
OPTIONS = [
    "--attributes", "joy,game", "--mixes", "joy+game", "--strengths", ".5,1", "--n", "3",
    "--candidates", "2", "--batch", "2",
]  # fmt: skip
REPORT = ("report.md", "report.json", "curves.svg", "graded.svg", "leakage-hidden.svg")


class Encoder:
    """Vectors made of letters, under the name of the encoder that the shipped judges know."""

    def __init__(self):
        told = json.loads((PRETRAINED / "emotion.json").read_text("utf-8"))
        self.identity = told["encoder"]

    def encode(self, texts):
        rows = np.zeros((len(texts), 384), np.float32)
        for row, text in zip(rows, texts, strict=True):
            np.add.at(row, [ord(letter) % 384 for letter in text or "?"], 1)
            row /= np.linalg.norm(row)
        return rows


@pytest.fixture(scope="module")
def bot(tiny_backbone):
    return Chatbot(tiny_backbone)


@pytest.fixture
def control(bot, monkeypatch, write_jsonl, tmp_path):
    """Runs the command; the folder it wrote."""
    write_jsonl("en.jsonl", CONTEXTS)
    write_jsonl("talks.jsonl", TALKS)
    monkeypatch.setattr(plan, "CONTEXTS", tmp_path)
    monkeypatch.setattr(metrics, "RESAMPLES", 50)
    monkeypatch.setattr(embedding_module.Embedder, "load_english", lambda: Encoder())
    monkeypatch.setattr(Chatbot, "load", lambda model, device, guarded: bot)

    def run(folder, *options):
        out = tmp_path / folder
        result = CliRunner().invoke(app, ["control", *OPTIONS, "--out", str(out), *options])
        if result.exception:
            raise result.exception
        return out, result.output

    return run


def report(folder):
    return {name: (folder / name).read_bytes() for name in REPORT}


def test_the_command_reports_every_condition(control):
    out, said = control("out")
    told = json.loads((out / "report.json").read_text("utf-8"))
    asked = [(row["attribute"], row["kind"], row["strengths"]) for row in told["rows"]]
    assert len(asked) == 2 * 2 + 2 + 2 + 2
    assert ("joy", "steered", {"joy": 0.5}) in asked
    assert ("game", "ranked", {"joy": 1.0, "game": 1.0}) in asked
    assert all(row["success"]["n"] == 3 for row in told["rows"])
    assert [curve["strengths"] for curve in told["curves"]] == [[0, 0.5, 1]] * 2
    assert set(told["leakage"]["points"]["hidden"]) == {"joy", "game"}
    assert len(told["graded"][0]["probability"]) == 6
    assert told["talks"] == 2
    assert "success" in said
    assert "graded over 6 turns" in said
    markdown = (out / "report.md").read_text("utf-8")
    for title in ("Aims", "Success and cost", "Leakage", "Strength curves", "Graded", "matched"):
        assert title in markdown


def test_a_run_cut_off_and_gone_on_with_gives_the_same_report(control, bot, monkeypatch):
    whole, _ = control("whole")
    respond, calls = bot.respond_many, []

    def fails_later(*args, **options):
        calls.append(1)
        if len(calls) == 9:
            raise ChatbotError("pulled the plug")
        return respond(*args, **options)

    monkeypatch.setattr(bot, "respond_many", fails_later)
    with pytest.raises(ChatbotError, match="pulled the plug"):
        control("parts")
    parts = whole.with_name("parts")
    replies = parts / "replies.jsonl"
    assert 0 < len(replies.read_bytes()) < len((whole / "replies.jsonl").read_bytes())
    replies.write_bytes(replies.read_bytes()[:-30])  # and the last line half written
    control("parts")
    assert report(parts) == report(whole)


def test_the_report_is_made_again_without_the_bot(control, monkeypatch):
    out, _ = control("out", "--graded", "")
    before = {name: (out / name).read_bytes() for name in ("report.md", "report.json")}
    (out / "report.md").unlink()
    monkeypatch.setattr(Chatbot, "load", lambda *_, **__: pytest.fail("it loaded the bot"))
    control("out", "--report-only")
    assert {name: (out / name).read_bytes() for name in before} == before
    lines = (out / "replies.jsonl").read_bytes().splitlines(keepends=True)
    (out / "replies.jsonl").write_bytes(b"".join(lines[:-1]))
    with pytest.raises(InputError, match="lacks replies of this run"):
        control("out", "--report-only")
    with pytest.raises(InputError, match=r"cannot read .*nowhere"):
        control("nowhere", "--report-only")


def test_more_attributes_use_the_replies_that_are_there(control):
    _, first = control("out", "--graded", "", "--attributes", "joy", "--no-best-of")
    _, more = control("out", "--graded", "", "--attributes", "joy,anger", "--no-best-of")
    assert "18 replies drawn" not in more
    # plain, joy at two strengths and the mix are there: anger at two strengths is new.
    assert "12 replies drawn" in first
    assert "6 replies drawn" in more


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        (["--attributes", "glee"], UnknownAttributeError, "no attribute named 'glee'"),
        (["--attributes", "crime"], InputError, "no judge knows crime"),
        (["--attributes", ""], InputError, "no attributes"),
        (["--strengths", "0,1"], InputError, "strengths are '0,1'"),
        (["--strengths", "much"], InputError, "strengths are 'much'"),
        (["--modes", "magic"], InputError, "modes are 'magic'"),
        (["--language", "fr"], InputError, "no contexts in 'fr'"),
    ],
)
def test_what_cannot_be_done_is_told_before_any_work(control, options, error, message, tmp_path):
    with pytest.raises(error, match=message):
        control("out", *options)
    assert not (tmp_path / "out" / "replies.jsonl").exists()


def test_a_file_of_something_else_is_refused(bot, tmp_path):
    path = tmp_path / "replies.jsonl"
    path.write_text('{"text": "hello"}\n')
    with pytest.raises(InputError, match="line 1: no reply of `chatbot eval control`"):
        Answers(path, bot.backbone.identity, candidates=2, batch=2)
    assert path.read_text() == '{"text": "hello"}\n'


# -- what is asked


def small_run(**changes):
    given = {
        "model": {"name": "m", "digest": "d"}, "attributes": ("joy",), "mixes": (),
        "strengths": (1.0,), "modes": ("hidden",), "contexts": (), "talks": (), "graded": (),
        "seed": 5, "candidates": 2, "batch": 2, "best_of": True,
    }  # fmt: skip
    return Run(**{**given, **changes})


def test_every_condition_answers_the_same_contexts_with_the_same_seeds(write_jsonl):
    run = small_run(contexts=read_contexts(write_jsonl("c.jsonl", CONTEXTS), 2))
    asked = [requests(run, condition.controls()) for condition in conditions(run)]
    assert len(asked) == 3
    for held in asked:
        assert [(one.turns, one.seed) for one in held] == [
            (("Hello",), 5),
            (("Hello", "Hi", "How are you?"), 6),
        ]


def test_ranked_candidates_are_the_unsteered_ones(bot):
    sampling = Sampling(candidates=4)
    plain = bot.respond("Hello there", seed=3, sampling=sampling)
    rival = bot.respond(
        "Hello there", seed=3, sampling=sampling, controls=ranked(("joy",)).controls()
    )
    ids = {one.token_ids for one in plain.candidates}
    assert {one.token_ids for one in rival.candidates} == ids
    assert {one.log_likelihood for one in rival.candidates} == {
        one.log_likelihood for one in plain.candidates
    }
    assert all(one.fit is not None for one in rival.candidates)


def test_modes_reach_the_controls():
    assert Condition("steered", (("joy", 0.5),), "pplm").controls() == Controls(
        {"joy": 0.5}, mode="pplm"
    )
    assert PLAIN.controls() == Controls()


def test_a_run_is_read_as_it_was_written(tmp_path):
    run = small_run(mixes=(("joy", "game"),))
    run.save(tmp_path / "run.json")
    assert Run.read(tmp_path / "run.json") == run
    told = json.loads((tmp_path / "run.json").read_text())
    (tmp_path / "run.json").write_text(json.dumps({**told, "colour": "red"}))
    with pytest.raises(InputError, match="colour"):
        Run.read(tmp_path / "run.json")


# -- what is kept


def test_an_answer_holds_the_likelihoods_of_the_reply_that_was_given(bot, tmp_path):
    request = Request(("Hello",), Controls({"joy": 1.0}), 7)
    with Answers(
        tmp_path / "r.jsonl", bot.backbone.identity, candidates=3, batch=2, bot=bot
    ) as answers:
        (kept,) = answers.answer([request])
    reply = bot.respond("Hello", controls={"joy": 1.0}, seed=7, sampling=Sampling(candidates=3))
    chosen = reply.candidates[0]
    assert kept.text == reply.text
    assert kept.pieces == len(chosen.token_ids)
    assert kept.nats == pytest.approx(-chosen.log_likelihood, abs=1e-3)
    assert kept.nats_alone > 0
    assert kept.digests == {"joy": reply.trace.steering.attributes["joy"].digest}


@pytest.mark.parametrize(
    "change",
    [
        {"turns": ("Hello!",)},
        {"controls": Controls({"joy": 0.5})},
        {"controls": Controls({"joy": 1.0}, mode="pplm")},
        {"seed": 8},
    ],
)
def test_another_request_is_another_reply(bot, tmp_path, change):
    request = Request(("Hello",), Controls({"joy": 1.0}), 7)
    with Answers(
        tmp_path / "r.jsonl", bot.backbone.identity, candidates=2, batch=2, bot=bot
    ) as answers:
        answers.answer([request])
        assert answers.missing([request]) == 0
        assert answers.missing([replace(request, **change)]) == 1
    other = {"name": "other", "digest": "0"}
    with Answers(tmp_path / "r.jsonl", other, candidates=2, batch=2) as answers:
        assert answers.missing([request]) == 1


def test_replies_of_two_attributes_of_one_name_do_not_mix():
    one = Answer("hi", 2, 1.0, 2.0, {"joy": "a" * 64}, 0.1)
    assert same_attributes([one, one]) == {"joy": "a" * 64}
    with pytest.raises(InputError, match="two attributes named joy"):
        same_attributes([one, replace(one, digests={"joy": "b" * 64})])


# -- what is shipped


@pytest.mark.parametrize(("language", "least"), [("en", 120), ("ko", 40)])
def test_there_are_contexts_for_who_has_no_data(language, least):
    contexts = read_contexts(plan.CONTEXTS / f"{language}.jsonl", 10_000)
    assert len(contexts) >= least
    assert (
        len({one.turns for one in contexts}) == len({one.id for one in contexts}) == len(contexts)
    )
    assert {len(one.turns) for one in contexts} >= {1, 3}
    assert {len(one.turns) for one in contexts} <= {1, 2, 3}


def test_there_are_conversations_of_six_turns():
    talks = plan.read_talks(plan.CONTEXTS / "talks.jsonl")
    assert len(talks) >= 10
    assert all(len(talk.person) == 6 for talk in talks)
