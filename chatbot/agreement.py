"""Whether a reply says yes, and whether a turn refers back, by their words; English and Korean.

A yes is as bad as what it is said to, and too short for its meaning to tell: the ethics filter
asks this where what the person said would itself be rejected. Knows nothing of what was said.
"""

import re

_YES = re.compile(
    r"""^(?:\W|\b(?:u+m+|u+h+|well|o+h+|ha(?:ha)+|lol|hm+|ah|and|so|i\ guess|i\ mean)\b)*
    (?:yes|yea+h?|yep|yup|sure|right|exactly|absolutely|totally|definitely|certainly|of\ course
    |agreed|amen|true|so\ true|indeed|obviously|well\ said|makes\ sense|you\ said\ it
    |i(?:'m|\ am)\ (?:with\ you|(?:so\ )?glad\ (?:we|you))|i\ feel\ the\ same
    |i\ (?:do\ |totally\ |completely\ |fully\ )?agree|i\ think\ so|i\ (?:do\ )?know
    |i\ hope\ so|me\ too|same\ here|so\ do\ i|they\ (?:do|really\ do|sure\ do|had\ it\ coming)
    |you(?:'re|\ are)\ (?:so\ |totally\ |absolutely\ )?right
    |that(?:'s|\ is)\ (?:so\ |very\ |a\ |exactly\ )?(?:right|true|correct|good|great|awesome|cool
    |nice|fine|good\ idea|great\ idea|what\ i)
    |(?:good|great|nice)\ idea|why\ not|good\ for\ you|sounds\ good|well\ done)\b""",
    re.VERBOSE | re.IGNORECASE,
)
_SURE = re.compile(
    r"\b(?:could(?:n['’]t| not) agree more|(?:can['’]?t|can ?not) argue with)\b", re.IGNORECASE
)
"""Says yes with the words of a no."""

_BUT = re.compile(
    r"n't\b|n’t\b|\b(?:not?|never|nobody|nothing|but|however|though|disagree|wrong|unfair|cannot|"
    r"sorry|careful|instead|hurt)\b",
    re.IGNORECASE,
)
_YES_KO = re.compile(
    r"""^(?:[\W_ㅋㅎㅠㅜ]|음+|아+|오+|와+|어+|응+|네+|예|진짜|정말|완전|아주|나도|저도|나는|저는)*
    (?:(?<=[네예응어])[\s,.!~]|(?<=[네예응어])$|넵|그럼|그치|그쵸|그죠|그니까|그러니까|그러게
    |그래[요,.!~\s]|그래$|그렇(?:죠|지|네|습|고말|게\ 생각)
    |맞아|맞습|맞지|맞는|맞네|당연|동의|동감|공감|인정|물론|찬성|옳|사실이|바로\ 그거|역시
    |좋아|좋은\ 생각|좋네|잘했|잘하셨|잘됐|백\ ?퍼센트|백번|내\ (?:말|생각)|내가\ 하고\ 싶
    |네\ 말|네가\ 맞|그\ 말이\ 맞|똑같|같은\ 생각|(?:저|나)라도|(?:그렇게|똑같이)\ (?:생각|느))""",
    re.VERBOSE,
)
_BUT_KO = re.compile(
    r"지만|는데|아니[에야요라]|아니$|않|안 |안타|못|글쎄|틀리|틀렸|잘못|미안|죄송|"
    r"그래도(?! 싸)|대신|지 ?마|지 ?말|조심|어렵|반대|힘들|속상"
)

_ASKS_KO = re.compile(r"^\W*(?:그럼|그렇게\s*생각)[^.!?]*\?")
"""Begins like a yes, and asks: "then how do you do it?", "do you think so?"."""


def agrees(reply: str) -> bool:
    """Whether a reply begins with a yes and takes nothing back.

    >>> agrees("Um, yes."), agrees("Yes, but that's not fair."), agrees("맞아요.")
    (True, False, True)
    """
    if _YES_KO.search(reply):
        return not _BUT_KO.search(reply) and not _ASKS_KO.search(reply)
    if _SURE.search(reply):
        return True
    return bool(_YES.search(reply)) and not _BUT.search(reply)


_REFERS = re.compile(
    r"^(?:so|and|but|then)\b|\b(?:they|them|their|those|these|that|this|it|agree|don't you|"
    r"aren't they|right)\b|^(?:그럼|그래서|근데|그런데|그러면)|그 사람|걔네|그들|그거|"
    r"그게|동의|그치|그렇지",
    re.IGNORECASE,
)


def refers(turn: str) -> bool:
    """Whether a turn can only be read with the one before.

    >>> refers("So you agree that they should go?"), refers("I like pizza.")
    (True, False)
    """
    return bool(_REFERS.search(turn))
