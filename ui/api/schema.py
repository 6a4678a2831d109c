"""What a client may ask and what it is answered: the shapes of OpenAI's chat completions.

Reads a request into the values of `chatbot`, and writes a `Reply` as the client expects it. What
would change the meaning of a request and is not ours to give is refused, not left out.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
)

from chatbot.bot import MAX_CHARACTERS, MAX_SEED
from chatbot.controls import Controls
from chatbot.errors import ChatbotError, InputError, UnknownAttributeError
from chatbot.presets import Preset, controls_from_dict, merged, resolve_preset
from chatbot.prompt import clean_text
from chatbot.store import Role
from chatbot.types import MAX_NEW_TOKENS, Candidate, Ranking, Reply, Sampling
from ui.api.kept import Kept
from ui.turns import joined

MAX_CONTENT = 100_000
MAX_STOPS = 4
SYSTEM_NOTE = (
    "System messages are not read: the model was trained on two people talking. "
    "Ask for a manner by `controls` or `preset`."
)


class RequestError(ChatbotError):
    """A request that is answered with an error.

    Attributes:
        status: of HTTP.
        param: the field that is wrong, where it is one.
        retry_after_s: when to come again, where that helps.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int = 400,
        kind: str = "invalid_request_error",
        code: str | None = None,
        param: str | None = None,
        retry_after_s: float | None = None,
    ):
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.code = code
        self.param = param
        self.retry_after_s = retry_after_s

    def to_dict(self) -> dict[str, Any]:
        """The body of the answer."""
        return {
            "error": {
                "message": str(self), "type": self.kind, "param": self.param, "code": self.code,
            }
        }  # fmt: skip


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


def _joined(content: Any) -> Any:
    """A list of text parts as one string; what is none is left to be refused."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        if not isinstance(part, dict) or part.get("type") not in ("text", "input_text"):
            kind = part.get("type") if isinstance(part, dict) else part
            raise ValueError(f"only text is read, not a part of type {kind!r:.50}")
        if not isinstance(part.get("text"), str):
            raise ValueError("a text part has no text")
        texts.append(part["text"])
    return "".join(texts)


class ChatMessage(_Model):
    """One message of the conversation."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Annotated[
        str, BeforeValidator(_joined), Field(description="A text, or a list of text parts.")
    ]
    name: Annotated[str | None, Field(description="Not read.")] = None
    refusal: None = None


class StreamOptions(_Model):
    """How a streamed answer is told."""

    include_usage: bool = False
    include_obfuscation: Annotated[bool, Field(description="Not read.")] = False


_Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class ChatRequest(_Model):
    """The body of `POST /v1/chat/completions`; docs/serving.md tells of every field."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    model: str | None = None
    stream: bool = False
    stream_options: StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    stop: _Text | Annotated[list[_Text], Field(max_length=MAX_STOPS)] | None = None
    seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = None
    n: Annotated[int, Field(ge=1)] | None = None

    # As in OpenAI's Responses.
    conversation: str | None = None

    # Ours.
    controls: dict[str, Any] | None = None
    schedule: dict[str, Any] | None = None
    preset: str | dict[str, Any] | None = None
    candidates: int | None = None
    top_k: int | None = None
    novelty: float | None = None
    coherence: float | None = None
    trace: bool = False

    # Taken and not read: they change no word of the answer.
    user: str | None = None
    metadata: dict[str, Any] | None = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    parallel_tool_calls: bool | None = None

    # Taken at the value that changes nothing.
    frequency_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    presence_penalty: Annotated[float, Field(ge=0, le=0)] | None = None
    logit_bias: Annotated[dict[str, float], Field(max_length=0)] | None = None
    logprobs: Literal[False] | None = None
    tools: Annotated[list[Any], Field(max_length=0)] | None = None
    tool_choice: Literal["none", "auto"] | None = None
    response_format: "PlainText | None" = None
    modalities: Annotated[list[Literal["text"]], Field(max_length=1)] | None = None


class PlainText(_Model):
    """The one form of an answer."""

    type: Literal["text"]


class NewConversation(_Model):
    """The body of `POST /v1/conversations`; may be left out."""

    metadata: Annotated[dict[str, Any] | None, Field(description="Not read.")] = None
    items: Annotated[list[Any], Field(max_length=0)] | None = None


ONLY_NEUTRAL = frozenset(
    ("frequency_penalty", "presence_penalty", "logit_bias", "logprobs", "tools", "tool_choice",
     "response_format", "modalities", "items")
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, read.

    Attributes:
        turns: alternating, the last is the user's.
        seed: None for a new one.
        n: alternatives at most.
        stops: the answer ends before the first of these.
        notes: to tell beside the answer.
        kept: the stored conversation that the request goes on with.
        said: what the request adds to it.
    """

    turns: tuple[str, ...]
    controls: Controls
    sampling: Sampling
    ranking: Ranking
    seed: int | None
    n: int
    stops: tuple[str, ...]
    is_streamed: bool
    with_usage: bool
    with_trace: bool
    notes: tuple[str, ...]
    kept: Kept | None
    said: tuple[tuple[Role, str], ...]


@dataclass(frozen=True, slots=True)
class Limits:
    """What one request may ask for.

    Attributes:
        max_messages: of a conversation.
        max_candidates: drawn for a reply.
    """

    max_messages: int = 256
    max_candidates: int = 64


def parsed(body: bytes) -> ChatRequest:
    """The fields of a body.

    Raises:
        RequestError: they are not as expected; the message says how.
    """
    try:
        return ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise _first_problem(error, ChatRequest) from error


def check_new_conversation(body: bytes) -> None:
    """Raises RequestError where a new conversation is asked to be what none can be."""
    try:
        NewConversation.model_validate_json(body or b"{}")
    except ValidationError as error:
        raise _first_problem(error, NewConversation) from error


def read_request(
    request: ChatRequest,
    kept: Kept | None,
    *,
    model: str,
    limits: Limits,
    check: Callable[[Controls], None],
) -> Asked:
    """What a request asks for.

    Args:
        kept: the stored conversation that it goes on with.
        model: the name of the one that is served.
        check: raises UnknownAttributeError for controls that there are none of.

    Raises:
        RequestError: it cannot be answered; the message says what was expected.
    """
    if request.model is not None and request.model != model:
        raise RequestError(
            f"the model {request.model!r:.80} is not served; there is {model!r}",
            status=404, code="model_not_found", param="model",
        )  # fmt: skip
    said = _said(request.messages)
    turns = _turns([*_earlier(kept), *said], limits)
    controls, sampling, ranking = _settings(request, limits)
    with _naming("controls"):
        check(controls)
    n = request.n or 1
    if n > sampling.candidates:
        raise RequestError(
            f"n is {n}, more than the {sampling.candidates} candidates; ask for more `candidates`",
            param="n",
        )
    stops = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    has_system = any(one.role in ("system", "developer") for one in request.messages)
    options = request.stream_options or StreamOptions()
    return Asked(
        turns, controls, sampling, ranking, request.seed, n, stops,
        is_streamed=request.stream, with_usage=options.include_usage, with_trace=request.trace,
        notes=(SYSTEM_NOTE,) if has_system else (), kept=kept, said=tuple(said),
    )  # fmt: skip


def _earlier(kept: Kept | None) -> list[tuple[Role, str]]:
    """What was said before, but for answers that a `stop` left nothing of."""
    messages = kept.messages if kept is not None else ()
    return [(one.role, one.content) for one in messages if one.content.strip()]


def _said(messages: Sequence[ChatMessage]) -> list[tuple[Role, str]]:
    """The messages of both sides; the last is the user's."""
    said: list[tuple[Role, str]] = []
    for place, message in enumerate(messages):
        if len(message.content) > MAX_CONTENT:
            raise RequestError(
                f"the message has {len(message.content)} characters, at most {MAX_CONTENT} are "
                "taken",
                param=f"messages.{place}.content",
            )
        if message.role in ("system", "developer"):
            continue
        # As the bot will read it: what has no words left fails here, not in a batch with others.
        if not clean_text(message.content.strip()[-MAX_CHARACTERS:]):
            raise RequestError(
                "the message is empty; write something to answer", param=f"messages.{place}.content"
            )
        said.append(("user" if message.role == "user" else "bot", message.content))
    if not said or said[-1][0] != "user":
        raise RequestError(
            "the last message is not the user's; end with the one to answer", param="messages"
        )
    return said


def _turns(said: Sequence[tuple[Role, str]], limits: Limits) -> tuple[str, ...]:
    """The turns, unless there are too many messages."""
    if len(said) > limits.max_messages:
        raise RequestError(
            f"there are {len(said)} messages, at most {limits.max_messages} are taken; leave out "
            "the oldest, or begin another conversation: the model reads the last 7",
            param="messages",
        )
    return tuple(joined(said))


def _settings(request: ChatRequest, limits: Limits) -> tuple[Controls, Sampling, Ranking]:
    """What a preset says, changed by what is given beside it."""
    with _naming("preset"):
        preset = _preset(request.preset)
    with _naming("controls"):
        given = controls_from_dict(request.controls or {})
    if request.schedule is not None:
        with _naming("schedule"):
            if given.schedule is not None:
                raise InputError("there is a schedule in `controls` too; give one of them")
            given = replace(
                given, schedule=controls_from_dict({"schedule": request.schedule}).schedule
            )
    with _naming("controls"):
        controls = merged(preset.controls, given)
    sampling, ranking = preset.sampling or Sampling(), preset.ranking or Ranking()
    asked: dict[str, Any] = {
        "candidates": request.candidates,
        "temperature": request.temperature,
        "top_k": request.top_k,
        "top_p": request.top_p,
        "max_new_tokens": _longest(request),
    }
    for name, value in asked.items():
        if value is not None:
            with _naming("max_tokens" if name == "max_new_tokens" else name):
                sampling = replace(sampling, **{name: value})
    if sampling.candidates > limits.max_candidates:
        raise RequestError(
            f"candidates is {sampling.candidates}; at most {limits.max_candidates} are drawn here",
            param="candidates",
        )
    for name in ("novelty", "coherence"):
        if (value := getattr(request, name)) is not None:
            with _naming(name):
                ranking = replace(ranking, **{name: value})
    return controls, sampling, ranking


def _preset(given: str | dict[str, Any] | None) -> Preset:
    if given is None:
        return Preset("none", Controls())
    return resolve_preset(given) if isinstance(given, str) else Preset.from_dict(given)


def _longest(request: ChatRequest) -> int | None:
    """The limit of pieces: more than the model can write limits nothing."""
    given = request.max_completion_tokens or request.max_tokens
    return None if given is None else min(given, MAX_NEW_TOKENS)


@contextmanager
def _naming(param: str) -> Iterator[None]:
    """Inside, an InputError becomes a RequestError that names the field."""
    try:
        yield
    except UnknownAttributeError as error:
        raise RequestError(str(error), code="unknown_control", param=param) from error
    except (InputError, ValueError) as error:  # ValueError: a number of thousands of digits
        raise RequestError(str(error), param=param) from error


def _first_problem(error: ValidationError, model: type[BaseModel]) -> RequestError:
    problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
    places = [str(part) for part in problem["loc"]]
    name = places[0] if places else None
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "json_invalid":
        return RequestError(f"the body is not JSON: {message}", code="invalid_json")
    if problem["type"] == "extra_forbidden" and len(places) == 1:
        known = sorted(model.model_fields.keys() - ONLY_NEUTRAL)
        return RequestError(
            f"there is no field {name!r:.80}; known: {', '.join(known)}",
            code="unknown_field", param=name,
        )  # fmt: skip
    if name in ONLY_NEUTRAL:
        return RequestError(
            f"{name} is not supported, and leaving it out would change what you asked for; "
            "leave it out yourself",
            code="unsupported_field", param=name,
        )  # fmt: skip
    place = ".".join(places)
    return RequestError(f"{place}: {message}" if place else message, param=place or None)


# -- answers


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the alternatives of an answer."""

    text: str
    finish_reason: Literal["stop", "length"]
    n_tokens: int


def choices_of(reply: Reply, asked: Asked) -> list[Choice]:
    """The reply and the next best candidates that no rule dropped, `asked.n` at most."""
    first = next((one for one in reply.candidates if one.text == reply.text), None)
    others = [
        one for one in reply.candidates if one is not first and one.dropped is None and one.text
    ]
    choices = [_choice(reply.text, first, asked.stops)]
    choices += [_choice(one.text, one, asked.stops) for one in others[: asked.n - 1]]
    return choices


def answer_of(reply: Reply, asked: Asked) -> str:
    """The first alternative, as the client has it."""
    return choices_of(reply, asked)[0].text


def _choice(text: str, candidate: Candidate | None, stops: Sequence[str]) -> Choice:
    is_cut = candidate is not None and candidate.finish == "length"
    places = [place for stop in stops if (place := text.find(stop)) >= 0]
    if places:
        text, is_cut = text[: min(places)], False
    n_tokens = len(candidate.token_ids) if candidate is not None else 0
    return Choice(text, "length" if is_cut else "stop", n_tokens)


def usage_of(reply: Reply, choices: Sequence[Choice]) -> dict[str, int]:
    """Pieces read and written; those of all candidates in a field of our own."""
    prompt = len(reply.trace.prompt_ids)
    completion = sum(choice.n_tokens for choice in choices)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "candidate_tokens": sum(len(one.token_ids) for one in reply.candidates),
    }


def completion_of(answer_id: str, model: str, reply: Reply, asked: Asked) -> dict[str, Any]:
    """The whole answer to a request that is not streamed."""
    choices = choices_of(reply, asked)
    return {
        **_head(answer_id, "chat.completion", model, reply),
        "choices": [
            {
                "index": index,
                "message": {"role": "assistant", "content": choice.text, "refusal": None},
                "logprobs": None,
                "finish_reason": choice.finish_reason,
            }
            for index, choice in enumerate(choices)
        ],
        "usage": usage_of(reply, choices),
        **beside(reply, asked),
    }


def beside(reply: Reply, asked: Asked) -> dict[str, Any]:
    """Our fields of an answer: what repeats the reply, what to know of it, how it came about."""
    ours: dict[str, Any] = {
        "seed": reply.seed,
        "notes": [*reply.trace.notes, *asked.notes],
    }
    if asked.kept is not None:
        ours["conversation"] = {"id": asked.kept.id}
    if asked.with_trace:
        ours["trace"] = asdict(reply.trace)
        ours["candidates"] = [asdict(one) for one in reply.candidates]
        ours["timings"] = dict(reply.timings)
    return ours


def chunk(
    answer_id: str,
    model: str,
    *,
    index: int,
    delta: dict[str, str],
    finish_reason: str | None = None,
) -> dict[str, Any]:
    """A part of a streamed answer."""
    return {
        **_head(answer_id, "chat.completion.chunk", model),
        "choices": [
            {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish_reason}
        ],
    }


def usage_chunk(answer_id: str, model: str, usage: dict[str, int]) -> dict[str, Any]:
    """The part that tells of the usage, which has no choices."""
    return {**_head(answer_id, "chat.completion.chunk", model), "choices": [], "usage": usage}


def _head(answer_id: str, kind: str, model: str, reply: Reply | None = None) -> dict[str, Any]:
    head: dict[str, Any] = {
        "id": answer_id,
        "object": kind,
        "created": int(time.time()),
        "model": model,
    }
    if reply is not None:
        head["system_fingerprint"] = "fp_" + reply.trace.model.get("digest", "")[:12]
    return head
