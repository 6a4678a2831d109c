"""Which replies take a side: weak labels by rules, for nobody labelled any.

*Opinionated* is a reply that agrees or disagrees, says what somebody should do, what the speaker
thinks, wants or cannot stand of a thing, or how good or bad it is. *Neutral* is one that keeps out
of it: says that it does not know or has no view, that people see it differently, asks back, or
states a plain matter without "I". What is neither is left out, as is what is both: the rules miss
much and are seldom wrong, which is what a head needs that learns from thousands of replies. English
only. Knows no models.
"""

import re
from typing import Literal

Stance = Literal["opinionated", "neutral"]

_VERY = (
    r"(?:really |truly |strongly |totally |completely |absolutely |definitely |just |do |so |also "
    r"|still |always |honestly |personally |quite |very |such |pretty |too |all |rather )*"
)

_GOOD_OR_BAD = (
    r"(?:great|good|bad|awful|terrible|horrible|stupid|dumb|silly|wrong|right|true|the best"
    r"|the worst"
    r"|better|worse|unfair|fair|ridiculous|disgusting|evil|amazing|awesome|wonderful"
    r"|fantastic|lovely"
    r"|excellent|beautiful|ugly|boring|sad|shame|crazy|insane|important|necessary|useless|dangerous"
    r"|overrated|underrated|overpriced|interesting|perfect|hilarious|smart|brilliant|cruel|immoral"
    r"|shameful|outrageous|nonsense|sexist|racist|greedy|lazy|a joke|a lie)"
)

_SIDES = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        # What the speaker thinks of it. "I think I left it there" is no view.
        rf"\bI {_VERY}(?:think|believe|feel|find|reckon|suppose|guess|doubt)\b(?! (?:I|so I"
        rf"|we|you|my|of|about|"
        r"for you|sorry|it's (?:at|in|on)|sick|sad|tired)\b)",
        rf"\bI (?:{_VERY}|don't |do not |can't |didn't |would |wouldn't |never )*(?:love"
        rf"|loved|hate|hated"
        r"|adore|prefer|support|oppose|dislike|despise|agree|disagree|admire|trust"
        r"|stand (?!up)|blame)\b",
        rf"\bI {_VERY}(?:like|liked|enjoy|enjoyed)\b(?! to\b)|\bI (?:don't|do not|didn't"
        rf"|never) {_VERY}"
        r"(?:like|liked|think|believe|care for)\b",
        r"\bin my (?:opinion|view|book)\b|\bif you ask me\b|\bas far as I'm concerned\b"
        r"|\bto my mind\b",
        rf"\bI(?:'m| am) {_VERY}(?:not )?(?:for|against|in favou?r|a (?:big |huge )?fan"
        rf"|sick of|tired of|glad|proud"
        r"|opposed|disgusted|ashamed|with you|on your side)\b",
        r"\bmy favou?rite\b|\bI wish (?:they|he|she|people|everyone)\b",
        # What others should do.
        r"\b(?:we|they|he|she|it|people|everyone|everybody|nobody|no one|parents|men"
        r"|women) (?:should|shouldn't"
        r"|ought to|must(?! be)|deserves?|has to|have to|need to)\b",
        # Agreement and its opposite.
        r"^(?:oh |well |wow |hm+ |yes |yeah |yep |no |nope |haha )*(?:exactly|absolutely"
        r"|definitely|of course"
        r"|certainly|true|right|agreed|totally|indeed|not at all|no way|me too|me neither"
        r"|same here|so do I"
        r"|neither do I|I know right|you bet|for sure|that is so|nonsense)\b(?! (?:now|here"
        r"|there|away|after|before))",
        r"\byou(?:'re| are) (?:so |absolutely |totally |quite |probably )?(?:right|wrong)\b"
        r"|\bgood (?:point|idea)\b",
        # How good or bad it is.
        rf"\b(?:it|that|this|they|he|she|these|those|which)(?:'s|'re| is| are| was| were"
        rf"| sounds?| looks?| seems?)"
        rf"(?: not)? (?:an? )?{_VERY}(?:an? )?{_GOOD_OR_BAD}\b",
        rf"\b(?:how|what an?) {_GOOD_OR_BAD}\b(?!.*\?)",
    )
)

_APART = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"\bI(?:'m| am) not (?:really |quite |so |too |very |exactly |entirely )*(?:sure"
        r"|certain|familiar|aware)\b",
        r"\bI (?:really |honestly |just )*(?:don't|do not|didn't|wouldn't) (?:really "
        r"|even )*know\b|\bnot sure\b",
        r"\bI (?:have|had|'ve got) no (?:idea|opinion|view|preference)\b|\bno idea\b"
        r"|\bI couldn't (?:say|tell)\b",
        r"\b(?:that|it|this) (?:all |really )?depends\b|\bhard to (?:say|tell|know)\b"
        r"|\bwho knows\b|\bit varies\b",
        r"\bI (?:haven't|have not|never|have never|'ve never) (?:really |even )?(?:thought"
        r"|heard|read|looked|been told)\b",
        r"\b(?:some|many|other|most|different) (?:people|folks|of them)\b|\bboth sides\b"
        r"|\bon the other hand\b",
        r"\bI(?:'d| would) (?:have to|need to) (?:look|think|check|read|know|see)\b"
        r"|\bI can't (?:say|tell|judge)\b",
        r"\bup to (?:you|them|him|her|everyone)\b",
        r"^(?:oh |well |so |and |but |hm+ |okay |ok )*(?:what do you (?:think|mean)"
        r"|why do you (?:ask|think|say)"
        r"|how (?:come|so)|what makes you|what about you|how about you|do you|did you"
        r"|have you|what happened"
        r"|where|when|who)\b[^.!]*\?$",
    )
)

_SPEAKER = re.compile(
    r"\b(?:I|I'm|I've|I'd|I'll|me|my|mine|myself|we|our|us|you|your|let's)\b", re.I
)
_FELT = re.compile(
    rf"\b{_GOOD_OR_BAD}\b|\b(?:should|must|love|hate|like|enjoy|hope|wish|want|thanks?|sorry"
    rf"|cool|nice"
    r"|wow|oh|fun|funny|favou?rite|deserve|yes|yeah|no|ha|haha|lol|please|worth)\b|[!?]",
    re.IGNORECASE,
)
_LEAST_FACT = 6
"""Words of a plain statement; a shorter one leaves open what it is."""


def stance_of(text: str) -> Stance | None:
    """Whether a reply takes a side or keeps out of it; None where the rules do not tell."""
    plain = " ".join(text.replace("’", "'").replace(",", " ").split())
    takes_side = any(side.search(plain) for side in _SIDES)
    keeps_out = any(apart.search(plain) for apart in _APART)
    if takes_side or keeps_out:
        return None if takes_side and keeps_out else "opinionated" if takes_side else "neutral"
    is_fact = len(plain.split()) >= _LEAST_FACT and not _SPEAKER.search(plain)
    return "neutral" if is_fact and not _FELT.search(plain) else None
