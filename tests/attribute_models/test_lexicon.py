"""Word lists are read whole, and say where they cannot be read."""

import pytest

from attribute_models.lexicon import (
    LexiconError,
    inflections,
    language_of,
    load_list,
    load_shipped,
    shipped_lists,
    spellings,
)

SHIPPED = [file for files in shipped_lists().values() for file in files]


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_every_line_of_a_shipped_list_is_a_word_or_excluded(file):
    lines = [line for line in file.read_text("utf-8").splitlines() if not line.startswith("#")]
    words = load_shipped(file)
    assert {line.split("\t")[0] for line in lines} == words.weights.keys() | words.excluded
    assert words.language == file.parent.name


def test_the_attributes_of_the_design_have_lists():
    emotions = {"joy", "surprise", "anger", "sadness", "fear", "disgust"}
    topics = {"game", "sports", "science", "technology", "food", "music", "travel"}
    assert emotions | topics | {"positive", "negative"} <= shipped_lists().keys()


def test_weights_and_remarks_are_read(words):
    made = words("# a remark", "cat", "", "kitten\t0.5", "cats\t0", "  new   year ")
    assert made.weights == {"cat": 1.0, "kitten": 0.5, "new year": 1.0}
    assert made.excluded == {"cats"}
    assert made.name == "mine"


@pytest.mark.parametrize("line", ["cat\thalf", "cat\t1.5", "cat\t-1", "cat\tnan", "...", "\t0.5"])
def test_a_bad_line_is_named(tmp_path, line):
    file = tmp_path / "bad.txt"
    file.write_text(f"dog\n{line}\n")
    with pytest.raises(LexiconError, match=r"bad\.txt, line 2"):
        load_list(file)


def test_a_word_twice_no_words_and_no_file_are_refused(tmp_path, words):
    with pytest.raises(LexiconError, match="twice"):
        words("cat", "dog", "cat")
    with pytest.raises(LexiconError, match="no words"):
        words("# nothing")
    with pytest.raises(LexiconError, match="cannot read"):
        load_list(tmp_path / "missing.txt")
    (tmp_path / "latin.txt").write_bytes("caf\xe9".encode("latin-1"))
    with pytest.raises(LexiconError, match="UTF-8"):
        load_list(tmp_path / "latin.txt")


@pytest.mark.parametrize(
    ("lines", "language"),
    [(["cat"], "en"), (["고양이"], "ko"), (["cat", "고양이"], None), (["PC방"], "ko")],
)
def test_the_language_of_a_list_is_that_of_its_letters(words, lines, language):
    assert words(*lines).language == language


def test_another_word_weight_or_name_is_another_digest(words):
    lists = [words("cat"), words("cat\t0.5"), words("cat", "dog"), words("cat", name="other")]
    assert len({one.digest for one in lists}) == 4
    assert words("cat", "dog").digest == words("dog", "cat").digest


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Hello!", "en"),
        ("안녕", "ko"),
        ("나 Minecraft 했어", "en"),
        ("LOL 재밌다", "ko"),
        ("123 :)", None),
    ],
)
def test_the_language_of_a_text(text, language):
    assert language_of(text) == language


@pytest.mark.parametrize(
    ("word", "forms"),
    [
        ("hug", ("hugs", "hugged", "hugging")),
        ("smile", ("smiles", "smiled", "smiling")),
        ("party", ("parties", "partied", "partying")),
        ("play", ("plays", "played", "playing")),
        ("kiss", ("kisses", "kissed", "kissing")),
        ("winning", ()),
        ("게임", ()),
    ],
)
def test_regular_inflections(word, forms):
    assert inflections(word) == forms


def test_spellings():
    assert spellings("happy") == ("happy", "Happy")
    assert spellings("fps") == ("fps", "Fps", "FPS")
    assert spellings("게임") == ("게임",)
