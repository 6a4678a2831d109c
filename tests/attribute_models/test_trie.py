"""Words are found along their pieces wherever they may stand, and nowhere else."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attribute_models.lexicon import load_list, load_shipped, shipped_lists
from attribute_models.trie import Pieces, PieceTrie, Place

SHIPPED = [file for files in shipped_lists().values() for file in files]


def read(trie, text):
    """The words counted in a text."""
    place = Place()
    for piece in trie.pieces.split(text):
        place = trie.advance(place, piece)
    return place.words_so_far


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: f"{file.parent.name}-{file.stem}")
def test_no_word_of_a_shipped_list_is_lost(pieces, file):
    words = load_shipped(file)
    trie = PieceTrie.of(words, pieces)
    assert trie.forms.keys() == words.weights.keys()
    found = {word: read(trie, f"so {word}.") for word in words.weights}
    # A Korean form that begins with a shorter one of the list is counted as that one.
    assert [w for w, said in found.items() if len(said) != 1 or not w.startswith(said[0])] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Happy to see you", ("happy",)),
        ("I am happy.", ("happy",)),
        ('He said "happy".', ("happy",)),
        ("a happy-go-lucky man", ("happy",)),
        ("unhappy", ()),
        ("happyish", ()),
        ("I win", ("win",)),
        ("the window", ()),
        ("games and a game", ("game", "game")),
        ("GAME", ()),
        ("", ()),
    ],
)
def test_english_words_are_whole(pieces, words, text, found):
    assert read(PieceTrie.of(words("happy", "win", "game"), pieces), text) == found


def test_half_of_a_contraction_is_no_word(words):
    texts = (" won", "'t", "'s", " I")
    trie = PieceTrie.of(words("won"), Pieces.of(lambda text: [0], texts))
    place = trie.advance(Place(), 0)
    assert trie.advance(place, 1).words_so_far == ()
    assert trie.advance(place, 2).words_so_far == ("won",)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("축구를 했어", ("축구",)),
        ("나는 축구선수야 축구!", ("축구", "축구")),
        ("우리축구", ()),
        ("게임기 샀어", ("게임",)),
        ("PC방에서 게임했어", ("PC방", "게임")),
    ],
)
def test_korean_words_may_go_on(pieces, words, text, found):
    assert read(PieceTrie.of(words("축구", "게임", "PC방"), pieces), text) == found


def test_a_longer_korean_form_is_counted_once(pieces, words):
    assert len(read(PieceTrie.of(words("게임", "게임기"), pieces), "게임기를")) == 1


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a new day here", ("new day",)),
        ("a new game here", ("game",)),
        ("new, day", ()),
        ("a new day game shop", ("new day", "day game shop")),
        ("new day day game", ("new day", "game")),
    ],
)
def test_phrases_and_words_that_begin_inside_them(pieces, words, text, found):
    trie = PieceTrie.of(words("new day", "game", "day game shop", "game shop"), pieces)
    said = read(trie, text)
    assert set(found) <= set(said)
    assert len(said) <= len(found) + 1


def test_excluded_inflections_are_not_found(pieces, words):
    trie = PieceTrie.of(words("mean", "means\t0"), pieces)
    assert read(trie, "it means that") == ()
    assert read(trie, "a mean man") == ("mean",)


def test_weights_add_up(pieces, words):
    trie = PieceTrie.of(words("happy", "win\t0.25"), pieces)
    place = Place()
    for piece in pieces.split("happy to win"):
        place = trie.advance(place, piece)
    assert place.so_far == 1.25
    assert place.realised == 1.0  # "win" may still become "window"


def test_soft_members_are_words_of_their_own(pieces, words):
    friend = pieces.split(" window")[0]
    trie = PieceTrie.of(words("happy"), pieces, neighbours=[(friend, 0.5)])
    assert read(trie, f"a{pieces.texts[friend]} here") == (pieces.texts[friend].strip(),)


FOUND = ["happy", "win", "glad"]
OTHERS = ["the", "window", "unhappy", "day", "a", "'", ".", "-", "happyish", "3"]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([*FOUND, *OTHERS]), max_size=12))
def test_a_text_has_as_many_words_as_were_put_in(read_found, tokens):
    assert list(read_found(" ".join(tokens))) == [token for token in tokens if token in FOUND]


@pytest.fixture(scope="session")
def read_found(pieces, tmp_path_factory):
    file = tmp_path_factory.mktemp("lists") / "found.txt"
    file.write_text("\n".join(FOUND))
    trie = PieceTrie.of(load_list(file), pieces)
    return lambda text: read(trie, text)
