"""Laws of choosing the reply among candidates."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chatbot.ranking import rank, score_of, words
from chatbot.types import Candidate, Ranking

RANKING = Ranking()


def candidate(text, log_likelihood=-4.0, *, n_pieces=4, **values):
    return Candidate(text, tuple(range(6, 6 + n_pieces)), log_likelihood, "end", **values)


def dropped(text, turns=("?!",), ranking=RANKING):
    """Why this text cannot be the reply; None if it can."""
    (one,) = rank([candidate(text)], turns, ranking)
    return one.dropped


some_words = st.lists(
    st.sampled_from(["yes", "no", "I", "do", "know", "나는", "몰라", "🙂", "..."]), max_size=8
).map(" ".join)
candidates = st.lists(
    st.builds(candidate, some_words, st.floats(-50, 0), n_pieces=st.integers(1, 20)), max_size=12
)
conversations = st.lists(some_words.filter(bool), min_size=1, max_size=6)
rankings = st.builds(
    Ranking, length_power=st.floats(0, 2), repeat_words=st.integers(2, 8), fit=st.floats(0, 2)
)


# -- the order


@given(candidates, conversations, rankings)
def test_the_best_come_first_and_the_dropped_last(drawn, turns, ranking):
    ranked = rank(drawn, turns, ranking)
    assert [one.dropped is not None for one in ranked] == sorted(
        one.dropped is not None for one in ranked
    )
    for is_dropped in (False, True):
        scores = [one.score for one in ranked if (one.dropped is not None) == is_dropped]
        assert scores == sorted(scores, reverse=True)


@given(candidates, conversations, rankings)
def test_none_is_lost_and_nothing_drawn_is_changed(drawn, turns, ranking):
    bare = [
        replace(one, score=None, dropped=None, monotony=0) for one in rank(drawn, turns, ranking)
    ]
    assert sorted(bare, key=repr) == sorted(drawn, key=repr)


@given(candidates, conversations, rankings)
def test_ranking_again_changes_nothing(drawn, turns, ranking):
    once = rank(drawn, turns, ranking)
    assert rank(once, turns, ranking) == once


@given(candidates, conversations, rankings)
def test_no_two_that_are_kept_say_the_same_and_none_repeats_a_turn(drawn, turns, ranking):
    kept = [one.text for one in rank(drawn, turns, ranking) if one.dropped is None]
    said = [tuple(words(text)) or text for text in kept]
    assert len(said) == len(set(said))
    assert set(kept).isdisjoint(turns[-2::-2])
    n = ranking.repeat_words
    runs = {tuple(words(turn)[i : i + n]) for turn in turns for i in range(len(words(turn)))}
    for text in kept:
        spoken = words(text)
        assert not any(tuple(spoken[i : i + n]) in runs for i in range(len(spoken) - n + 1))


# -- the score


def test_the_score_is_the_mean_log_likelihood_by_default():
    assert score_of(candidate("Fine.", -6.0, n_pieces=3), RANKING) == pytest.approx(-2.0)


@pytest.mark.parametrize(("power", "score"), [(0, -6.0), (0.5, -3.0), (1, -1.5), (2, -0.375)])
def test_length_power_goes_from_the_sum_to_the_mean_and_beyond(power, score):
    one = candidate("Fine.", -6.0, n_pieces=4)
    assert score_of(one, Ranking(length_power=power)) == pytest.approx(score)


def test_novelty_lowers_what_fits_anywhere():
    dull = candidate("I don't know.", -4.0, log_likelihood_alone=-4.0)
    apt = candidate("The museum opens at nine.", -5.0, log_likelihood_alone=-20.0)
    assert rank([dull, apt], ["When?"], Ranking(novelty=0))[0].text == dull.text
    assert rank([dull, apt], ["When?"], Ranking(novelty=0.5))[0].text == apt.text
    assert score_of(apt, Ranking(novelty=0.5)) == pytest.approx((-5.0 + 0.5 * 20.0) / 4)


def test_without_novelty_the_likelihood_alone_does_not_matter():
    one = candidate("Fine.")
    assert score_of(one, RANKING) == score_of(replace(one, log_likelihood_alone=-9.0), RANKING)


def test_fit_buys_attributes_at_the_price_of_likelihood():
    fluent, joyful = candidate("I see.", -4.0, fit=0.0), candidate("Wonderful!", -6.0, fit=1.0)
    assert rank([fluent, joyful], ["Hi!"], Ranking(fit=0.25))[0].text == "I see."
    assert rank([fluent, joyful], ["Hi!"], Ranking(fit=1))[0].text == "Wonderful!"


def test_coherence_buys_an_answer_at_the_price_of_likelihood():
    dull = candidate("What do you do for fun?", -4.0, coherence=-0.5)
    apt = candidate("How long did you wait?", -8.0, coherence=1.0)
    turns = ["My train was late."]
    assert rank([dull, apt], turns, Ranking(coherence=0))[0].text == dull.text
    assert rank([dull, apt], turns, Ranking(coherence=1))[0].text == apt.text
    assert score_of(apt, Ranking(coherence=0.5)) == pytest.approx(-2.0 + 0.5)


def test_without_weight_or_measure_coherence_does_not_matter():
    one = candidate("Fine.")
    assert score_of(one, Ranking(coherence=5)) == score_of(one, Ranking(coherence=0))
    measured = replace(one, coherence=3.0)
    assert score_of(measured, Ranking(coherence=0)) == score_of(one, Ranking(coherence=0))


# -- what cannot be the reply


@pytest.mark.parametrize("text", ["Fine, and you?", "좋아요, 고마워요.", "🙂", "…", "Yes", "네"])
def test_an_ordinary_reply_is_kept(text):
    assert dropped(text, ["Hi!", "Hello!", "🙂?"]) is None


@pytest.mark.parametrize(
    ("text", "why"), [("", "empty"), ("Fi\N{REPLACEMENT CHARACTER}e", "broken_text")]
)
def test_what_is_no_text_is_dropped(text, why):
    assert dropped(text) == why


@pytest.mark.parametrize(
    "text",
    [
        "no no no",
        "well, very, very, VERY nice",
        "I like it, I like it, I like it",
        "정말 정말 정말 좋아요",
        "나는 네가 좋아 그리고 나는 네가 좋아 그래서 나는 네가 좋아",
        "I like cheese. I like cheese! And you?",
        "치즈를 좋아해요. 그래요? 치즈를 좋아해요.",
        "네, 치즈를 좋아해요. 치즈를 좋아해요.",
        "Jordanxxxxxxxxxxxxxxx",
        "ㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋㅋ",
    ],
)
def test_going_round_in_circles_is_dropped(text):
    assert dropped(text) == "repeats_itself"


@pytest.mark.parametrize(
    "text", ["We played game game.", "I like painting and painting.", "Music music is fine."]
)
def test_a_doubled_word_is_dropped(text):
    assert dropped(text) == "repeats_itself"


@pytest.mark.parametrize(
    "text",
    [
        "It gets better. Better than before.",
        "over and over",
        "more and more",
        "I like music, music",
        "No. No. I mean it.",
    ],
)
def test_a_word_may_come_twice_where_people_say_it_so(text):
    assert dropped(text) is None


@pytest.mark.parametrize(
    "text",
    ["no, no", "very very nice, very nice", "I like tea, I like jam, I like it", "네 네, 알겠어요"],
)
def test_saying_it_twice_is_no_circle(text):
    assert dropped(text) is None


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ("Fine, and you?", "fine and you"),
        ("I went to the park with my dog.", "Yes, I went to the park today."),
        ("저는 어제 친구와 함께 영화를 봤어요", "아 저는 어제 친구와 함께 영화를 또 봤어요"),
        ("네", "네!"),
        ("🙂", "🙂"),
        ("OK.", "ok"),
    ],
)
def test_the_bot_does_not_say_what_it_said_before(said, text):
    assert dropped(text, ["Hi!", said, "Really?"]) == "repeats_turn"
    assert dropped(text, ["Hi!", said, "Well.", "Mhm.", "Really?"]) == "repeats_turn"


@pytest.mark.parametrize(
    ("asked", "text"),
    [
        ("How are you?", "How are you?"),
        ("what is your favourite music", "Mine is jazz. What is your favourite music?"),
        ("오늘 날씨가 어때요?", "오늘 날씨가 어때요"),
    ],
)
def test_the_bot_does_not_echo(asked, text):
    assert dropped(text, [asked]) == "repeats_turn"


@pytest.mark.parametrize(("greeting", "answer"), [("Hi!", "Hi."), ("안녕!", "안녕"), ("👋", "👋")])
def test_a_one_word_greeting_may_be_returned(greeting, answer):
    assert dropped(answer, [greeting]) is None


def test_the_length_of_a_repeated_run_is_a_setting():
    turns, text = ["I like green tea a lot."], "You like green tea."
    assert dropped(text, turns) is None
    assert dropped(text, turns, Ranking(repeat_words=3)) == "repeats_turn"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Fine, thanks.", "fine thanks!"),
        ("좋아요.", "좋아요!"),
        ("🙂", "🙂"),
        ("It’s me", "it's me."),
    ],
)
def test_of_duplicates_the_best_stays(first, second):
    worse, better = candidate(first, -8.0), candidate(second, -4.0)
    for drawn in ([worse, better], [better, worse]):
        ranked = rank(drawn, ["?!"], RANKING)
        assert [(one.text, one.dropped) for one in ranked] == [(second, None), (first, "duplicate")]


def test_a_dropped_candidate_makes_no_duplicate():
    broken, whole = candidate("Fine\N{REPLACEMENT CHARACTER}", -1.0), candidate("Fine", -4.0)
    ranked = rank([broken, whole], ["Hi!"], RANKING)
    assert [one.dropped for one in ranked] == [None, "broken_text"]


@given(st.text(), st.text())
@settings(max_examples=50)
def test_any_text_is_ranked(text, turn):
    (one,) = rank([candidate(text)], [turn], RANKING)
    assert one.text == text


@pytest.mark.parametrize(
    ("turn", "text", "dropped"),
    [
        ("hello", "hi 안녕", "other_language"),
        ("hello", "hi there", None),
        ("안녕하세요", "안녕하세요! What do you like to do?", "other_language"),
        ("안녕하세요", "저는 BTS 노래를 자주 들어요", None),
        ("안녕하세요", "ㅋㅋ", None),
        ("!?", "안녕", None),
    ],
)
def test_the_reply_is_in_the_language_of_the_turn(turn, text, dropped):
    (only,) = rank([candidate(text)], [turn], Ranking())
    assert only.dropped == dropped


# -- doing again what was just done


@pytest.mark.parametrize(
    ("text", "turns", "expected"),
    [
        ("Why?", ["Hi!", "What is new?", "I won."], 0),
        ("Why?", ["Hi!", "And you?", "Well.", "What is new?", "I won."], 1),
        ("Why?", ["Hi!", "Who?", "I.", "You?", "Yes.", "Really?", "Sure."], 2),
        ("Why?", ["Hi!", "You?", "I.", "Who?", "You.", "I am glad.", "I won."], 0),
        ("Why?", ["Is it?", "No.", "It is not?"], 0),  # the person asked
        ("Well done.", ["Hi!", "And you?", "Well.", "What is new?", "I won."], 0),
        ("That is great! Tell me.", ["I won.", "That's odd. That is great.", "Twice."], 1),
        ("Yes. Yes.", ["Do you?", "Yes.", "Do you too?"], 0),
        ("멋지다! 누구랑?", ["시험에 붙었어.", "멋지다!", "여행도 가."], 1),
        ("네.", ["갈까?", "네.", "먹을까?"], 0),
    ],
)
def test_asking_on_and_on_and_sentences_said_before_count(text, turns, expected):
    (one,) = rank([candidate(text)], turns, RANKING)
    assert one.monotony == expected


def test_the_bot_that_has_asked_twice_likes_to_tell_something_next():
    asks, tells = candidate("Where did you go?"), candidate("I like the sea too.", -4.4)
    turns = ["Hi!", "How are you?", "Tired.", "What did you do?", "I was away."]
    first, second = rank([asks, tells], turns, RANKING)
    assert first.text == tells.text
    assert second.score == pytest.approx(-1.0 - RANKING.monotony)
    assert rank([asks, tells], turns, replace(RANKING, monotony=0))[0].text == asks.text
    assert rank([asks, tells], turns[:1], RANKING)[0].text == asks.text
