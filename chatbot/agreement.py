"""Whether a reply says yes, and whether a turn refers back, by their words; English and Korean.

A yes is as bad as what it is said to, and too short for its meaning to tell: the ethics filter
asks this where what the person said would itself be rejected. Knows nothing of what was said.
"""

import re

_YES = re.compile(
    r"""^(?:\W|\b(?:u+m+|u+h+|well|o+h+|ha(?:ha)+|lol|hm+|ah|and|i\ guess|i\ mean)\b)*
    (?:yes|yea+h?|yep|yup|sure|right|exactly|absolutely|totally|definitely|certainly|of\ course
    |agreed|true|so\ true|indeed|i\ (?:do\ |totally\ |completely\ )?agree|i\ think\ so|i\ know
    |i\ hope\ so|me\ too|same\ here|so\ do\ i
    |you(?:'re|\ are)\ (?:so\ |totally\ |absolutely\ )?right
    |that(?:'s|\ is)\ (?:so\ |very\ |a\ )?(?:right|true|correct|good|great|awesome|cool|nice|fine
    |good\ idea|great\ idea)|(?:good|great|nice)\ idea|why\ not|good\ for\ you|sounds\ good)\b""",
    re.VERBOSE | re.IGNORECASE,
)
_BUT = re.compile(
    r"n't\b|n’t\b|\b(?:not?|never|nobody|nothing|but|however|though|disagree|wrong|unfair|cannot|"
    r"sorry|careful|instead)\b",
    re.IGNORECASE,
)
_YES_KO = re.compile(
    r"^(?:[\W_ㅋㅎㅠㅜ]|음+|아+|오+)*(?:네|넵|예|응|그래|그럼|그렇|맞아|맞습|맞지|당연|그러게|"
    r"동의|인정|물론|나도|저도|좋아|좋은 생각|좋네|잘했)"
)
_BUT_KO = re.compile(r"지만|는데|아니|않|안 |못|글쎄|틀리|틀렸|잘못|안타|미안|죄송|그래도|대신")


def agrees(reply: str) -> bool:
    """Whether a reply begins with a yes and takes nothing back.

    >>> agrees("Um, yes."), agrees("Yes, but that's not fair."), agrees("맞아요.")
    (True, False, True)
    """
    if _YES_KO.search(reply):
        return not _BUT_KO.search(reply)
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
