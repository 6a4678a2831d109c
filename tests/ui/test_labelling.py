"""Laws of labelling in the browser: asked as the evaluator asks, kept as it reads."""

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from chatbot.errors import InputError
from eval.ssa.formats import Exchange
from eval.ssa.labels import (
    QUESTIONS,
    Label,
    LabelSession,
    Task,
    read_labels,
    read_tasks,
    write_tasks,
)
from ui.commands import app
from ui.labelling import Asked, Labelling
from ui.labelling_drawing import labelling_html
from ui.markup import Sayer
from ui.texts import LANGUAGES, text

SCRIPT = "<script>alert(1)</script> & <b>bold</b>"


@pytest.fixture
def tasks(tmp_path):
    """Twelve tasks in a file, the first a check."""
    exchanges = [Exchange(("Hi!", SCRIPT), f"안녕 {n} {SCRIPT}") for n in range(12)]
    made = [Task(one.key, one.context, one.response) for one in exchanges]
    made[0] = Task(made[0].key, made[0].context, made[0].response, Label("no", None))
    write_tasks(made, tmp_path / "tasks.jsonl")
    return tmp_path / "tasks.jsonl"


@pytest.fixture
def labels(tmp_path):
    return tmp_path / "anna.jsonl"


@pytest.fixture
def anna(tasks, labels):
    return Labelling(tasks, labels, "anna")


def records(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_specific_is_asked_only_after_a_yes(anna, labels):
    first = anna.asked()
    assert (first.question, first.place, first.done, first.total) == ("sensible", 0, 0, 12)
    half = anna.press("sensible", 0, "yes")
    assert (half.question, half.response) == ("specific", first.response)
    assert records(labels) == []  # a half answer is none
    second = anna.press("specific", 0, "maybe")
    assert (second.question, second.place, second.done) == ("sensible", 1, 1)
    assert anna.press("sensible", 1, "maybe").place == 2
    given = [(record["sensible"], record["specific"]) for record in records(labels)]
    assert given == [("yes", "maybe"), ("maybe", None)]


def test_undo_asks_the_last_response_again_and_only_appends(anna, labels):
    assert anna.press("undo", 0, "") == anna.asked()  # nothing to take back
    first = anna.asked()
    anna.press("sensible", 0, "no")
    before = labels.read_bytes()
    assert anna.press("undo", 1, "") == first
    assert labels.read_bytes().startswith(before)
    assert records(labels)[1] == {"task": records(labels)[0]["task"], "rater": "anna", "undo": True}
    half = anna.press("sensible", 0, "yes")
    assert anna.press("again", half.place, "") == first
    assert len(records(labels)) == 2


def test_a_press_in_a_window_that_is_behind_writes_nothing(anna, labels):
    now = anna.press("sensible", 0, "no")
    assert anna.press("sensible", 0, "no") == now
    assert anna.press("undo", 0, "") == now
    assert anna.press("specific", 1, "<b>") == now
    assert anna.press("sensible", 99, "no") == now
    assert len(records(labels)) == 1


def test_it_goes_on_where_the_file_ends(anna, tasks, labels):
    anna.press("sensible", 0, "no")
    now = anna.press("sensible", 1, "no")
    whole = labels.read_bytes()
    labels.write_bytes(whole + '{"task": "안'.encode()[:-1])  # the power went off
    again = Labelling(tasks, labels, "anna")
    assert again.asked() == now
    again.press("sensible", 2, "maybe")
    assert labels.read_bytes().startswith(whole)
    assert [record["sensible"] for record in records(labels)] == ["no", "no", "maybe"]


def test_the_end_is_told_and_can_be_taken_back(anna):
    for place in range(12):
        now = anna.press("sensible", place, "no")
    assert (now.place, now.done, now.response) == (12, 12, "")
    assert anna.press("sensible", 12, "no") == now
    assert anna.press("specific", 12, "no") == now
    assert "All 12 responses are labelled." in labelling_html(now, Sayer("en"))
    assert anna.press("undo", 12, "").place == 11


@pytest.mark.parametrize("rater", ["anna", "안나", "b <b>"])
def test_the_evaluator_asks_in_the_same_order_and_goes_on_with_the_file(tasks, tmp_path, rater):
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    page, prompt = Labelling(tasks, here, rater), LabelSession(read_tasks(tasks), there, rater)
    for place, answers in enumerate([("yes", "no"), ("maybe", None), ("no", None)]):
        assert page.asked().response == prompt.current.response
        page.press("sensible", place, answers[0])
        if answers[1]:
            page.press("specific", place, answers[1])
        prompt.answer(*answers)
    page.press("undo", 3, "")
    prompt.undo()
    for record, other in zip(records(here), records(there), strict=True):
        assert 0 <= record.pop("seconds", 0.0) < 60
        assert list(record.items()) == list(other.items())
    assert LabelSession(read_tasks(tasks), here, rater).current == prompt.current
    assert Labelling(tasks, there, rater).asked() == page.asked()
    read = read_labels([here])
    assert sorted(one[rater].sensible for one in read.values()) == ["maybe", "yes"]


def test_seconds_are_left_out_where_their_beginning_is_not_known(anna, labels):
    anna.press("sensible", 0, "no")
    anna.press("sensible", 1, "no")
    assert ["seconds" in record for record in records(labels)] == [False, True]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("nonsense", "line 2: Invalid JSON"),
        ('{"task": "x", "rater": "bob", "undo": true}', "line 2: is by 'bob', not 'anna'"),
        ('{"task": "x", "rater": "anna", "sensible": "si"}', "line 2: sensible: Input should be"),
        ('{"task": "x", "rater": "anna"}', "line 2: expected `sensible`"),
        (
            '{"task": "x", "rater": "anna", "sensible": "no", "specific": "no"}',
            "line 2: expected `specific` exactly",
        ),
    ],
)
def test_a_bad_label_is_told_with_its_line(anna, tasks, labels, line, words):
    anna.press("sensible", 0, "no")
    before = labels.read_text("utf-8") + line + "\n"
    labels.write_text(before, "utf-8")
    with pytest.raises(InputError, match="anna.jsonl, " + words):
        Labelling(tasks, labels, "anna")
    told = anna.press("sensible", 1, "no")  # the file went bad under an open page
    assert words in told.problem
    assert labels.read_text("utf-8") == before


def test_labels_of_other_tasks_are_refused_unless_some_are_of_these(anna, tasks, labels):
    other = '{"task": "0000000000000000", "rater": "anna", "sensible": "no", "specific": null}\n'
    labels.write_text(other, "utf-8")
    with pytest.raises(InputError, match="labels of other tasks only"):
        Labelling(tasks, labels, "anna")
    labels.write_text("", "utf-8")
    anna.press("sensible", 0, "no")
    labels.write_text(other + labels.read_text("utf-8"), "utf-8")
    assert Labelling(tasks, labels, "anna").asked().done == 1


def test_a_file_that_is_no_labels_file_is_left_as_it_is(tasks, labels):
    labels.write_text("my only copy of a poem", "utf-8")
    with pytest.raises(InputError, match="line 1: Invalid JSON"):
        Labelling(tasks, labels, "anna")
    assert labels.read_text("utf-8") == "my only copy of a poem"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "does not exist"),
        (b"", "is empty"),
        (b"\xff\n", "expected lines of UTF-8 text"),
        (b'{"task": "x", "context": [], "response": ""}\n', "line 1: context: List should have"),
        (b'{"task": "x", "context": ["a"], "response": "b"}', "line 1: `task` is not that of"),
    ],
)
def test_a_bad_tasks_file_is_told(tmp_path, labels, content, words):
    path = tmp_path / "bad.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match=words):
        Labelling(path, labels, "anna")


def test_labels_that_cannot_be_written_are_told(tasks, tmp_path, anna, labels):
    with pytest.raises(InputError, match="cannot write"):
        Labelling(tasks, tmp_path / "none" / "anna.jsonl", "anna")
    with pytest.raises(InputError, match="no name"):
        Labelling(tasks, labels, " ")
    labels.unlink()
    assert "does not exist" in anna.press("sensible", 0, "no").problem


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_state_is_whole_html_without_the_words_as_html(anna, parsed, language):
    states = [anna.asked(), anna.press("sensible", 0, "yes"), Asked(12, 12, 12)]
    for now in [*states, Asked(3, problem=SCRIPT)]:
        drawn = parsed(labelling_html(now, Sayer(language)))
        assert "script" not in drawn.tags
        if now.place != now.total:
            assert SCRIPT in drawn.text


def test_the_questions_are_those_of_the_evaluator():
    assert {name: text("en", f"label_{name}") for name in QUESTIONS} == QUESTIONS


def test_the_command_needs_all_three(tasks, labels):
    result = CliRunner().invoke(app, ["--data", ":memory:", "--label", str(tasks)])
    assert isinstance(result.exception, InputError)
    assert "--labels FILE and --rater NAME" in str(result.exception)


def test_the_tab_is_there_only_where_labels_are_asked_for(service, anna, monkeypatch):
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")  # read when Gradio is imported
    from ui.app import build

    def shown(service):
        return "label" in [block.elem_id for block in build(service).blocks.values()]

    assert shown(replace(service, labelling=anna))
    assert not shown(service)
