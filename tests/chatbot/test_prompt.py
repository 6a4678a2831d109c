"""Laws of the prompt format."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chatbot.prompt import SPECIAL_IDS, SPECIAL_TOKENS, build_context

N_SPECIAL = len(SPECIAL_TOKENS)
MARKERS = {SPECIAL_IDS.user, SPECIAL_IDS.bot}

pieces = st.integers(N_SPECIAL, 500)
conversations = st.lists(st.lists(pieces, max_size=40).map(tuple), min_size=1, max_size=12)


def turns_of(ids):
    """The (marker, pieces) pairs a context is made of."""
    turns = []
    for token in ids:
        if token in MARKERS:
            turns.append((token, []))
        else:
            turns[-1][1].append(token)
    return turns


@given(conversations, st.integers(1, 9), st.integers(2, 150))
def test_limits_hold_and_nothing_vanishes_unreported(turns, max_turns, max_tokens):
    prompt = build_context(turns, SPECIAL_IDS, max_turns=max_turns, max_tokens=max_tokens)
    kept = turns_of(prompt.ids)
    assert len(prompt.ids) <= max_tokens
    assert 1 <= len(kept) <= max_turns
    assert len(kept) + prompt.dropped_turns == len(turns)
    expected = [list(turn) for turn in turns[prompt.dropped_turns :]]
    expected[0] = expected[0][prompt.truncated_pieces :]
    assert [turn for _, turn in kept] == expected


@given(conversations, st.integers(1, 9), st.integers(2, 150))
def test_speakers_alternate_and_the_last_is_the_user(turns, max_turns, max_tokens):
    prompt = build_context(turns, SPECIAL_IDS, max_turns=max_turns, max_tokens=max_tokens)
    markers = [marker for marker, _ in turns_of(prompt.ids)][::-1]
    assert set(markers[::2]) == {SPECIAL_IDS.user}
    assert set(markers[1::2]) <= {SPECIAL_IDS.bot}


@given(conversations, st.integers(1, 9), st.integers(2, 150))
def test_no_turn_is_dropped_that_would_have_fitted(turns, max_turns, max_tokens):
    prompt = build_context(turns, SPECIAL_IDS, max_turns=max_turns, max_tokens=max_tokens)
    n_kept = len(turns) - prompt.dropped_turns
    if prompt.dropped_turns and n_kept < max_turns:
        next_turn = turns[prompt.dropped_turns - 1]
        assert len(prompt.ids) + prompt.truncated_pieces + 1 + len(next_turn) > max_tokens


@given(conversations)
def test_truncation_only_when_the_last_turn_alone_is_too_long(turns):
    prompt = build_context(turns, SPECIAL_IDS, max_tokens=20)
    assert prompt.truncated_pieces == max(0, 1 + len(turns[-1]) - 20)


def test_an_older_turn_changes_nothing_once_seven_are_kept():
    recent = [(10 + i,) for i in range(7)]
    assert (
        build_context([(99,), *recent], SPECIAL_IDS).ids == build_context(recent, SPECIAL_IDS).ids
    )


@pytest.mark.parametrize(
    ("turns", "limits"),
    [([], {}), ([(9,)], {"max_turns": 0}), ([(9,)], {"max_tokens": 1})],
)
def test_impossible_requests_are_refused(turns, limits):
    with pytest.raises(ValueError, match=r"at least|least are"):
        build_context(turns, SPECIAL_IDS, **limits)


def test_importing_the_prompt_loads_no_torch_or_transformers():
    code = (
        "import sys, chatbot.prompt; "
        "sys.exit(any(m in sys.modules for m in ('torch', 'transformers', 'tokenizers')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
