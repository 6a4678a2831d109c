"""Laws of prompt formats: turns are written as each model was taught, and hold nothing special."""

import pytest

from benchmarks.random_models import FAMILIES, Size, random_model
from chatbot import Chatbot, InputError
from chatbot.backbone import Backbone

TURNS = ["Hello there!", "Hi.", "How are you?"]
WRITTEN = {
    "bart": "<s>Hello there!</s>Hi.</s>How are you?</s>",
    "blenderbot": " Hello there!  Hi.   How are you?</s>",
    "blenderbot-small": "hello there ! __end____start__hi . __end____start__how are you ?",
    "t5": "User: Hello there! Bot: Hi. User: How are you? Bot:</s>",
    "bert-pair": "[CLS] hello there! [SEP] hi. [SEP] how are you? [SEP]",
    "gpt1": "user : hello there ! bot : hi . user : how are you ? bot :",
    "gpt2": "User: Hello there!\nBot: Hi.\nUser: How are you?\nBot:",
    "dialogpt": "Hello there!<|endoftext|>Hi.<|endoftext|>How are you?<|endoftext|>",
    "llama": "<s> User: Hello there! Bot: Hi. User: How are you? Bot:",
    "qwen": (
        "<|im_start|>user\nHello there!<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|>\n"
        "<|im_start|>user\nHow are you?<|im_end|>\n<|im_start|>assistant\n"
    ),
}
STRICT = (
    "{% if messages[0].role != 'user' %}{{ raise_exception('the person speaks first') }}{% endif %}"
    "{% for m in messages %}[{{ m.role }}] {{ m.content }}<|endoftext|>{% endfor %}"
)


@pytest.fixture(scope="module")
def made():
    """`made("gpt2", "lines")`: a backbone of this family and format; each is built once."""
    known = {}

    def make(name, prompt_format=None):
        if name not in known:
            known[name] = random_model(name, Size(blocks=1))
        model, tokenizer = known[name]
        return Backbone(model, tokenizer, name=name, digest="", prompt_format=prompt_format)

    return make


def special(backbone, ids):
    tokenizer = backbone.tokenizer
    known = {*tokenizer.all_special_ids} - {tokenizer.unk_token_id}
    return [piece for piece in ids if piece in known]


@pytest.mark.parametrize("name", list(WRITTEN))
def test_turns_are_written_as_the_family_was_taught(made, name):
    backbone = made(name)
    prompt = backbone.prompt(TURNS)
    assert backbone.tokenizer.decode(prompt.ids) == WRITTEN[name]
    assert (prompt.dropped_turns, prompt.truncated_pieces) == (0, 0)


@pytest.mark.parametrize("name", list(FAMILIES))
def test_nothing_that_people_write_is_special(made, name):
    backbone = made(name)
    names = [one for one in backbone.tokenizer.all_special_tokens if one != "<unk>"]
    forged = f"a {' b '.join(names)} c"
    honest = special(backbone, backbone._format.prompt(["a", "b", "c"], 10_000).ids)
    assert special(backbone, backbone._format.prompt([forged] * 3, 10_000).ids) == honest
    assert special(backbone, backbone.pieces(forged)) == []


@pytest.mark.parametrize("name", ["bart", "gpt2", "dialogpt", "qwen"])
@pytest.mark.parametrize("limit", [24, 40, 90])
def test_whole_turns_are_dropped_first(made, name, limit):
    backbone = made(name)
    turns = [f"Hello there, how are you {n}?" for n in range(13)]
    form = backbone._format
    prompt = form.prompt(turns, limit)
    kept = len(turns) - prompt.dropped_turns
    assert len(prompt.ids) <= limit
    if prompt.truncated_pieces:
        assert kept == 1
        return
    assert prompt.ids == form.prompt(turns[-kept:], 10_000).ids
    assert len(form.prompt(turns[-kept - 1 :], 10_000).ids) > limit


def test_a_turn_too_long_alone_keeps_its_end(made):
    form = made("gpt2")._format
    prompt = form.prompt(["first", "word " * 200 + "the very end"], 40)
    assert len(prompt.ids) <= 40
    assert prompt.dropped_turns == 1
    assert prompt.truncated_pieces > 100
    assert made("gpt2").tokenizer.decode(prompt.ids).endswith("the very end\nBot:")


def test_a_format_can_be_chosen_by_name_and_as_a_template(made):
    lines = made("qwen", "lines")
    assert lines.prompt_format == "lines"
    assert lines.tokenizer.decode(lines.prompt(["Hi."]).ids) == "User: Hi.\nBot:"
    own = made("gpt2", "{% for m in messages %}<{{ m.role }}> {{ m.content }}{% endfor %}")
    assert own.prompt_format == "own template"
    assert own.tokenizer.decode(own.prompt(["Hi."]).ids) == "<user> Hi."


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("haiku", "no prompt format named 'haiku'; give blenderbot, "),
        ("{{ nothing.at.all }}", "cannot be used"),
        ("template", "cannot be used"),
    ],
)
def test_a_format_that_is_none_is_told(made, given, told):
    with pytest.raises(InputError, match=told):
        made("gpt2", given)


def test_a_meena_reads_markers_only(tiny_model_dir):
    with pytest.raises(InputError, match="reads markers only, not 'lines'"):
        Backbone.load(tiny_model_dir, device="cpu", prompt_format="lines")


def test_where_the_person_must_speak_first_the_bots_greeting_is_left_out(made):
    backbone = made("gpt2", STRICT)
    written = backbone.tokenizer.decode(backbone.prompt(["Welcome!", "Hi.", "Ok"][:2]).ids)
    assert written == "[user] Hi.<|endoftext|>"


def test_the_end_of_a_reply_is_that_of_a_turn(made):
    chat, plain = made("qwen"), made("gpt2")
    assert chat.tokenizer.decode([chat.special.eos]) == "<|im_end|>"
    assert plain.tokenizer.decode([plain.special.eos]) == "\n"
    assert chat.reply("Hi.")[-1] == chat.special.eos
    assert plain.reply("Hi.")[:-1] == plain.pieces(" Hi.")


def test_a_reply_is_over_where_the_next_speaker_begins(made):
    backbone = made("gpt1")
    said = backbone.pieces("so happy user :")
    assert [backbone.is_end(said[:n]) for n in range(1, len(said) + 1)].index(True) < len(said)
    llama = made("llama")
    said = llama.pieces("so happy User:")
    assert llama.is_end(said)
    assert not llama.is_end(said[:-1])
    assert llama.text(said).strip() == "so happy"


def test_the_format_stands_in_the_trace(made):
    from chatbot import Sampling

    reply = Chatbot(made("dialogpt")).respond(
        "Hi.", seed=1, sampling=Sampling(candidates=1, max_new_tokens=2)
    )
    assert reply.trace.prompt_format == "dialogpt"
