"""What steering with bags of words does to replies, and what it costs in fluency.

    python benchmarks/steering_effect.py CONTEXTS --attributes joy,anger --strengths 0,.5,1

CONTEXTS holds lines of {"context": [...]}. Every context is answered at every strength with the
same seed. Prints one line for each attribute and strength:

- share of the replies with a word of the list, by matching text (not by the trie that steers),
  with a 95 % bootstrap interval over contexts; words per reply; share of all candidates drawn;
- pieces per reply, and the perplexity of the chosen replies under the untouched model, as a ratio
  to that of the unsteered replies.
"""

import argparse
import json
import math
import random
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import torch

from attribute_models.lexicon import (
    WordList,
    inflections,
    language_of,
    load_shipped,
    shipped_lists,
    spellings,
)
from chatbot import Chatbot, Controls, Ranking, Reply, Sampling


def main() -> None:
    options = _options()
    torch.set_num_threads(options.threads)
    bot = Chatbot.load(options.model, dtype=options.dtype, guarded=False)
    lines = Path(options.contexts).read_text(encoding="utf-8").splitlines()
    contexts = [json.loads(line)["context"] for line in lines][: options.n]
    language = language_of(" ".join(context[-1] for context in contexts)) or "en"
    sampling, ranking = Sampling(), Ranking(fit=options.fit)
    spread = tuple(float(share) for share in options.spread.split(","))
    print(f"n={len(contexts)} contexts, {language}, {options}", flush=True)
    plain: list[Reply] | None = None
    for name in options.attributes.split(","):
        files = {file.parent.name: file for file in shipped_lists()[name]}
        count = counter(load_shipped(files[language]))
        for strength in map(float, options.strengths.split(",")):
            controls = Controls({name: strength}, spread=spread, kl_limit=options.kl_limit)
            replies = plain
            if strength or plain is None:
                replies = answer(bot, contexts, controls, sampling, ranking, options.batch)
            if not strength:
                plain = replies
            assert replies is not None
            told = table_row(replies, plain or replies, count)
            print(f"{name:10} {strength:5.2f}  {told}", flush=True)
            if options.show:
                for context, reply in list(zip(contexts, replies, strict=True))[: options.show]:
                    print(f"    {context[-1]!r} -> {reply.text!r}")


def answer(
    bot: Chatbot,
    contexts: Sequence[Sequence[str]],
    controls: Controls,
    sampling: Sampling,
    ranking: Ranking,
    batch: int,
) -> list[Reply]:
    """One reply for each context; context n is answered with seed n."""
    replies: list[Reply] = []
    for start in range(0, len(contexts), batch):
        part = contexts[start : start + batch]
        replies += bot.respond_many(
            part, controls=[controls] * len(part), seeds=range(start, start + len(part)),
            sampling=sampling, ranking=ranking,
        )  # fmt: skip
    return replies


def counter(words: WordList) -> Callable[[str], int]:
    """Counts the words of a list in a text: whole English words, beginnings of Korean ones."""
    forms = {
        spelling
        for word in words.weights
        for form in (word, *inflections(word))
        if form not in words.excluded
        for spelling in spellings(form)
    }
    either = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    end = r"" if words.language == "ko" else r"(?![^\W_])"
    pattern = re.compile(rf"(?<![^\W_])(?:{either}){end}")
    return lambda text: len(pattern.findall(text))


def table_row(replies: Sequence[Reply], plain: Sequence[Reply], count: Callable[[str], int]) -> str:
    used = [count(reply.text) for reply in replies]
    low, high = bootstrap([n > 0 for n in used])
    drawn = [count(one.text) > 0 for reply in replies for one in reply.candidates]
    pieces = [len(reply.candidates[0].token_ids) for reply in replies]
    ratio = perplexity(replies) / perplexity(plain)
    return (
        f"with a word {_mean(n > 0 for n in used):.2f} [{low:.2f}-{high:.2f}]  "
        f"words {_mean(used):.2f}  of candidates {_mean(drawn):.2f}  "
        f"pieces {_mean(pieces):.1f}  perplexity x{ratio:.2f}"
    )


def perplexity(replies: Sequence[Reply]) -> float:
    """Of the chosen replies under the untouched model, per piece."""
    chosen = [reply.candidates[0] for reply in replies]
    nats = -sum(one.log_likelihood for one in chosen)
    return math.exp(nats / sum(len(one.token_ids) for one in chosen))


def bootstrap(hits: Sequence[bool], *, rounds: int = 2000) -> tuple[float, float]:
    """95 % interval of a share."""
    draw = random.Random(0)
    shares = sorted(_mean(draw.choices(hits, k=len(hits))) for _ in range(rounds))
    return shares[int(0.025 * rounds)], shares[int(0.975 * rounds)]


def _mean(values: Iterable[float]) -> float:
    held = list(values)
    return sum(held) / len(held)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("contexts", help='lines of {"context": [...]}')
    parser.add_argument("--model", help="folder of a generator; the shipped one if left out")
    parser.add_argument("--attributes", default="joy,anger,game,sports")
    parser.add_argument("--strengths", default="0,.5,1", help="0 first: it is the base")
    parser.add_argument("--n", type=int, default=40, help="contexts answered")
    parser.add_argument("--fit", type=float, default=Ranking().fit)
    parser.add_argument("--kl-limit", type=float, default=Controls().kl_limit)
    parser.add_argument("--spread", default=",".join(map(str, Controls().spread)))
    parser.add_argument("--batch", type=int, default=8, help="contexts answered at once")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--show", type=int, default=0, help="pairs printed for each line")
    return parser.parse_args()


if __name__ == "__main__":
    main()
