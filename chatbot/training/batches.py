"""Knows how a packed corpus is cut into batches, which depend on (seed, epoch) alone.

What a model is, or how it is trained, this module does not know.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from chatbot.errors import CorpusError
from chatbot.prompt import MAX_TOKENS, MAX_TURNS, SPECIAL_IDS

IGNORED_LABEL = -100
"""The label of padding, as torch's cross entropy expects it."""

_WINDOW_BATCHES = 200
_REPLY_BUCKET = 8
_INFILL_SHARE = (0.3, 0.5)


@dataclass(frozen=True, slots=True)
class Batch:
    """One step's rows. B rows, S context ids, T reply ids; all int64, padded on the right.

    Attributes:
        input_ids: (B, S), padded with `<pad>`.
        attention_mask: (B, S), 1 for real ids.
        decoder_input_ids: (B, T), `<bos>` + pieces, padded with `<pad>`.
        labels: (B, T), pieces + `<eos>`, padded with -100.
        source: (B,), index into `PackedCorpus.sources`.
    """

    input_ids: NDArray[np.int64]
    attention_mask: NDArray[np.int64]
    decoder_input_ids: NDArray[np.int64]
    labels: NDArray[np.int64]
    source: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _Rows:
    """An epoch's examples, arrays of (n,) int64; `span_length` 0 means the reply is the target."""

    start: NDArray[np.int64]  # first turn of the context; the reply itself: no context
    reply: NDArray[np.int64]
    source: NDArray[np.int64]
    span_begin: NDArray[np.int64]  # in pieces of the reply
    span_length: NDArray[np.int64]
    context_length: NDArray[np.int64]  # ids, markers counted
    target_length: NDArray[np.int64]  # pieces, with <eos>

    def take(self, index: NDArray[np.int64]) -> "_Rows":
        return _Rows(*(getattr(self, name)[index] for name in self.__slots__))


class PackedCorpus:
    """A folder written by `pack`, mapped into memory.

    Attributes:
        sources: names by source id.
        weights: (n_sources,) float, expected copies of each example in an epoch.
        meta: what `meta.json` says.
    """

    def __init__(self, folder: str | Path, weights: Mapping[str, float] | None = None) -> None:
        """Maps the folder.

        Args:
            weights: of some sources by name, in place of those they were packed with.

        Raises:
            CorpusError: it is missing or incomplete, or has no source of a name in `weights`.
        """
        folder = Path(folder)
        given = weights or {}
        try:
            self.meta: Mapping[str, Any] = json.loads((folder / "meta.json").read_text())
            self._tokens = _mapped(folder / "tokens.npy")
            self._offsets = np.asarray(_mapped(folder / "turns.npy"))
            self._examples = _mapped(folder / "examples.npy")
        except (OSError, ValueError) as error:
            raise CorpusError(
                f"{folder} is no packed corpus: {error}; expected meta.json, tokens.npy, "
                "turns.npy and examples.npy, write them with `chatbot train pack`"
            ) from error
        self.sources = tuple(source["name"] for source in self.meta["sources"])
        self.langs = tuple(source["lang"] for source in self.meta["sources"])
        if unknown := given.keys() - set(self.sources):
            raise CorpusError(
                f"weights for {', '.join(sorted(unknown))}, but {folder} holds "
                f"{', '.join(sorted(self.sources))}"
            )
        self.weights = np.array(
            [given.get(source["name"], source["weight"]) for source in self.meta["sources"]]
        )

    def __len__(self) -> int:
        """Examples before weights."""
        return len(self._examples)

    def turn(self, index: int) -> NDArray[np.uint16]:
        """The pieces of one turn."""
        return self._tokens[self._offsets[index] : self._offsets[index + 1]]

    def example(self, index: int) -> tuple[list[list[int]], list[int], str]:
        """The turns before the reply (all of them, oldest first), the reply, the source."""
        first, reply, source = self._examples[index].tolist()
        context = [self.turn(turn).tolist() for turn in range(first, reply)]
        return context, self.turn(reply).tolist(), self.sources[source]

    def batch_count(
        self,
        *,
        seed: int,
        epoch: int,
        tokens_per_batch: int,
        max_turns: int = MAX_TURNS,
        max_tokens: int = MAX_TOKENS,
        infill: float = 0.0,
        drop_context: float = 0.0,
    ) -> int:
        """How many batches `batches` gives with the same arguments and `start=0`."""
        rng = np.random.default_rng((seed, epoch))
        rows = self._sample(rng, max_turns, max_tokens, infill, drop_context)
        return len(_cut(rows, rng, tokens_per_batch)[1])

    def batches(
        self,
        *,
        seed: int,
        epoch: int,
        tokens_per_batch: int,
        max_turns: int = MAX_TURNS,
        max_tokens: int = MAX_TOKENS,
        infill: float = 0.0,
        drop_context: float = 0.0,
        start: int = 0,
    ) -> Iterator[Batch]:
        """The batches of an epoch, the same for the same arguments.

        Args:
            seed: of the run, at least 0.
            epoch: at least 0; each draws other copies, another order and other spans.
            tokens_per_batch: B * (S + T) at most; `max_tokens` + 128 is always enough.
            max_turns: turns of context at most.
            max_tokens: context ids at most, markers counted.
            infill: share of the examples, 0 to 1, whose context ends with the reply itself, a
                span of it replaced by `<mask>`, and whose target is that span.
            drop_context: share of the examples, 0 to 1, whose context is a bare `<user>`, so that
                the model learns how probable a reply is whatever was said before.
            start: batches to skip, without building them.

        Raises:
            ValueError: `tokens_per_batch` cannot hold the longest example.
        """
        rng = np.random.default_rng((seed, epoch))
        rows = self._sample(rng, max_turns, max_tokens, infill, drop_context)
        order, borders = _cut(rows, rng, tokens_per_batch)
        for begin, end in borders[start:]:
            yield self._build(rows.take(order[begin:end]), max_tokens)

    def _sample(
        self,
        rng: np.random.Generator,
        max_turns: int,
        max_tokens: int,
        infill: float,
        drop_context: float,
    ) -> _Rows:
        """The epoch's examples in random order, weights and context limits applied."""
        weights = self.weights[self._examples[:, 2]]
        copies = np.floor(weights) + (rng.random(len(weights)) < weights % 1)
        index = np.repeat(np.arange(len(weights)), copies.astype(np.int64))
        rng.shuffle(index)
        first, reply, source = np.asarray(self._examples)[index].astype(np.int64).T
        reply_length = self._offsets[reply + 1] - self._offsets[reply]
        span_begin, span_length = _spans(rng, reply_length, infill)
        span_length[2 + reply_length - span_length > max_tokens] = 0
        # Drawn only when asked for, so that runs without it see the batches they always saw.
        is_bare = np.zeros(len(reply), dtype=bool)
        if drop_context:
            is_bare = rng.random(len(reply)) < drop_context
        span_length[is_bare] = 0
        is_infill = span_length > 0
        # ends[t] counts the ids before turn t, markers counted: a context is a difference of two.
        ends = self._offsets + np.arange(len(self._offsets))
        context_end = reply + is_infill  # turn after the last one of the context
        room = max_tokens + np.where(is_infill, span_length - 1, 0)
        start = np.searchsorted(ends, ends[context_end] - room)
        start = np.maximum(start, np.maximum(first, context_end - max_turns))
        start = np.minimum(start, context_end - 1)
        context_length = ends[context_end] - ends[start] - np.where(is_infill, span_length - 1, 0)
        context_length[is_bare] = 1
        return _Rows(
            start=np.where(is_bare, reply, start),
            reply=reply,
            source=source,
            span_begin=span_begin,
            span_length=span_length,
            context_length=np.minimum(context_length, max_tokens),
            target_length=1 + np.where(is_infill, span_length, reply_length),
        )

    def _build(self, rows: _Rows, max_tokens: int) -> Batch:
        n_rows = len(rows.reply)
        inputs = np.full((n_rows, rows.context_length.max()), SPECIAL_IDS.pad, dtype=np.int64)
        labels = np.full((n_rows, rows.target_length.max()), IGNORED_LABEL, dtype=np.int64)
        decoder_inputs = np.full_like(labels, SPECIAL_IDS.pad)
        decoder_inputs[:, 0] = SPECIAL_IDS.bos
        columns = (rows.start, rows.reply, rows.span_begin, rows.span_length)
        for row, (start, reply, span_begin, span_length) in enumerate(
            zip(*(column.tolist() for column in columns), strict=True)
        ):
            target = self.turn(reply)
            if span_length:
                before, target, after = np.split(target, (span_begin, span_begin + span_length))
                last = np.concatenate((before, [SPECIAL_IDS.mask], after))
                self._fill_context(inputs[row], start, reply, last, max_tokens)
            else:
                last = self.turn(reply - 1) if start < reply else target[:0]
                self._fill_context(inputs[row], start, reply - 1, last, max_tokens)
            labels[row, : len(target)] = target
            labels[row, len(target)] = SPECIAL_IDS.eos
            decoder_inputs[row, 1 : len(target) + 1] = target
        mask = np.arange(inputs.shape[1]) < rows.context_length[:, None]
        return Batch(inputs, mask.astype(np.int64), decoder_inputs, labels, rows.source)

    def _fill_context(
        self,
        out: NDArray[np.int64],
        start: int,
        last_turn: int,
        last: NDArray[Any],
        max_tokens: int,
    ) -> None:
        """Writes turns `start` to `last_turn`, the last as `last`: `build_context`, unchecked."""
        column = 0
        for turn in range(start, last_turn):
            pieces = self.turn(turn)
            out[column] = SPECIAL_IDS.bot if (last_turn - turn) % 2 else SPECIAL_IDS.user
            out[column + 1 : column + 1 + len(pieces)] = pieces
            column += 1 + len(pieces)
        out[column] = SPECIAL_IDS.user
        kept = last[max(0, len(last) - (max_tokens - 1)) :]
        out[column + 1 : column + 1 + len(kept)] = kept


def _mapped(path: Path) -> NDArray[Any]:
    """The array on disk; as a plain array, whose slices cost less than a memmap's."""
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _spans(
    rng: np.random.Generator, reply_length: NDArray[np.int64], infill: float
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Begin and length of each reply's span; length 0 for all but a share `infill` of them."""
    n = len(reply_length)
    is_infill = rng.random(n) < infill
    low, high = _INFILL_SHARE
    length = np.rint(reply_length * (low + (high - low) * rng.random(n))).astype(np.int64)
    length = np.maximum(length, 1) * is_infill
    begin = np.floor(rng.random(n) * (reply_length - length + 1)).astype(np.int64)
    return begin, length


def _cut(
    rows: _Rows, rng: np.random.Generator, tokens_per_batch: int
) -> tuple[NDArray[np.int64], list[tuple[int, int]]]:
    """An order of the rows, and the borders of batches in it, the batches shuffled.

    Windows of about `_WINDOW_BATCHES` batches are sorted by length and cut, so that padding is
    little while neighbours in time stay random.
    """
    total = rows.context_length + rows.target_length
    if len(total) == 0:
        return np.arange(0), []
    if tokens_per_batch < total.max():
        raise ValueError(f"tokens_per_batch={tokens_per_batch}; one example needs {total.max()}")
    window = max(1, int(_WINDOW_BATCHES * tokens_per_batch / total.mean()))
    orders: list[NDArray[np.int64]] = []
    borders: list[tuple[int, int]] = []
    for begin in range(0, len(total), window):
        index = np.arange(begin, min(begin + window, len(total)))
        bucket = rows.target_length[index] // _REPLY_BUCKET
        index = index[np.lexsort((rows.context_length[index], bucket))]
        cuts = _cut_window(rows.context_length[index], rows.target_length[index], tokens_per_batch)
        borders += [(begin + cuts[i], begin + cuts[i + 1]) for i in rng.permutation(len(cuts) - 1)]
        orders.append(index)
    return np.concatenate(orders), borders


def _cut_window(
    context_length: NDArray[np.int64], target_length: NDArray[np.int64], tokens_per_batch: int
) -> list[int]:
    """Borders of the batches of a sorted window, the first 0, the last its length."""
    cuts = [0]
    while (begin := cuts[-1]) < len(context_length):
        # No row needs fewer than a marker and two labels, so no batch is longer than this.
        reach = slice(begin, begin + tokens_per_batch // 3)
        widths = np.maximum.accumulate(context_length[reach])
        widths += np.maximum.accumulate(target_length[reach])
        is_over = widths * np.arange(1, len(widths) + 1) > tokens_per_batch
        n_rows = int(is_over.argmax()) if is_over.any() else len(widths)
        if n_rows > 8:  # tensor cores like multiples of 8
            n_rows -= n_rows % 8
        cuts.append(begin + n_rows)
    return cuts
