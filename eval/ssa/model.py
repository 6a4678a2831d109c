"""The network that judges whether a reply fits its context: MiniLM, made to read the two together.

Rows of ids and the network are those of `chatbot.pair_reading`; here stands how much of a context
and of a reply is read.
"""

from collections.abc import Sequence

from transformers import PreTrainedTokenizerFast

from chatbot.pair_reading import Ids, PairNetwork

MAX_TURNS = 4
MAX_TURN_PIECES = 20
MAX_LAST_PIECES = 32
MAX_REPLY_PIECES = 28


class PairReader:
    """Turns contexts and replies into ids."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast):
        self._tokenizer = tokenizer
        self._cls, self._sep = tokenizer.cls_token_id, tokenizer.sep_token_id
        self._known: dict[str, Ids] = {}

    def pieces(self, text: str) -> Ids:
        """Ids of a normalised turn, none of them special."""
        if text not in self._known:
            if len(self._known) > 50_000:
                self._known.clear()
            self._known[text] = self._tokenizer(
                text, add_special_tokens=False, truncation=True, max_length=256
            )["input_ids"]
        return self._known[text]

    def context(self, turns: Sequence[str]) -> Ids:
        """[CLS] and the last turns, each with its [SEP]; of long ones the beginning and the end."""
        ids = [self._cls]
        kept = turns[-MAX_TURNS:]
        for i, turn in enumerate(kept, start=1):
            limit = MAX_LAST_PIECES if i == len(kept) else MAX_TURN_PIECES
            ids += [*_shortened(self.pieces(turn), limit), self._sep]
        return ids

    def reply(self, text: str) -> Ids:
        return [self._cls, *_shortened(self.pieces(text), MAX_REPLY_PIECES), self._sep]


def _shortened(ids: Ids, limit: int) -> Ids:
    """At most `limit` ids: the first third and the last two thirds of what fits."""
    head = limit // 3
    return ids if len(ids) <= limit else ids[:head] + ids[head - limit :]


class Plausibility(PairNetwork):
    """Logit of a reply making sense after its context."""
