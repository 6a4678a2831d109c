"""Which turns may be learnt as replies."""

import pytest

from chatbot.training.filters import copies, has_url, letter_share, why_no_reply


@pytest.mark.parametrize(
    ("text", "n_pieces", "reason"),
    [
        ("Hi!", 2, None),
        ("안녕하세요!", 3, None),
        ("Hm", 1, "too_short"),
        ("word " * 128, 128, "too_long"),
        ("555 - 1234 ok", 9, "few_letters"),
        ("I like the red one best", 7, "copies_parent"),
        ("I like the blue one, and so does my sister", 11, None),
    ],
)
def test_filters_by_name(text, n_pieces, reason):
    parent = "Honestly I like the red one best."
    assert why_no_reply(text, parent=parent.replace(".", ""), n_pieces=n_pieces) == reason


def test_a_greeting_returned_is_no_copy():
    assert not copies("Good night!", "Good night!")
    assert copies("I am so happy today", "I am so happy today")


@pytest.mark.parametrize("text", ["see https://a.b", "go to www.x.org now", "on example.com"])
def test_web_addresses_are_seen(text):
    assert has_url(text)


@pytest.mark.parametrize("text", ["Well...ok", "3.5 miles", "I did.Then I left", "e.g. this"])
def test_other_dots_are_no_web_address(text):
    assert not has_url(text)


def test_letter_share_counts_hangul_and_ignores_spaces():
    assert letter_share("안녕 하세요") == 1.0
    assert letter_share("a1 b2") == 0.5
    assert letter_share("") == 0.0
