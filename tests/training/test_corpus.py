"""Laws of reading dialogue files."""

import json
import lzma

import pytest

from chatbot.errors import CorpusError
from chatbot.prompt import clean_text
from chatbot.training.corpus import (
    SOURCES,
    corpus_files,
    passages,
    read_dialogues,
    split_sentences,
)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ('{"source": "a", "turns": ["x"]}\n{"source": ', "line 2.*expected one JSON object"),
        ('["x"]\n', "line 1.*string `source`"),
        ('{"turns": ["x", "y"]}\n', "line 1.*string `source`"),
        ('{"source": "a", "turns": []}\n', "line 1.*one or more strings"),
        ('{"source": "a", "turns": ["x", 3]}\n', "line 1.*one or more strings"),
        ('{"source": "a", "words": "x"}\n', "line 1.*keys are source, words"),
    ],
)
def test_a_bad_file_is_named_with_its_line(tmp_path, content, message):
    path = tmp_path / "bad.train.jsonl"
    path.write_text(content)
    with pytest.raises(CorpusError, match=rf"bad\.train\.jsonl.*{message}"):
        list(read_dialogues(path))


def test_a_missing_folder_or_file_is_named(tmp_path):
    with pytest.raises(CorpusError, match="nowhere does not exist"):
        list(read_dialogues(tmp_path / "nowhere" / "x.jsonl.xz"))
    with pytest.raises(CorpusError, match=r"x\.jsonl\.xz does not exist"):
        list(read_dialogues(tmp_path / "x.jsonl.xz"))
    with pytest.raises(CorpusError, match="no folder"):
        corpus_files(tmp_path / "nowhere", split="train")
    with pytest.raises(CorpusError, match=r"no file \*\.valid\.jsonl"):
        corpus_files(tmp_path, split="valid")


def test_files_belong_to_the_split_in_their_name_and_else_to_training(tmp_path):
    train = ["a.train.jsonl.xz", "b.00.train.jsonl", "books.00.jsonl.xz", "c.jsonl"]
    for name in [*train, "a.valid.jsonl.xz", "a.test.jsonl", "SOURCES.md", "d.json"]:
        (tmp_path / name).touch()
    assert [path.name for path in corpus_files(tmp_path, split="train")] == train
    assert [path.name for path in corpus_files(tmp_path, split="valid")] == ["a.valid.jsonl.xz"]


def test_what_is_non_commercial_or_not_stated_is_not_open():
    for name, source in SOURCES.items():
        closed = any(mark in source.licence for mark in ("NC", "non-comm", "none", "GPL", "sitcom"))
        assert source.is_open != closed, name


def test_a_cut_off_archive_is_named_with_its_line(tmp_path):
    path = tmp_path / "cut.jsonl.xz"
    line = json.dumps({"source": "a", "turns": ["hello", "you"]}) + "\n"
    path.write_bytes(lzma.compress(line.encode() * 1000)[:-40])
    with pytest.raises(CorpusError, match=r"cut\.jsonl\.xz, after line \d+.*xz-compressed"):
        list(read_dialogues(path))


def test_plain_and_compressed_files_read_the_same(sample_file, tmp_path):
    packed = tmp_path / "sample.jsonl.xz"
    packed.write_bytes(lzma.compress(sample_file.read_bytes()))
    assert list(read_dialogues(packed)) == list(read_dialogues(sample_file))


def test_clean_text_stays_as_it_is_and_dirty_text_becomes_clean():
    dirty = " a\x00b\u200b  c\td\u1112\u1161\u11ab \ud800"
    assert clean_text(dirty) == "ab c d한"
    assert clean_text(clean_text(dirty)) == clean_text(dirty)


def test_a_turn_left_empty_ends_its_dialogue(write_dialogues):
    path = write_dialogues("a", [["one", "two", " \x00 ", "four"]])
    assert [d.turns for d in read_dialogues(path)] == [("one", "two")]


def test_passages_lose_no_word_and_keep_their_size():
    text = "\n".join(f"Mr. Smith said number {i} was fine. " * 6 for i in range(9))
    for source in ("standardebooks", "changelog"):
        (turns,) = passages(text, source)
        assert " ".join(turns).split() == text.split()
    (turns,) = passages(text, "standardebooks")
    assert all(15 <= len(turn.split()) <= 40 for turn in turns[:-1])
    assert all(turn.endswith("fine.") for turn in turns)


def test_long_transcript_lines_are_cut_and_short_ones_are_turns():
    long_line = "This is one of many sentences here. " * 30
    (turns,) = passages(f"Yeah.\n{long_line}\nOkay.", "changelog")
    assert (turns[0], turns[-1]) == ("Yeah.", "Okay.")
    assert all(len(turn.split()) <= 60 for turn in turns)


def test_each_quiz_question_is_a_dialogue():
    assert list(passages("Q1?\nA1.\nQ2?\nA2.", "opentriviaqa")) == [["Q1?", "A1."], ["Q2?", "A2."]]


def test_sentences_end_where_a_reader_would_say():
    line = 'Mr. Jones met Dr. Who. "Hello!" he said. Was it 3.5 miles? Yes (really).'
    assert list(split_sentences(line)) == [
        "Mr. Jones met Dr. Who.",
        '"Hello!" he said.',
        "Was it 3.5 miles?",
        "Yes (really).",
    ]
