"""Faults of a reply that a reader can check: each found one is a name, a sentence and a price.

Rules on words, no model. They are meant to be right when they speak, not to find everything.
"""

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from itertools import pairwise

from eval.ssa.negatives import exchange_persons, is_wh_question, is_yes_no_question
from eval.ssa.words import FUNCTION_WORDS, word_set, words


@dataclass(frozen=True, slots=True)
class Finding:
    """A fault of a reply.

    Attributes:
        fault: its name.
        why: what was seen, for the reader.
        keeps: what is left of the probability of making sense, 0 to 1.
    """

    fault: str
    why: str
    keeps: float

    def __str__(self) -> str:
        return f"{self.fault}: {self.why}"


_MANY_WORDS = 4
"""Shorter runs are said again by anybody."""


def find_faults(context: Sequence[str], reply: str) -> list[Finding]:
    """The faults of a reply after its context, all normalised, oldest turn first.

    The reply's own speaker is taken to have said every second turn before it.
    """
    if not words(reply):
        return [Finding("empty", "the reply has no words", 0.05)]
    found = [finding for rule in _RULES if (finding := rule(context, reply)) is not None]
    if any(finding.fault == "contradiction" for finding in found):  # it repeats words as well
        found = [finding for finding in found if finding.fault != "repetition"]
    return found


def _own(context: Sequence[str]) -> Sequence[str]:
    """The turns of the reply's speaker, newest first."""
    return context[-2::-2]


def _others(context: Sequence[str]) -> Sequence[str]:
    """The turns of the person answered, newest first."""
    return context[-1::-2]


def _repetition(context: Sequence[str], reply: str) -> Finding | None:
    """The Meena rule: a long common subsequence with an earlier turn of one's own."""
    said = words(reply)
    for turn in _own(context):
        common = _longest_run(said, words(turn))
        if _tells(common) and len(common) >= 0.6 * len(said):
            return Finding("repetition", f"said before: {_quoted(common)}", 0.3)
    return None


def _stutter(context: Sequence[str], reply: str) -> Finding | None:
    """A run of words said twice within the reply."""
    said = words(reply)
    for n in range(len(said) // 2, 2, -1):
        runs = Counter(tuple(said[i : i + n]) for i in range(len(said) - n + 1))
        run, times = runs.most_common(1)[0]
        if times > 1 and times * n >= 0.65 * len(said) and run[-1] not in FUNCTION_WORDS:
            return Finding("repetition", f"twice in one reply: {_quoted(run)}", 0.5)
    for i in range(len(said) - 2):
        if said[i] == said[i + 1] == said[i + 2] and said[i] in _NEVER_CALLED_AGAIN:
            return Finding("repetition", f"one word over and over: {_quoted(said[i : i + 3])}", 0.3)
    return None


_NEVER_CALLED_AGAIN = word_set("a am an are at for i in is my of on that the to was with")


def _copied(context: Sequence[str], reply: str) -> Finding | None:
    """What the other person said, given back."""
    said = words(reply)
    for turn in _others(context)[:3]:
        theirs = words(turn)
        common = _longest_run(said, theirs)
        much = len(common) >= max(_MANY_WORDS, 0.7 * len(said))
        if len(said) >= _MANY_WORDS and sorted(said) == sorted(theirs) and said != theirs:
            return Finding("copied context", "the other person's words in another order", 0.15)
        if much and len(common) >= 0.6 * len(theirs):
            return Finding("copied context", f"from the other person: {_quoted(common)}", 0.2)
    return None


def _speaker_confusion(context: Sequence[str], reply: str) -> Finding | None:
    """The other person's words with `I` and `you` exchanged, or their own question back."""
    said = words(reply)
    for turn in _others(context)[:2]:
        if turn.endswith("?"):
            continue
        exchanged = words(exchange_persons(turn))
        if exchanged == words(turn):
            continue
        common = _longest_run(said, exchanged)
        personal = {"i", "i'm", "my", "i've"} & set(common)
        told_back = len(common) >= 0.9 * max(len(said), len(exchanged))
        is_most = len(common) >= 0.7 * len(said)
        if len(common) >= 5 and "?" not in reply and (told_back or (is_most and personal)):
            return Finding("speaker confusion", f"takes the other's part: {_quoted(common)}", 0.35)
    return None


_NOT = word_set(
    """not don't doesn't didn't isn't aren't wasn't weren't can't couldn't won't wouldn't haven't
    hasn't never no nobody nothing"""
)
_OPPOSITES = {
    frozenset(pair.split("/"))
    for pair in word_set(
        """love/hate like/hate like/dislike love/dislike enjoy/hate always/never
    married/single married/divorced vegan/meat vegetarian/meat brother/only tall/short rich/poor
    old/young early/late alone/together morning/evening hot/cold easy/hard good/bad
    happy/sad big/small employed/unemployed full-time/unemployed"""
    )
}
_SELF = word_set("i i'm i've i'd i'll my me mine we our we're")


def _contradiction(context: Sequence[str], reply: str) -> Finding | None:
    """The same words about oneself as before, now with or without a `not`, or with the opposite."""
    for sentence in _sentences(reply):
        now = words(sentence)
        if not _SELF & set(now) or "used" in now:
            continue
        for turn in _own(context):
            for earlier in _sentences(turn):
                if _contradicts(now, words(earlier)):
                    return Finding("contradiction", f"said before: “{earlier}”", 0.3)
    return None


def _contradicts(now: Sequence[str], before: Sequence[str]) -> bool:
    if not _SELF & set(before):
        return False
    a, b = set(now) - _NOT - FUNCTION_WORDS, set(before) - _NOT - FUNCTION_WORDS
    a |= {w for w in now if w in _OPPOSED}
    b |= {w for w in before if w in _OPPOSED}
    shared = a & b
    alike = len(shared) >= 0.6 * max(len(a), len(b))
    negated = (len(_NOT & set(now)) + len(_NOT & set(before))) % 2 == 1
    if alike and negated and len(shared) >= 2:
        return True
    return any(
        len(pair & a) == 1 and len(pair & b) == 1 and pair <= a | b and shared - _OPPOSED
        and len(shared - _OPPOSED) >= 0.5 * max(1, min(len(a), len(b)) - 1) and not negated
        for pair in _OPPOSITES
    )  # fmt: skip


_OPPOSED = frozenset(word for pair in _OPPOSITES for word in pair)

_ANSWERS_NOTHING = word_set(
    """yes no yeah yep nope sure ok okay right exactly thanks thank you not at all of course i do
    don't am can can't will it is isn't"""
)


def _ignored_question(context: Sequence[str], reply: str) -> Finding | None:
    """Yes or no where more was asked; or a yes-or-no question met with another matter."""
    if not context:
        return None
    asked, said = context[-1], words(reply)
    greeting = bool(_HOW_ARE_YOU & set(words(asked))) and said[0] in ("ok", "okay")
    if is_wh_question(asked) and set(said) <= _ANSWERS_NOTHING and not greeting:
        return Finding("ignored question", "yes or no where more was asked", 0.3)
    if is_yes_no_question(asked) and len(said) < 4 and said[0] in _PARTING:
        return Finding("ignored question", f"no answer to “{asked[-60:]}”", 0.5)
    return None


_PARTING = frozenset(("thanks", "thank", "bye", "goodbye", "welcome"))
_HOW_ARE_YOU = frozenset(("how", "how's"))


def _word_salad(context: Sequence[str], reply: str) -> Finding | None:
    """Orders of small words that English does not have."""
    said = words(reply)
    if len(said) < 5:
        return None
    odd = [f"{a} {b}" for a, b in pairwise(said) if (a, b) in _IMPOSSIBLE]
    if len(odd) >= 2 or (odd and len(odd) / len(said) > 0.12):
        return Finding("word salad", f"as in “{odd[0]}”", 0.3)
    return None


_DETERMINERS = ("the", "a", "an", "my", "your")
_CLOSED = ("is", "are", "was", "of", "and", "to", "for", "am", "were", "with", "at", "the", "a",
           "do", "have", "from", "i", "you", "but", "if", "or")  # fmt: skip
_IMPOSSIBLE = frozenset((d, c) for d in _DETERMINERS for c in _CLOSED)
"""An article or possessive and then a word that no noun phrase begins with."""

_RULES: tuple[Callable[[Sequence[str], str], Finding | None], ...] = (
    _repetition, _stutter, _copied, _speaker_confusion, _contradiction, _ignored_question,
    _word_salad,
)  # fmt: skip


def _tells(run: Sequence[str]) -> bool:
    """Whether a run of words is long enough, and of enough content, not to come by chance."""
    return len(run) >= _MANY_WORDS and sum(word not in FUNCTION_WORDS for word in run) >= 2


def _longest_run(a: Sequence[str], b: Sequence[str]) -> list[str]:
    """The longest run of words that both have."""
    match = SequenceMatcher(None, a, b, autojunk=False).find_longest_match()
    return list(a[match.a : match.a + match.size])


def _sentences(turn: str) -> list[str]:
    parts = turn.replace("!", ".").replace("?", "?.").replace(", but ", ".").split(".")
    return [part.strip() for part in parts if part.strip() and not part.strip().endswith("?")]


def _quoted(run: Sequence[str]) -> str:
    return f"“{' '.join(run[:12])}{' …' if len(run) > 12 else ''}”"


def generic_reply(reply: str) -> bool:
    """Whether every sentence of a normalised reply can be said to nearly anything.

    What is said often is not meant: "I'm fine, and you?" is, but only after one question.
    """
    sentences = [" ".join(words(part)) for part in _SENTENCE_END.split(reply)]
    sentences = [sentence for sentence in sentences if sentence]
    return all(
        sentence in GENERIC or set(sentence.split()) <= _ACKNOWLEDGES for sentence in sentences
    )


_SENTENCE_END = re.compile(r"[.,!?;]+")

_ACKNOWLEDGES = word_set(
    """ok okay oh ah hm hmm mm yes yeah yep yup no nope right sure really wow cool nice great good
    well fine true indeed exactly absolutely totally definitely interesting awesome thanks thank
    you lol haha ha maybe perhaps probably hello hi hey bye goodbye so and very alright agreed
    please awesome amazing wonderful lovely fun 네 예 응 아니요 아니 그래요 그래 그렇군요
    글쎄요 글쎄 몰라요 몰라 좋아요 좋네요 정말요 정말 진짜 와
    아 안녕하세요 안녕 감사합니다 고마워요 알겠습니다"""
)
"""Words of which whole sentences can be made without saying anything."""

GENERIC = frozenset(
    sentence.strip()
    for sentence in """i don't know|i do not know|dunno|i dunno|i'm not sure|i am not sure|not sure
    i have no idea|no idea|i see|i don't know what to say|i do not know what to say|i can't say
    that's nice|that is nice|that's great|that is great|that's cool|that is cool|that's good
    that's awesome|that is awesome|that's interesting|that is interesting|that's true|that is true
    that's right|that is right|that's fine|that's ok|that's a good point|good point|i hear you
    sounds good|sounds great|sounds fun|sounds nice|sounds interesting|that sounds good
    that sounds great|that sounds nice|that sounds fun|that sounds interesting|i bet|i know
    good question|good for you|no problem|me too|same here|same|tell me more|i understand
    i agree|i agree with you|you're welcome|that makes sense|makes sense|i hope so|i guess so
    i guess|i think so|i think so too|i don't think so|good luck|of course|that's too bad
    sorry|i'm sorry|i am sorry|sorry to hear that|i'm sorry to hear that|i am sorry to hear that
    oh no|congratulations|nice to meet you|have a nice day|have a good day|have a great day
    pardon|excuse me|what do you mean|i feel the same way|good to know|i don't understand
    can you repeat that|never mind|fair enough|you too|not really|i do|i do too|i am|i am too
    it is|it does|yes i do|no i don't|yes i am|yes it is|what|why|how|what about you
    how about you|and you|you know|i love it|i like it|i like that|love it|it depends|we'll see
    잘 모르겠어요|잘 모르겠어|모르겠어요|그렇구나|그랬군요
    그렇네요|좋겠네요|저도요|나도|맞아요""".replace("\n", "|").split("|")
)
"""Sentences that go nearly anywhere."""
