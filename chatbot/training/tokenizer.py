"""Knows how the tokenizer is trained, saved and loaded; knows nothing of corpora or prompts.

Byte-fallback BPE over literal text. Spaces stay spaces inside the pieces and nothing is
normalised, so every string without lone surrogates comes back exactly. What the vocabulary does
not have falls to the 256 byte pieces; there is no unknown piece.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from chatbot.errors import ChatbotError
from chatbot.prompt import BOS, BOT, EOS, MASK, PAD, SPECIAL_TOKENS, USER

VOCAB_SIZE = 8192

BYTE_PIECES = tuple(f"<0x{byte:02X}>" for byte in range(256))
"""Names that the ByteFallback decoder knows. They are no special tokens: the text "<0x41>" is
split at its punctuation, so no text can become one of them except through the fallback."""

SPLIT_PATTERN = (
    r"'(?i:[sdmt]|ll|ve|re)(?!\p{L})"  # contractions, but not the opening of 'some quote'
    r"| ?\p{Hangul}+"
    r"| ?(?:(?!\p{Hangul})\p{L}\p{M}*)+"
    r"|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+"
    r"|\s+(?!\S)|\s+"
)
"""Borders that no piece crosses, after the pattern of GPT-4's tokenizer, with Hangul apart from
other letters so that a particle behind a Latin word ("AI는") does not need pieces of its own."""

ALPHABET_SIZE = 1400
"""Single characters with a piece of their own: Latin, punctuation and about 1,200 Hangul
syllables; the rarer ones are three byte pieces each."""

KOREAN_SHARE = 0.25
"""Share of the characters that Korean texts are repeated up to, where there are fewer."""

_MAX_REPEATS = 25
_HANGUL = re.compile("[가-힣]")


def train_tokenizer(
    texts: Iterable[str], *, vocab_size: int = VOCAB_SIZE
) -> PreTrainedTokenizerFast:
    """A tokenizer trained on `texts`, special ids 0 to 5, byte pieces 6 to 261.

    Args:
        texts: NFC text, English and Korean mixed; held in memory. Texts with Hangul are repeated
            until they make up `KOREAN_SHARE` of the characters.
        vocab_size: pieces in all, special ones and bytes counted.

    Raises:
        ValueError: `vocab_size` leaves no room for merges.
    """
    reserved = len(SPECIAL_TOKENS) + len(BYTE_PIECES)
    if vocab_size < reserved + 100:
        raise ValueError(
            f"vocab_size={vocab_size}; {reserved} pieces are special or bytes, "
            f"so ask for at least {reserved + 100}"
        )
    weighted = _with_korean_share(texts)
    alphabet = _alphabet(weighted, size=min(ALPHABET_SIZE, (vocab_size - reserved) // 2))
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.Split(Regex(SPLIT_PATTERN), "isolated")
    raw.train_from_iterator(
        weighted,
        trainers.BpeTrainer(
            vocab_size=vocab_size - reserved,
            min_frequency=2,
            limit_alphabet=len(alphabet),
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    return _wrap(_with_byte_pieces(raw))


def load_tokenizer(path: str | Path) -> PreTrainedTokenizerFast:
    """The tokenizer saved in folder `path` with `save_pretrained`.

    Raises:
        ChatbotError: there is none, or its special tokens are not ours.
    """
    file = Path(path) / "tokenizer.json"
    if not file.is_file():
        raise ChatbotError(
            f"no tokenizer at {file}; give the folder that `save_pretrained` wrote to"
        )
    raw = Tokenizer.from_file(str(file))
    found = tuple(raw.id_to_token(i) for i in range(len(SPECIAL_TOKENS)))
    if found != SPECIAL_TOKENS:
        raise ChatbotError(
            f"{file} begins with {found}, expected {SPECIAL_TOKENS}; "
            "it is not a tokenizer of this project, train one with `train_tokenizer`"
        )
    return _wrap(raw)


def _with_korean_share(texts: Iterable[str]) -> list[str]:
    """The texts, those with Hangul repeated to `KOREAN_SHARE` of all characters."""
    korean: list[str] = []
    other: list[str] = []
    for text in texts:
        (korean if _HANGUL.search(text) else other).append(text)
    n_korean, n_other = sum(map(len, korean)), sum(map(len, other))
    wanted = n_other * KOREAN_SHARE / (1 - KOREAN_SHARE)
    repeats = round(wanted / n_korean) if n_korean else 0
    return other + korean * min(max(repeats, 1), _MAX_REPEATS)


def _alphabet(texts: Iterable[str], *, size: int) -> list[str]:
    """Printable ASCII and the most frequent other characters, `size` in all.

    The trainer's own choice breaks ties differently in each process.
    """
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(text)
    ascii_chars = [chr(code) for code in range(0x20, 0x7F)]
    for char in ascii_chars:
        del counts[char]
    ranked = sorted(counts, key=lambda char: (-counts[char], char))
    return ascii_chars + ranked[: max(0, size - len(ascii_chars))]


def _with_byte_pieces(trained: Tokenizer) -> Tokenizer:
    """The trained merges in a vocabulary that begins with special tokens and byte pieces.

    The trainer could only take the byte pieces as special tokens, and those are found in text.
    """
    model = json.loads(trained.to_str())["model"]
    learned = sorted(model["vocab"], key=model["vocab"].__getitem__)
    pieces = (*SPECIAL_TOKENS, *BYTE_PIECES, *learned)
    tokenizer = Tokenizer(
        models.BPE(
            vocab={piece: i for i, piece in enumerate(pieces)},
            merges=[tuple(pair) for pair in model["merges"]],
            byte_fallback=True,
        )
    )
    tokenizer.pre_tokenizer = trained.pre_tokenizer
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Fuse()])
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


def _wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """The face `transformers` knows, with special tokens never read from text."""
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=EOS,
        mask_token=MASK,
        extra_special_tokens=[USER, BOT],
        split_special_tokens=True,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
