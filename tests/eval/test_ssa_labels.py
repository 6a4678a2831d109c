"""Laws of labelling: blind, shuffled, one question at a time, kept, taken back, gone on with."""

import json

import pytest
from typer.testing import CliRunner

from chatbot.errors import InputError
from eval.commands import app
from eval.ssa.labels import (
    Label,
    LabelSession,
    gold_results,
    majority,
    make_tasks,
    read_labels,
    read_tasks,
    write_tasks,
)
from eval.ssa.terminal import TerminalLabels

A = [{"context": [f"Question {i}?"], "response": f"From A {i}", "system": "A"} for i in range(6)]
B = [{"context": [f"Question {i}?"], "response": f"From B {i}", "system": "B"} for i in range(5)]
SAME = {"context": ["Question 0?"], "response": "From A 0", "system": "B"}
GOLD = {"context": ["Hi!"], "response": "Purple of", "gold": {"sensible": "no"}}


@pytest.fixture
def tasks(write_jsonl):
    files = [write_jsonl("a.jsonl", A), write_jsonl("b.jsonl", [*B, SAME])]
    return make_tasks(files, gold=write_jsonl("gold.jsonl", [GOLD]), seed=1)


def test_tasks_are_distinct_shuffled_and_say_nothing_of_systems(tasks, tmp_path):
    assert len(tasks) == 12  # 6 + 5, one of both counted once, and a check
    write_tasks(tasks, tmp_path / "tasks.jsonl")
    records = [json.loads(line) for line in (tmp_path / "tasks.jsonl").read_text().splitlines()]
    assert {key for record in records for key in record} == {"task", "context", "response", "gold"}
    assert read_tasks(tmp_path / "tasks.jsonl") == tasks
    in_order = [record["response"] for record in [*A, *B]]
    assert [t.response for t in tasks if t.gold is None] != in_order


def test_a_limit_takes_as_many_of_each_file_and_repeats(write_jsonl):
    files = [write_jsonl("a.jsonl", A), write_jsonl("b.jsonl", B)]
    picked = make_tasks(files, limit=6, seed=3)
    assert sorted(t.response[5] for t in picked) == list("AAABBB")
    assert picked == make_tasks(files, limit=6, seed=3)
    assert picked != make_tasks(files, limit=6, seed=4)


def test_every_rater_has_an_order_of_their_own_that_repeats(tasks, tmp_path):
    def order(rater, name):
        session = LabelSession(tasks, tmp_path / name, rater)
        found = []
        while session.current:
            found.append(session.current.key)
            session.answer("no")
        return found

    assert order("anna", "1") == order("anna", "2") != order("ben", "3")


def test_answers_are_kept_at_once_and_gone_on_with(tasks, tmp_path):
    path = tmp_path / "anna.jsonl"
    session = LabelSession(tasks, path, "anna")
    first = session.current
    session.answer("yes", "maybe", seconds=3.21)
    second = session.current
    with path.open("a") as file:
        file.write('{"task": "torn')
    again = LabelSession(tasks, path, "anna")
    assert again.current == second != first
    again.answer("no")
    labels = read_labels([path])
    assert labels[first.key] == {"anna": Label("yes", "maybe", 3.2)}
    assert labels[second.key] == {"anna": Label("no", None)}


def test_undo_asks_again_also_after_a_restart(tasks, tmp_path):
    path = tmp_path / "anna.jsonl"
    session = LabelSession(tasks, path, "anna")
    assert not session.undo()
    first = session.current
    session.answer("no")
    session.answer("yes", "yes")
    size = path.stat().st_size
    assert session.undo()
    assert session.undo()
    assert path.stat().st_size > size  # nothing is ever taken out of the file
    again = LabelSession(tasks, path, "anna")
    assert again.current == session.current == first
    assert read_labels([path]) == {}
    again.answer("yes", "no")
    assert read_labels([path])[first.key]["anna"].sensible == "yes"


@pytest.mark.parametrize(("sensible", "specific"), [("no", "no"), ("maybe", "yes"), ("yes", None)])
def test_specific_is_asked_exactly_if_sensible(sensible, specific):
    with pytest.raises(InputError, match="exactly where a response is sensible"):
        Label(sensible, specific)


def test_checks_are_counted(tasks, tmp_path):
    session = LabelSession(tasks, tmp_path / "x", "anna")
    while session.current:
        session.answer("yes", "yes")
    assert (session.progress.gold_right, session.progress.gold_seen) == (0, 1)
    assert gold_results(tasks, read_labels([tmp_path / "x"])) == {"anna": (0, 1)}


def test_the_majority_is_three_of_five_and_gated():
    yes, sensible, no = Label("yes", "yes"), Label("yes", "no"), Label("maybe", None)
    assert majority([yes, yes, yes, no, no]) == (1, 1)
    assert majority([yes, yes, sensible, no, no]) == (1, 0)
    assert majority([yes, yes, no, no, no]) == (0, 0)
    assert majority([yes, no]) == (0, 0)  # not more than half


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"task": "a", "rater": "x", "sensible": "perhaps"}, "line 1: sensible: "),
        ({"task": "a", "rater": "x", "sensible": "no", "specific": "no"}, "line 1: specific is"),
        ({"task": "a", "rater": "x"}, "line 1: expected `sensible`"),
        ({"task": "a", "rater": "x", "sensible": "no", "more": 1}, "line 1: more: Extra"),
    ],
)
def test_a_bad_label_is_told(write_jsonl, line, message):
    with pytest.raises(InputError, match=message):
        read_labels([write_jsonl("l.jsonl", [line])])


def test_another_raters_file_is_not_gone_on_with(tasks, tmp_path):
    LabelSession(tasks, tmp_path / "x", "anna").answer("no")
    with pytest.raises(InputError, match="is by 'anna', not 'ben'"):
        LabelSession(tasks, tmp_path / "x", "ben")


def test_a_task_whose_key_is_wrong_is_refused(write_jsonl):
    path = write_jsonl("t.jsonl", [{"task": "0" * 16, "context": ["a"], "response": "b"}])
    with pytest.raises(InputError, match="context and response make"):
        read_tasks(path)


def test_the_prompt_asks_one_thing_at_a_time(tasks, tmp_path):
    session = LabelSession(tasks, tmp_path / "x", "anna")
    typed = iter(["?", "y", "m", "n", "u", "y", "u", "y", "n", "q"])
    prompts, lines = [], []

    def ask(prompt):
        prompts.append(prompt.partition("?")[0])
        return next(typed)

    TerminalLabels(session, ask=ask, say=lines.append).run()
    assert prompts == ["sensible", "sensible", "specific", "sensible", "sensible", "sensible",
                       "specific", "sensible", "specific", "sensible"]  # fmt: skip
    assert session.progress.done == 2
    assert not any("From A" in line and "From B" in line for line in lines)


def test_the_commands_from_responses_to_agreement(write_jsonl, tmp_path):
    def run(*arguments, **options):
        return CliRunner().invoke(app, ["ssa", *map(str, arguments)], catch_exceptions=False,
                                  **options)  # fmt: skip

    path, tasks = write_jsonl("a.jsonl", A), tmp_path / "tasks.jsonl"
    assert run("tasks", path, "--out", tasks).exit_code == 0
    for rater, typed in [("anna", "y\nn\n" * 6), ("ben", "y\nn\n" * 5 + "n\n")]:
        out = tmp_path / f"{rater}.jsonl"
        result = run("label", tasks, "--out", out, "--rater", rater, input=typed)
        assert "6 of 6 labelled" in result.stdout
    files = [tmp_path / "anna.jsonl", tmp_path / "ben.jsonl"]
    told = run("agree", *files, "--tasks", tasks, "--resamples", 1000).stdout
    assert "| sensible | 6 | 0.833" in told
    assert "all labels the same" in told  # nobody calls anything specific
    found = json.loads(run("agree", *files, "--json", "--resamples", 1000).stdout)
    assert found["agreement"]["specific"]["is_constant"]
