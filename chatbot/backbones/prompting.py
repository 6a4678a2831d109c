"""How a conversation becomes the text that a model was taught to answer.

A `Format` says how turns are joined, how a given reply is written behind them, and where a reply
ends. `choose_format` takes the one that a model has; a name of `FORMATS` or a Jinja template takes
its place. Turns never hold special pieces: their names are broken up in what people write.

What the transformers library did for conversations is the source: two spaces between the turns of
Blenderbot, `__end__ __start__` for the small one, the end piece behind every turn of DialoGPT.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from chatbot.errors import InputError
from chatbot.prompt import Prompt

USER, BOT = "User", "Bot"
"""Who speaks, for models that only ever read plain text."""


Fit = Callable[[Sequence[str], int], Prompt]
"""Turns, oldest first, and how many ids are to be read at most -> the prompt."""


@dataclass(frozen=True, slots=True)
class Format:
    """How turns are written for one model.

    Attributes:
        name: one of `FORMATS`, "markers" of a Meena, or "own template".
        prompt: what the model reads; oldest turns that do not fit are left out as a whole.
        reply: how a given reply is written, without its end.
        ends: ids that end a reply; the first is the one that given replies end with.
        stops: sequences of ids that end a reply as well, such as the next speaker's name.
        never: ids that a reply never holds.
    """

    name: str
    prompt: Fit
    reply: Callable[[str], list[int]]
    ends: tuple[int, ...]
    stops: tuple[tuple[int, ...], ...] = ()
    never: tuple[int, ...] = ()


def fitting(ids: Callable[[Sequence[str]], list[int]]) -> Fit:
    """Takes the newest turns that fit, and cuts the last one if it does not fit alone.

    Args:
        ids: turns, oldest first -> all ids that the model reads.
    """

    def prompt(turns: Sequence[str], limit: int) -> Prompt:
        kept, above = 0, 1
        while above <= len(turns) and len(ids(turns[-above:])) <= limit:
            kept, above = above, above + max(1, above // 2)
        above = min(above, len(turns) + 1)  # so many do not fit, or are not there
        while above - kept > 1:
            middle = (kept + above) // 2
            fits = len(ids(turns[-middle:])) <= limit
            kept, above = (middle, above) if fits else (kept, middle)
        if kept:
            return Prompt(tuple(ids(turns[-kept:])), len(turns) - kept, 0)
        return _cut(turns[-1], limit, len(turns) - 1)

    def _cut(text: str, limit: int, dropped: int) -> Prompt:
        found, cut = ids([text]), 0
        while len(found) > limit and len(text) > 1:
            # By characters, and again until it fits: pieces may join others when cut apart.
            text = text[len(text) - min(len(text) - 1, len(text) * limit // len(found)) :].lstrip()
            shorter = ids([text])
            cut, found = cut + len(found) - len(shorter), shorter
        return Prompt(tuple(found[-limit:]), dropped, cut + len(found) - len(found[-limit:]))

    return prompt


class Writer:
    """Turns a tokenizer into formats; one for each model that is loaded."""

    def __init__(self, tokenizer: Any, config: Any, generation_config: Any, n_pieces: int):
        self._tokenizer = tokenizer
        self._config = config
        self._n_pieces = n_pieces
        self._is_seq2seq = bool(config.is_encoder_decoder)
        special = {*tokenizer.all_special_ids}
        special |= {i for i, t in tokenizer.added_tokens_decoder.items() if t.special}
        self._special = special
        names = {*tokenizer.convert_ids_to_tokens(sorted(special))}
        self._names = sorted((name for name in names if name.strip()), key=len, reverse=True)
        self.own_ends = _ids(generation_config.eos_token_id) or _ids(config.eos_token_id)
        usual = [tokenizer.eos_token_id, tokenizer.sep_token_id]  # the latter of BERT and its kin
        if not self.own_ends:
            self.own_ends = [next((one for one in usual if one is not None), -1)]
        if usual[0] in self.own_ends:
            self.own_ends.sort(key=lambda end: end != usual[0])

    def pieces(self, text: str) -> list[int]:
        """Ids of a text, never a special one."""
        return list(self._tokenizer(self.harmless(text), add_special_tokens=False)["input_ids"])

    def harmless(self, text: str) -> str:
        """The text with the names of special pieces broken up."""
        for name in self._names:
            if name in text:
                text = text.replace(name, f"{name[0]} {name[1:]}")
        return text

    def piece_texts(self) -> list[str]:
        """How each piece of the model is written inside a sentence; "" for special ones.

        Alone, some tokenizers write a piece without the space before it; behind another they do
        not.
        """
        ordinary = (n for n in self.pieces("a") if n not in self._special)
        anchor = next(ordinary, None)
        before = [] if anchor is None else [anchor]
        skipped = len(self._text(before))
        texts = self._tokenizer.batch_decode(
            [[*before, piece] for piece in range(len(self._tokenizer))],
            skip_special_tokens=True, clean_up_tokenization_spaces=False,
        )  # fmt: skip
        inside = ["" if n in self._special else text[skipped:] for n, text in enumerate(texts)]
        return [*inside, *[""] * (self._n_pieces - len(inside))][: self._n_pieces]

    def _text(self, ids: list[int]) -> str:
        return str(self._tokenizer.decode(ids, clean_up_tokenization_spaces=False))

    def format(self, name: str) -> Format:
        """A format by name or as a Jinja template.

        Raises:
            InputError: there is none of this name, or the template cannot be used.
        """
        if "{%" in name or "{{" in name:
            return self._template("own template", name)
        if name not in FORMATS:
            known = ", ".join(sorted(FORMATS))
            raise InputError(
                f"no prompt format named {name!r:.60}; give {known}, or a Jinja template "
                "of `messages`"
            )
        return FORMATS[name](self)

    # -- the formats

    def _template(self, name: str, template: str | None) -> Format:
        tokenizer = self._tokenizer

        def rendered(messages: list[dict[str, str]], *, more: bool) -> str:
            return tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=more, chat_template=template,
                enable_thinking=False,
            )  # fmt: skip

        def ids(turns: Sequence[str]) -> list[int]:
            messages = [
                {"role": "assistant" if after % 2 else "user", "content": self.harmless(turn)}
                for after, turn in zip(range(len(turns) - 1, -1, -1), turns, strict=True)
            ]
            try:
                text = rendered(messages, more=True)
            except Exception:  # whatever a template raises where the bot speaks first
                if len(messages) < 2 or messages[0]["role"] == "user":
                    raise
                text = rendered(messages[1:], more=True)
            return list(tokenizer(text, add_special_tokens=False)["input_ids"])

        try:
            asked, told = (
                ids(["a"]),
                rendered(
                    [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}],
                    more=False,
                ),
            )
        except Exception as error:  # jinja2 has many, and templates raise their own
            why = str(error).strip().partition("\n")[0]
            raise InputError(
                f"the chat template of this model cannot be used: {why}; give another prompt "
                f"format: {', '.join(sorted(FORMATS))}"
            ) from error
        after = list(tokenizer(told, add_special_tokens=False)["input_ids"])[len(asked) :]
        ends = self.own_ends
        if closing := [piece for piece in after if piece in self._special]:
            ends = [closing[0], *(end for end in ends if end != closing[0])]
        return self._made(name, ids, self.pieces, ends)

    def _joined(self, name: str, text: Callable[[Sequence[str]], str]) -> Format:
        """Of encoder-decoders: one text, with the special pieces that the tokenizer adds."""

        def ids(turns: Sequence[str]) -> list[int]:
            return list(self._tokenizer(text([*map(self.harmless, turns)]))["input_ids"])

        return self._made(name, ids, self.pieces, self.own_ends)

    def blenderbot(self) -> Format:
        """`  ` between the turns, one more space before the person's."""

        def text(turns: Sequence[str]) -> str:
            after = range(len(turns) - 1, -1, -1)
            spaced = (("" if n % 2 else " ") + t for n, t in zip(after, turns, strict=True))
            return "  ".join(spaced)

        return self._joined("blenderbot", text)

    def blenderbot_small(self) -> Format:
        """`__end__ __start__` between the turns."""
        return self._joined("blenderbot-small", "__end__ __start__".join)

    def separated(self) -> Format:
        """The tokenizer's separator between the turns, its end piece where it has none."""
        tokenizer = self._tokenizer
        between = tokenizer.sep_token or tokenizer.eos_token or "\n"
        return self._joined("separated", between.join)

    def dialogpt(self) -> Format:
        """The end piece behind every turn."""

        def ids(turns: Sequence[str]) -> list[int]:
            return [piece for turn in turns for piece in (*self.pieces(turn), self.own_ends[0])]

        return self._made("dialogpt", ids, self.pieces, self.own_ends)

    def lines(self) -> Format:
        """A line for each turn, with the speaker's name; the reply ends where the line does."""
        lead, tail = self._added()
        behind = "\n" if "\n" in self._text(self.pieces("a\nb")) else " "

        def ids(turns: Sequence[str]) -> list[int]:
            after = range(len(turns) - 1, -1, -1)
            said = (
                f"{BOT if n % 2 else USER}: {' '.join(self.harmless(turn).split())}{behind}"
                for n, turn in zip(after, turns, strict=True)
            )
            text = "".join(said) + f"{BOT}:"
            return [*lead, *self._tokenizer(text, add_special_tokens=False)["input_ids"], *tail]

        def reply(text: str) -> list[int]:
            return self.pieces(f" {text}")

        newline = () if self._is_seq2seq else self._line_ends()
        ends = [*newline, *(end for end in self.own_ends if end not in newline)]
        if ends == [-1]:  # GPT-1: the next speaker is the only end there is
            ends = self.pieces(USER)[:1]
        stops = tuple(dict.fromkeys(tuple(self.pieces(f"{a}{USER}:")) for a in ("", " ")))
        return self._made("lines", ids, reply, ends, stops)

    def template(self) -> Format:
        """What the tokenizer's chat template makes of the conversation."""
        return self._template("template", None)

    # -- what they are made of

    def _made(
        self,
        name: str,
        ids: Callable[[Sequence[str]], list[int]],
        reply: Callable[[str], list[int]],
        ends: Sequence[int],
        stops: tuple[tuple[int, ...], ...] = (),
    ) -> Format:
        if -1 in ends and len(ends) == 1:
            raise InputError(
                "neither the model nor its tokenizer says which piece ends a reply; set "
                "eos_token_id in generation_config.json, or give the prompt format lines"
            )
        beyond = range(len(self._tokenizer), self._n_pieces)
        never = sorted({*self._special, *beyond} - {*ends})
        known = tuple(end for end in ends if end != -1)
        return Format(name, fitting(ids), reply, known, stops, tuple(never))

    def _added(self) -> tuple[list[int], list[int]]:
        """What the tokenizer puts before and behind a text; behind only where there is an encoder.

        A text to go on with does not end.
        """
        bare = self._tokenizer("a", add_special_tokens=False)["input_ids"]
        full = list(self._tokenizer("a")["input_ids"])
        at = next((n for n in range(len(full)) if full[n : n + len(bare)] == list(bare)), 0)
        return full[:at], full[at + len(bare) :] if self._is_seq2seq else []

    def _line_ends(self) -> tuple[int, ...]:
        """Pieces that hold the end of a line; the plain one first."""
        plain = self.pieces("a\nb")
        texts = self._tokenizer.batch_decode([[n] for n in range(len(self._tokenizer))])
        found = [n for n, text in enumerate(texts) if "\n" in text and n not in self._special]
        return tuple(sorted(found, key=lambda n: (n not in plain, n)))


FORMATS: dict[str, Callable[[Writer], Format]] = {
    "template": Writer.template,
    "blenderbot": Writer.blenderbot,
    "blenderbot-small": Writer.blenderbot_small,
    "dialogpt": Writer.dialogpt,
    "separated": Writer.separated,
    "lines": Writer.lines,
}


def choose_format(writer: Writer, tokenizer: Any, config: Any, name: str) -> Format:
    """The format that a model was most likely taught, by what it has.

    Args:
        name: of the model; the files of DialoGPT are those of any GPT-2.
    """
    if tokenizer.chat_template:
        return writer.template()
    if config.model_type in ("blenderbot", "blenderbot-small"):
        return FORMATS[config.model_type](writer)
    told = getattr(config, "task_specific_params", None) or {}
    if "conversational" in told or "dialogpt" in name.lower():
        return writer.dialogpt()
    is_text_to_text = config.model_type in ("t5", "mt5", "umt5")
    if config.is_encoder_decoder and not is_text_to_text:
        return writer.separated()
    return writer.lines()


def _ids(told: int | list[int] | None) -> list[int]:
    return [] if told is None else [told] if isinstance(told, int) else list(told)
