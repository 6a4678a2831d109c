"""Knows how dialogues become the arrays of a packed corpus, each turn encoded once."""

import hashlib
import json
import logging
from array import array
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from chatbot.errors import CorpusError
from chatbot.training.corpus import Dialogue, Source, Split, read_dialogues, source_of
from chatbot.training.filters import MIN_WORDS_TO_COPY, has_url, why_no_reply
from chatbot.training.folders import replace_folder

logger = logging.getLogger(__name__)

Stage = Literal["chat", "pretext"]
Licences = Literal["all", "open"]

MAX_REPEATS = 100
"""Times that one reply is learnt from at most, over all sources."""


@dataclass(slots=True)
class SourceReport:
    """Counts of one source; `filtered` counts replies by the filter that took them."""

    lang: str
    weight: float
    is_open: bool
    dialogues: int = 0
    turns: int = 0
    words: int = 0
    pieces: int = 0
    examples: int = 0
    filtered: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PackReport:
    """What `pack` wrote.

    Attributes:
        sources: counts by source, in the order of the source ids.
        left_out: dialogues by source that the licence or a weight of 0 kept out.
    """

    sources: Mapping[str, SourceReport]
    left_out: Mapping[str, int]

    @property
    def n_examples(self) -> int:
        return sum(source.examples for source in self.sources.values())

    @property
    def n_pieces(self) -> int:
        return sum(source.pieces for source in self.sources.values())


def pack(
    files: Iterable[str | Path],
    tokenizer: PreTrainedTokenizerFast,
    out_dir: str | Path,
    *,
    stage: Stage = "chat",
    licences: Licences = "all",
    split: Split = "train",
) -> PackReport:
    """Encodes the files into the folder `out_dir`, replacing it whole or leaving it as it was.

    The folder holds `tokens.npy` (uint16, the pieces of all turns), `turns.npy` (int64, where
    each turn begins, one more at the end), `examples.npy` (int32, (n, 3): first turn of the
    dialogue, turn of the reply, source id) and `meta.json`.

    Args:
        files: `.jsonl` or `.jsonl.xz`, one source each; those of greater weight are read first,
            so that of a common reply the best sources' copies are the ones kept.
        tokenizer: of at most 65,536 pieces.
        stage: whose weights the sources get.
        licences: "open" leaves out sources whose licence does not allow any use.
        split: "valid" gives every source weight 1 and keeps repeated replies.

    Raises:
        CorpusError: no files, or one that cannot be read.
        ChatbotError: the folder cannot be written.
    """
    paths = [Path(file) for file in files]
    if not paths:
        raise CorpusError("no files to pack; list them with `corpus_files`")
    packer = _Packer(tokenizer, stage=stage, licences=licences, split=split)
    for path in sorted(paths, key=packer.weight_of_first, reverse=True):
        packer.add(path)
        logger.info("%s read, %d replies so far", path.name, len(packer.examples) // 3)
    if not packer.examples:
        names = ", ".join(path.name for path in paths)
        raise CorpusError(
            f"no reply left in {names} with licences={licences!r}; expected dialogues of two "
            f"turns or more, filtered: {packer.report()}"
        )
    meta = {
        "stage": stage,
        "split": split,
        "licences": licences,
        "tokenizer_sha256": tokenizer_digest(tokenizer),
        "files": {path.name: _file_digest(path) for path in paths},
        "left_out": dict(packer.left_out),
        "sources": [{"name": n, **asdict(s)} for n, s in packer.sources.items()],
    }

    def fill(folder: Path) -> None:
        for name, values in packer.arrays().items():
            np.save(folder / f"{name}.npy", values, allow_pickle=False)
        text = json.dumps(meta, indent=1, ensure_ascii=False) + "\n"
        (folder / "meta.json").write_text(text, encoding="utf-8")

    replace_folder(Path(out_dir), fill)
    return packer.report()


def tokenizer_digest(tokenizer: PreTrainedTokenizerFast) -> str:
    """SHA-256 of all that decides how the tokenizer encodes."""
    return hashlib.sha256(tokenizer.backend_tokenizer.to_str().encode()).hexdigest()


def _file_digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class _Packer:
    """Arrays growing while files are read."""

    _CHUNK = 2048  # dialogues encoded at once: enough to keep the tokenizer's threads busy

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerFast,
        *,
        stage: Stage,
        licences: Licences,
        split: Split,
    ) -> None:
        self._encode = tokenizer.backend_tokenizer.encode_batch_fast
        self._stage = stage
        self._licences = licences
        self._split = split
        self._tokens = array("H")
        self._offsets = array("q", [0])
        self._seen: Counter[str] = Counter()
        self.examples = array("i")
        self.sources: dict[str, SourceReport] = {}
        self.left_out: Counter[str] = Counter()

    def add(self, path: Path) -> None:
        dialogues = filter(self._is_wanted, read_dialogues(path))
        while chunk := list(islice(dialogues, self._CHUNK)):
            texts = [self._until_url(dialogue) for dialogue in chunk]
            flat = [turn for turns in texts for turn in turns]
            pieces = iter(self._encode(flat, add_special_tokens=False))
            for dialogue, turns in zip(chunk, texts, strict=True):
                self._add_dialogue(dialogue, turns, [e.ids for e in islice(pieces, len(turns))])

    def weight_of_first(self, path: Path) -> float:
        """The weight of the source of a file's first dialogue."""
        first = next(read_dialogues(path), None)
        return 0.0 if first is None else self._weight(source_of(first.source))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {
            "tokens": np.array(self._tokens, dtype=np.uint16),
            "turns": np.array(self._offsets, dtype=np.int64),
            "examples": np.array(self.examples, dtype=np.int32).reshape(-1, 3),
        }

    def report(self) -> PackReport:
        return PackReport(dict(self.sources), dict(self.left_out))

    def _weight(self, source: Source) -> float:
        if self._split == "valid":
            return 1.0
        return source.weight if self._stage == "chat" else source.pretext_weight

    def _is_wanted(self, dialogue: Dialogue) -> bool:
        source = source_of(dialogue.source)
        if self._weight(source) > 0 and (source.is_open or self._licences == "all"):
            if dialogue.source not in self.sources:
                self.sources[dialogue.source] = SourceReport(
                    dialogue.lang, self._weight(source), source.is_open
                )
            return True
        self.left_out[dialogue.source] += 1
        return False

    def _until_url(self, dialogue: Dialogue) -> Sequence[str]:
        """The turns before the first with a web address, which ends the dialogue."""
        for i, turn in enumerate(dialogue.turns):
            if has_url(turn):
                self._count_filtered(dialogue.source, "url")
                return dialogue.turns[:i]
        return dialogue.turns

    def _add_dialogue(
        self, dialogue: Dialogue, turns: Sequence[str], pieces: Sequence[list[int]]
    ) -> None:
        report = self.sources[dialogue.source]
        source_id = list(self.sources).index(dialogue.source)
        first = len(self._offsets) - 1
        said: set[str] = set()
        for i, (turn, ids) in enumerate(zip(turns, pieces, strict=True)):
            self._tokens.extend(ids)
            self._offsets.append(len(self._tokens))
            key = " ".join(turn.lower().split())
            if i > 0:
                reason = why_no_reply(turn, parent=turns[i - 1], n_pieces=len(ids))
                reason = reason or self._why_repeated(key, said)
                if reason:
                    self._count_filtered(dialogue.source, reason)
                else:
                    self.examples.extend((first, first + i, source_id))
                    report.examples += 1
            said.add(key)
        report.dialogues += 1
        report.turns += len(turns)
        report.words += sum(turn.count(" ") + 1 for turn in turns)
        report.pieces += sum(map(len, pieces))

    def _why_repeated(self, key: str, said: set[str]) -> str | None:
        """`repeats_itself` in this dialogue, or `too_common` in the corpus so far; or None."""
        if key in said and key.count(" ") + 1 >= MIN_WORDS_TO_COPY:
            return "repeats_itself"
        self._seen[key] += 1
        if self._split == "train" and self._seen[key] > MAX_REPEATS:
            return "too_common"
        return None

    def _count_filtered(self, source: str, reason: str) -> None:
        filtered = self.sources[source].filtered
        filtered[reason] = filtered.get(reason, 0) + 1
