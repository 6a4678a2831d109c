"""Laws of reading a file of messages for sensitive topics."""

import pytest

from chatbot.errors import InputError
from chatbot.policy import Policy
from chatbot.topics import Topics
from eval.sensitive import ADDED, sensitive_file


class Reader:
    """Finds politics where the last turn says `vote`, or `they` after a turn that does."""

    detectors = ("politics", "religion", "sexual", "race", "crime", "crime_deed", "crime_victim")

    def read_many(self, conversations):
        return [self._read(turns) for turns in conversations]

    def _read(self, turns):
        hit = 0.9 if "vote" in turns[-1] or ("they" in turns[-1] and "vote" in turns[0]) else 0.0
        values = dict.fromkeys(("none", *self.detectors[:5]), 0.0)
        return Topics(values | {"none": 1 - hit, "politics": hit})


RECORDS = [
    {"id": 1, "text": "I vote"},
    {"text": "hello", "note": "안녕"},
    {"context": ["I vote", "Oh."], "text": "and they?"},
    {"context": ["I vote", "Oh.", "and they?"]},
    *({"text": f"soup {i}"} for i in range(20)),
]


@pytest.fixture(scope="module")
def policy():
    return Policy.shipped(Reader())


def test_every_line_gets_its_topic_and_keeps_its_keys(policy, write_jsonl, read_jsonl, tmp_path):
    out = tmp_path / "out.jsonl"
    assert sensitive_file(policy, write_jsonl("in.jsonl", RECORDS), out) == len(RECORDS)
    written = read_jsonl(out)
    for before, after in zip(RECORDS, written, strict=True):
        assert after.keys() - before.keys() == ADDED
        assert after.items() >= before.items()
    assert [line["topic"] for line in written[:5]] == [
        "politics", "none", "politics", "politics", "none",
    ]  # fmt: skip
    assert written[0]["score"] == 0.9
    assert written[0]["rules"][0]["name"] == "politics"
    assert written[0]["rules"][0]["set"] == dict(policy.rules[0].change.set)
    assert written[1]["rules"] == []


@pytest.mark.parametrize("n_done", [1, 17, len(RECORDS)])
def test_going_on_gives_the_same_file(policy, write_jsonl, tmp_path, n_done):
    path, whole, parts = write_jsonl("in.jsonl", RECORDS), tmp_path / "a", tmp_path / "b"
    sensitive_file(policy, path, whole)
    parts.write_bytes(b"".join(whole.read_bytes().splitlines(keepends=True)[:n_done]) + b'{"te')
    assert sensitive_file(policy, path, parts) == len(RECORDS) - n_done
    assert parts.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"txt": "a"}, "line 2: expected `text`, a message, or `context`.*the keys are txt"),
        ({"text": " "}, "line 2: `text` is no text or empty: ' '"),
        ({"text": 3}, "line 2: `text` is no text or empty: 3"),
        ({"context": []}, "line 2: `context` is empty and there is no `text`"),
        ({"context": "a"}, "line 2: `context` is str; expected a list of turns"),
        ({"context": ["a", ""]}, "line 2: turn 2 of `context` is no text or empty"),
        ("{", "line 2: .*expected one JSON object"),
    ],
)
def test_a_bad_line_is_named(policy, write_jsonl, tmp_path, record, message):
    path = write_jsonl("in.jsonl", [{"text": "a"}, record])
    with pytest.raises(InputError, match=message):
        sensitive_file(policy, path, tmp_path / "out.jsonl")


def test_the_output_of_another_input_is_refused(policy, write_jsonl, tmp_path):
    out = tmp_path / "out.jsonl"
    sensitive_file(policy, write_jsonl("a.jsonl", [{"text": "a"}]), out)
    with pytest.raises(InputError, match="line 1: not made from line 1"):
        sensitive_file(policy, write_jsonl("b.jsonl", [{"text": "b"}]), out)
