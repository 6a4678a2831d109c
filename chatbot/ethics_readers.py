"""The readers of an ethics filter, one for each language that has one, behind one door.

Knows which replies each was made for, and nothing of what is made of what they find.
"""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from chatbot.ethics_probe import Language, is_readable, language_of

if TYPE_CHECKING:
    from chatbot.korean_reader import KoreanReader
    from chatbot.turn_reader import TurnReader


@dataclass(frozen=True, slots=True)
class Readers:
    """Of English replies with the turns they answer, and of Korean ones alone; None for none."""

    english: "TurnReader | None" = None
    korean: "KoreanReader | None" = None

    @classmethod
    def load(cls, folder: Path, languages: Collection[Language]) -> "Readers":
        """Those of the languages, out of a folder that `save` wrote.

        Raises:
            ModelError: a file is missing or broken.
        """
        english, korean = None, None
        if "en" in languages:
            from chatbot.turn_reader import TurnReader

            english = TurnReader.load(folder)
        if "ko" in languages:
            from chatbot.korean_reader import KoreanReader

            korean = KoreanReader.load(folder)
        return cls(english, korean)

    def save(self, folder: Path) -> None:
        """Writes the files of those there are."""
        for reader in (self.english, self.korean):
            if reader is not None:
                reader.save(folder)

    def rate(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """(n,) log-odds of n replies, each with the turn it answers; not a number for unread ones.

        The order of the pairs does not matter.
        """
        found = np.full(len(pairs), np.nan, np.float32)
        turns: dict[str, list[int]] = defaultdict(list)
        korean: list[int] = []
        # Sums of floats depend on the place in a row: the order asked in must not.
        for i in sorted(range(len(pairs)), key=lambda i: pairs[i]):
            reply, turn = pairs[i]
            if language_of(reply) == "ko":
                korean.append(i)
            elif is_readable(reply):
                turns[turn].append(i)
        if self.english is not None:
            for turn, places in turns.items():
                found[places] = self.english.rate(turn, [pairs[i][0] for i in places])
        if self.korean is not None and korean:
            found[korean] = self.korean.rate([pairs[i][0] for i in korean])
        return found
