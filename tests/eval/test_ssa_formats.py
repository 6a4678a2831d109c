"""Laws of reading contexts and responses in the shapes that people keep them in."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbot.errors import InputError
from eval.jsonl import Line
from eval.ssa.formats import entry_of, read_entries

DIALOGUE = ["Hi!", "Hello, how are you?", "Fine, and you?", "Good, I went swimming."]
REPLIES = [(("Hi!",), DIALOGUE[1], 1), (tuple(DIALOGUE[:3]), DIALOGUE[3], 3)]

SAME_DIALOGUE = {
    "turns.jsonl": json.dumps({"turns": DIALOGUE}),
    "openai.jsonl": json.dumps(
        {
            "messages": [
                {"role": "system", "content": "Be kind."},
                {"role": "user", "content": "Hi!"},
                {"role": "assistant", "content": [{"type": "text", "text": DIALOGUE[1]}]},
                {"role": "user", "content": DIALOGUE[2]},
                {"role": "assistant", "content": DIALOGUE[3]},
            ]
        }
    ),
    "parlai.jsonl": json.dumps(
        {
            "dialog": [
                [{"id": "a", "text": DIALOGUE[0]}, {"id": "b", "text": DIALOGUE[1]}],
                [{"id": "a", "text": DIALOGUE[2]}, {"id": "b", "text": DIALOGUE[3]}],
            ]
        }
    ),
    "parlai.txt": (
        f"text:{DIALOGUE[0]}\tlabels:{DIALOGUE[1]}\tepisode_done:False\n"
        f"text:{DIALOGUE[2]}\tlabels:{DIALOGUE[3]}|Fine.\tepisode_done:True"
    ),
    "plain.txt": (
        "Human: Hi!\nBot: Hello, how\n  are you?\nHuman: Fine, and you?\n"
        "Bot: Good, I went swimming."
    ),
}


@pytest.fixture
def write(tmp_path):
    def write(name, text):
        path = tmp_path / name
        path.write_text(text, "utf-8")
        return path

    return write


@pytest.mark.parametrize("name", SAME_DIALOGUE)
def test_one_dialogue_reads_the_same_in_every_shape(write, name):
    (entry,) = read_entries(write(name, SAME_DIALOGUE[name] + "\n"))
    assert entry.is_dialogue
    assert [(e.context, e.response, e.turn) for e in entry.exchanges] == REPLIES


def test_single_responses_of_jsonl_and_csv_are_the_same(write):
    record = {"context": ["Hi, you", "Hello"], "response": 'I said "yes"', "system": "x"}
    (a,) = read_entries(write("a.jsonl", json.dumps(record)))
    table = 'system,context,response\nx,"Hi, you ||| Hello","I said ""yes"""\n'
    (b,) = read_entries(write("a.csv", "\ufeff" + table))
    (c,) = read_entries(write("a.tsv", 'context\tresponse\nHi, you|||Hello\t"I said ""yes"""\n'))
    assert a.exchanges == b.exchanges == c.exchanges
    assert b.line.record == record
    assert not a.is_dialogue


def test_several_conversations_in_one_file(write):
    text = "=== 1\nHuman 1: Hi!\nHuman 2: Hey\n\nConversation 2\nYou: Ho\nIt: Hm\nIt: Ha\n\n"
    first, second = read_entries(write("a.txt", text))
    assert [e.response for e in first.exchanges] == ["Hey"]
    assert [e.response for e in second.exchanges] == ["Hm", "Ha"]
    assert (first.line.number, second.line.number) == (2, 6)
    both = "text:a\tlabels:b\tepisode_done:True\n" * 2
    assert [e.line.number for e in read_entries(write("b.parlai", both))] == [1, 2]


def test_a_turn_of_plain_text_may_hold_colons(write):
    (entry,) = read_entries(write("a.txt", "A: at 10:30: now\nB: see http://x\n"))
    assert entry.exchanges[0].context == ("at 10:30: now",)
    assert entry.exchanges[0].response == "see http://x"


def test_replies_are_the_turns_of_those_who_did_not_open():
    record = {"turns": ["Hi!", "a", "b"], "speakers": ["opening", "bot", "bot"]}
    assert [e.turn for e in entry_of(Line("f", 1, record)).exchanges] == [1, 2]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.jsonl", '{"turns": ["a", "b"]}\n{"turns": ["a"]}', "line 2: `turns` has no reply"),
        ("a.jsonl", '{"turns": "ab"}', "line 1: `turns` is no list of strings"),
        ("a.jsonl", '{"turns": ["a", "b"], "speakers": ["x"]}', "line 1: .*list of 2 names"),
        ("a.jsonl", '{"x": 1, "y": 2}', "line 1: expected `context`.*the keys are x, y"),
        ("a.jsonl", '{"context": [], "response": ""}', "line 1: `context` is no list"),
        ("a.jsonl", '{"context": ["a", " "], "response": ""}', "line 1: turn 2 of `context`"),
        ("a.jsonl", '{"context": ["a"], "response": null}', "line 1: expected `response`"),
        ("a.jsonl", '{"messages": [{"role": "tool"}]}', "message 1 has the role 'tool'"),
        ("a.jsonl", '{"messages": [{"role": "user"}]}', "message 1 has no text"),
        ("a.jsonl", '{"dialog": [{"text": "x"}]}', "line 1: `dialog` is no list of lists"),
        ("a.jsonl", '{"turns": [', "line 1: .*expected one JSON object"),
        ("a.csv", "context,answer\na,b\n", "line 1: no column response; the columns are context"),
        ("a.csv", 'context,response\n"a\nb",c\nx\n', "line 4: 1 cells, expected the 2"),
        ("a.csv", 'context,response\na,"b"c\n', "line 2: .*expected CSV"),
        ("a.csv", "context,response\na||| |||b,c\n", "line 2: turn 2 of `context`"),
        ("a.parlai", "text:a\tlabels:b\n\ntext:c\n", "line 3: expected the fields"),
        ("a.txt", "A: x\nB: y\nnobody says this\n", "line 3: expected `Name: text`"),
        ("a.txt", "A: x\nB: y\n\nA: z\n", "line 4: `turns` has no reply"),
        ("a.csv", "", "line 1: no column context and no response"),
        ("a.txt", "\n", "is empty"),
    ],
)
def test_a_bad_file_is_told_with_its_line(write, name, text, message):
    with pytest.raises(InputError, match=message):
        read_entries(write(name, text))


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        read_entries(tmp_path / "none.csv")
    (tmp_path / "bad.txt").write_bytes(b"A: x\nB: \xff\n")
    with pytest.raises(InputError, match=r"after line .*UTF-8"):
        read_entries(tmp_path / "bad.txt")
    with pytest.raises(InputError, match="no format 'xml'"):
        read_entries(tmp_path / "bad.txt", "xml")


TEXT = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1)


@given(context=st.lists(TEXT.filter(str.strip), min_size=1), response=TEXT, other=TEXT)
def test_the_key_tells_exchanges_apart(context, response, other):
    def key(context, response):
        record = {"context": context, "response": response}
        return entry_of(Line("f", 1, record)).exchanges[0].key

    assert key(context, response) == key(list(context), response)
    assert (key(context, response) == key(context, other)) == (response == other)
    assert key(context, response) != key([*context, response], response)
