"""Laws of the generator, on tiny models with random weights."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from torch.nn import functional as F
from torch.testing import assert_close
from transformers import AutoConfig, AutoModel, AutoModelForSeq2SeqLM

from chatbot.meena import MeenaConfig, MeenaForConditionalGeneration, MeenaModel
from chatbot.meena.modeling import DecoderBlock, EncoderBlock, shift_right

VOCAB = 50
SHAPES = {
    "narrow": {"d_model": 16, "num_heads": 2, "decoder_layers": 1},
    "wide heads capped": {"d_model": 48, "num_heads": 12, "decoder_layers": 2},
    "as many wide heads": {"d_model": 64, "num_heads": 32, "decoder_layers": 2},
    "two encoder blocks": {
        "d_model": 24,
        "num_heads": 3,
        "decoder_layers": 3,
        "encoder_layers": 2,
    },
}


def make_model(seed=0, dtype=torch.float32, **changes):
    """A model in evaluation mode whose every weight is random, biases and norms too."""
    shape = SHAPES["narrow"] | changes
    model = MeenaForConditionalGeneration(MeenaConfig(vocab_size=VOCAB, **shape)).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            fan_in = parameter.shape[-1]
            if parameter.ndim == 1:
                parameter.add_(0.3 * noise)
            else:
                parameter.copy_(noise * fan_in**-0.5)
    return model.to(dtype)


@pytest.fixture(scope="module", params=SHAPES, ids=str)
def model(request):
    return make_model(**SHAPES[request.param])


@pytest.fixture
def tiny_model():
    return make_model()


def ids(*shape, seed=1):
    """Random pieces that are no special tokens."""
    return torch.randint(6, VOCAB, shape, generator=torch.Generator().manual_seed(seed))


def contexts(lengths, seed=2):
    """Right-padded contexts (G, S) of these lengths, and their mask."""
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return ids(*mask.shape, seed=seed).masked_fill(~mask, 0), mask.long()


def in_chunks(model, memory, mask, reply, sizes):
    """Logits (B, T, V) of the reply decoded incrementally, `sizes` tokens at a time."""
    cache = model.model.start_cache(memory, len(reply))
    logits = []
    for chunk in reply.split(sizes, dim=1):
        hidden, cache, _ = model.model.decode(chunk, cache, mask)
        logits.append(model.lm_head(hidden))
    assert cache.get_seq_length() == reply.shape[1]
    return torch.cat(logits, dim=1)


# -- incremental decoding


@given(
    lengths=st.lists(st.integers(1, 15), min_size=1, max_size=4),
    sizes=st.lists(st.integers(1, 13), min_size=1, max_size=12),
    seed=st.integers(0, 1000),
)
@settings(max_examples=15, deadline=None)
@torch.no_grad()
def test_in_chunks_equals_at_once(model, lengths, sizes, seed):
    context, mask = contexts(lengths, seed)
    reply = ids(len(lengths), sum(sizes), seed=seed + 1)
    memory = model.model.encode(context, mask)
    at_once = model(context, mask, reply).logits
    assert_close(in_chunks(model, memory, mask, reply, sizes), at_once, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_token_by_token_equals_at_once_at_full_length(model):
    context, mask = contexts([128, 90])
    reply = ids(2, 128)
    memory = model.model.encode(context, mask)
    at_once = model(context, mask, reply).logits
    assert_close(in_chunks(model, memory, mask, reply, [1] * 128), at_once, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_decoding_changes_no_cache_it_was_given(tiny_model):
    context, mask = contexts([4])
    start = tiny_model.model.start_cache(tiny_model.model.encode(context, mask), 1)
    _, cache, _ = tiny_model.model.decode(ids(1, 3), start, mask)
    first, *_ = tiny_model.model.decode(ids(1, 2, seed=5), cache, mask)
    again, *_ = tiny_model.model.decode(ids(1, 2, seed=5), cache, mask)
    assert torch.equal(first, again)
    assert start.get_seq_length() == 0


@given(lengths=st.lists(st.integers(1, 12), min_size=2, max_size=5), seed=st.integers(0, 1000))
@settings(max_examples=10, deadline=None)
@torch.no_grad()
def test_a_row_alone_equals_the_row_in_a_batch(model, lengths, seed):
    context, mask = contexts(lengths, seed)
    reply = ids(len(lengths), 9, seed=seed + 1)
    together = model(context, mask, reply).logits
    for row, length in enumerate(lengths):
        alone = model(context[row : row + 1, :length], None, reply[row : row + 1]).logits
        assert_close(alone[0], together[row], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(("groups", "candidates"), [(1, 5), (3, 1), (3, 4)])
@pytest.mark.parametrize("sizes", [[7], [1] * 7, [3, 4]], ids=str)
@torch.no_grad()
def test_candidates_share_their_encoder_row(model, groups, candidates, sizes):
    context, mask = contexts([3, 8, 5][:groups])
    reply = ids(groups * candidates, 7)
    memory = model.model.encode(context, mask)
    shared = in_chunks(model, memory, mask, reply, sizes)
    own_memory, own_mask = (x.repeat_interleave(candidates, 0) for x in (memory, mask))
    own = in_chunks(model, own_memory, own_mask, reply, sizes)
    assert_close(shared, own, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_selected_rows_go_on_as_they_would_have(model):
    context, mask = contexts([6])
    memory = model.model.encode(context, mask)
    reply, rows = ids(4, 9), torch.tensor([3, 0, 0])
    whole = in_chunks(model, memory, mask, reply[rows], [9])
    _, cache, _ = model.model.decode(reply[:, :5], model.model.start_cache(memory, 4), mask)
    cache.select_rows(rows)
    hidden, *_ = model.model.decode(reply[rows, 5:], cache, mask)
    assert_close(model.lm_head(hidden), whole[:, 5:], atol=1e-5, rtol=1e-5)


UNEQUAL = [
    [[0, 1, 2, 3, 5], [0, 3, 4]],  # rows of the batch, then rows of what is left of it
    [[1, 2, 8, 9], [2]],  # the second conversation has none left, then only the third has one
    [[0, 4, 8], [0, 1, 2]],  # as many of each
    [[3, 4, 4, 4, 11], [1, 1, 3]],  # the first has none; one row several times
]


@pytest.mark.parametrize("kept", UNEQUAL, ids=str)
@torch.no_grad()
def test_conversations_with_unequal_numbers_of_rows_go_on_as_they_would_have(model, kept):
    context, mask = contexts([3, 8, 5])  # four rows each
    memory = model.model.encode(context, mask)
    reply, rows = ids(12, 9), torch.arange(12)
    whole = in_chunks(model, memory, mask, reply, [9])
    cache = model.model.start_cache(memory, 12)
    _, cache, _ = model.model.decode(reply[:, :3], cache, mask)
    for begin, chosen in zip((3, 5), kept, strict=True):
        cache.select_rows(torch.tensor(chosen))
        rows = rows[chosen]
        hidden, cache, _ = model.model.decode(reply[rows, begin : begin + 2], cache, mask)
        expected = whole[rows, begin : begin + 2]
        assert_close(model.lm_head(hidden), expected, atol=1e-5, rtol=1e-5)


# -- what may look at what


@pytest.mark.parametrize("changed", [0, 1, 6, 11])
@torch.no_grad()
def test_a_token_changes_nothing_before_it_and_all_after(model, changed):
    context, mask = contexts([5])
    reply = ids(1, 12)
    other = reply.clone()
    other[0, changed] = 6 + (other[0, changed] - 5) % (VOCAB - 6)
    before, after = model(context, mask, reply).logits[0], model(context, mask, other).logits[0]
    assert_close(before[:changed], after[:changed], atol=1e-6, rtol=1e-6)
    differs = (before[changed:] - after[changed:]).abs().amax(1)
    assert (differs > 1e-6).all()


@torch.no_grad()
def test_content_and_amount_of_padding_do_not_matter(model):
    context, mask = contexts([3, 9])
    reply = ids(2, 6)
    expected = model(context, mask, reply).logits
    filled = torch.where(mask.bool(), context, ids(2, 9, seed=9))
    longer, more = F.pad(filled, (0, 12), value=7), F.pad(mask, (0, 12))
    assert torch.equal(model(filled, mask, reply).logits, expected)
    assert_close(model(longer, more, reply).logits, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_every_context_token_matters(model):
    context, mask = contexts([7])
    reply = ids(1, 3)
    expected = model(context, mask, reply).logits
    for place in range(7):
        other = context.clone()
        other[0, place] = 6 + (other[0, place] - 5) % (VOCAB - 6)
        assert (model(other, mask, reply).logits - expected).abs().max() > 1e-6


# -- the layout, written a second time from its description, in float64


def norm(layer, x):
    centred = x - x.mean(-1, keepdim=True)
    scale = (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    return centred / scale * layer.weight + layer.bias


def attention(queries, keys_values, heads, weights, mask):
    """Attention head by head; weights are (d, d) each, without biases."""
    q, k, v, o = weights
    width = queries.shape[-1] // heads
    mixed = []
    for head in range(heads):
        part = slice(head * width, (head + 1) * width)
        query, key, value = (
            (x @ w.t())[..., part] for x, w in ((queries, q), (keys_values, k), (keys_values, v))
        )
        scores = (query * width**-0.5) @ key.transpose(1, 2)
        mixed.append(scores.masked_fill(~mask, -1e9).softmax(-1) @ value)
    return torch.cat(mixed, -1) @ o.t()


def self_attention(layer, x, mask):
    return attention(x, x, layer.heads, (*layer.qkv.weight.chunk(3), layer.out.weight), mask)


def cross_attention(layer, x, memory, mask):
    weights = (layer.query.weight, *layer.kv.weight.chunk(2), layer.out.weight)
    return attention(x, memory, layer.heads, weights, mask)


def separable(layer, x, left, right=0):
    """Depthwise convolution, then 1x1 with bias, of x (B, T, d) padded by so many zeros."""
    padded = F.pad(x.transpose(1, 2), (left, right))
    mixed = F.conv1d(padded, layer.depthwise.weight[:, None], groups=x.shape[-1])
    return F.conv1d(mixed, layer.pointwise.weight[..., None], layer.pointwise.bias).transpose(1, 2)


def widen(x, width):
    return torch.cat([x, x.new_zeros(*x.shape[:-1], width - x.shape[-1])], -1)


def reference_encoder_block(block, x, real):
    d, keep, seen = x.shape[-1], real[..., None], real[:, None, :]
    value, gate = block.gate(norm(block.gate_norm, x)).split(d, -1)
    x = x + value * torch.sigmoid(gate)

    inner = norm(block.conv_norm, x) * keep
    left = F.relu(block.left(inner))
    kernel = block.right.weight.view(d // 2, 3, d).transpose(1, 2)  # (out, in, width 3)
    right = F.conv1d(inner.transpose(1, 2), kernel, block.right.bias, padding=1).transpose(1, 2)
    mid = norm(block.mid_norm, left + widen(F.relu(right), 4 * d)) * keep
    x = x + widen(separable(block.conv, mid, 4, 4), d)

    x = x + self_attention(block.attention, norm(block.attention_norm, x), seen)
    return x + block.ffn_out(F.relu(block.ffn_in(norm(block.ffn_norm, x))))


def reference_decoder_block(block, x, memory, real):
    d, seen = x.shape[-1], real[:, None, :]
    causal = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).tril()
    inner = norm(block.wide_norm, x)
    x = (
        x
        + self_attention(block.wide_attention, inner, causal)
        + cross_attention(block.wide_cross, inner, memory, seen)
    )

    inner = norm(block.conv_norm, x)
    left = F.relu(separable(block.left, inner, 10))
    right = separable(block.right, inner, 6)
    mid = norm(block.mid_norm, left + widen(right, 2 * d))
    x = x + separable(block.conv, mid, 6)

    x = x + self_attention(block.attention, norm(block.attention_norm, x), causal)
    x = x + cross_attention(block.cross, norm(block.cross_norm, x), memory, seen)
    inner = F.silu(block.ffn_in(norm(block.ffn_norm, x)))
    return x + block.ffn_out(norm(block.ffn_mid_norm, inner))


def reference_positions(length, width):
    rate = 10_000.0 ** (-torch.arange(width // 2, dtype=torch.float64) / (width // 2 - 1))
    angle = torch.arange(length, dtype=torch.float64)[:, None] * rate
    return torch.cat([angle.sin(), angle.cos()], 1)


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
@torch.no_grad()
def test_the_layout_is_that_of_the_evolved_transformer(shape):
    model = make_model(**shape, dtype=torch.float64)
    whole, d = model.model, model.config.d_model
    context, mask = contexts([11, 4])
    reply, real = ids(2, 14), mask.bool()

    def embedded(tokens):
        return whole.shared.weight[tokens] * d**0.5 + reference_positions(tokens.shape[1], d)

    memory = embedded(context)
    for block in whole.encoder_blocks:
        memory = reference_encoder_block(block, memory, real)
    memory = norm(whole.encoder_norm, memory)
    x = embedded(reply)
    for block in whole.decoder_blocks:
        x = reference_decoder_block(block, x, memory, real)
    expected = norm(whole.decoder_norm, x) @ whole.shared.weight.t()

    # Positions are computed in float32.
    assert_close(model(context, mask, reply).logits, expected, atol=1e-4, rtol=1e-4)


# -- sizes


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize("d", [16, 48, 128])
def test_parameters_of_the_blocks(d):
    config = MeenaConfig(d_model=d, num_heads=2)
    # Of the encoder block: gated unit 2d², branches 4d² and 1.5d², separable convolution 2d²,
    # attention 4d², feed-forward 8d². Linear in d: four norms over d and one over 4d, depthwise
    # 9·4d, biases 2d + 4d + d/2 + d/2 + 4d + d.
    assert count(EncoderBlock(config)) == 43 * d * d // 2 + (8 + 8 + 36 + 12) * d
    # Of the decoder block: four attentions 4d² each, separable convolutions 2d², d²/2 and 2d²,
    # feed-forward 8d². Linear in d: five norms over d, one over 2d, one over 4d, depthwise 11d,
    # 7d and 7·2d, biases 2d + d/2 + d + 4d + d.
    assert count(DecoderBlock(config)) == 57 * d * d // 2 + 125 * d // 2


def test_the_published_shape_has_the_published_size():
    config = MeenaConfig()
    assert (config.encoder_layers, config.decoder_layers) == (1, 13)
    assert (config.d_model, config.num_heads, config.wide_heads) == (2560, 32, 32)
    with torch.device("meta"):
        n = count(MeenaForConditionalGeneration(config))
    assert 2.59e9 < n < 2.60e9
    d = 2560
    blocks = 43 * d * d // 2 + 64 * d + 13 * (57 * d * d // 2 + 125 * d // 2)
    assert n == blocks + 8192 * d + 4 * d  # embeddings, two last norms


# -- as a model of transformers


def greedy(model, context, mask, steps):
    """The likeliest tokens by a loop of our own, (G, 1 + steps); padding after the end."""
    memory = model.model.encode(context, mask)
    cache = model.model.start_cache(memory, len(context))
    reply = torch.full((len(context), 1), model.config.decoder_start_token_id)
    done = torch.zeros(len(context), dtype=torch.bool)
    for _ in range(steps):
        hidden, cache, _ = model.model.decode(reply[:, -1:], cache, mask)
        best = model.lm_head(hidden[:, -1]).argmax(-1).masked_fill(done, 0)
        reply = torch.cat([reply, best[:, None]], dim=1)
        done |= best == model.config.eos_token_id
    return reply


@torch.no_grad()
def test_generate_gives_the_tokens_of_our_own_loop(model):
    context, mask = contexts([9, 2, 5])
    ours = greedy(model, context, mask, 15)
    theirs = model.generate(context, attention_mask=mask, do_sample=False, max_new_tokens=15)
    assert torch.equal(theirs, ours[:, : theirs.shape[1]])
    assert theirs.shape[1] == 16 or (ours == model.config.eos_token_id).any(1).all()


@torch.no_grad()
def test_generate_without_cache_gives_the_same(model):
    context, mask = contexts([9, 2])
    settings = {"attention_mask": mask, "do_sample": False, "max_new_tokens": 12}
    with_cache = model.generate(context, use_cache=True, **settings)
    assert torch.equal(model.generate(context, use_cache=False, **settings), with_cache)


@torch.no_grad()
def test_a_reply_ends_at_the_end_token(model):
    context, mask = contexts([9])
    reply = model.generate(context, attention_mask=mask, do_sample=False, max_new_tokens=8)
    end = reply[0, 4].item()
    ended = model.generate(
        context, attention_mask=mask, do_sample=False, max_new_tokens=8, eos_token_id=end
    )
    first = reply[0, 1:].tolist().index(end) + 1
    assert ended[0].tolist() == reply[0, : first + 1].tolist()


@torch.no_grad()
def test_beams_carry_their_own_state(model):
    """The score beam search reports is the log-likelihood of what it returns."""
    context, mask = contexts([9, 4])
    out = model.generate(
        context,
        attention_mask=mask,
        num_beams=4,
        num_return_sequences=3,
        min_new_tokens=10,
        max_new_tokens=10,
        length_penalty=0.0,
        output_scores=True,
        return_dict_in_generate=True,
    )
    rows = [x.repeat_interleave(3, 0) for x in (context, mask)]
    logits = model(*rows, out.sequences[:, :-1]).logits.log_softmax(-1)
    expected = logits.gather(2, out.sequences[:, 1:, None]).sum((1, 2))
    assert_close(out.sequences_scores, expected, atol=1e-4, rtol=1e-4)


@torch.no_grad()
def test_sampling_several_replies_runs(tiny_model):
    context, mask = contexts([9, 4])
    out = tiny_model.generate(
        context, attention_mask=mask, do_sample=True, num_return_sequences=4, max_new_tokens=5
    )
    assert out.shape[0] == 8


@torch.no_grad()
def test_saved_and_loaded_it_is_the_same_model(tmp_path, model):
    model.save_pretrained(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
    }
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert isinstance(loaded, MeenaForConditionalGeneration)
    assert isinstance(AutoModel.from_pretrained(tmp_path), MeenaModel)
    assert AutoConfig.from_pretrained(tmp_path).to_dict() == loaded.config.to_dict()
    context, mask = contexts([5])
    assert torch.equal(
        loaded(context, mask, ids(1, 4)).logits, model(context, mask, ids(1, 4)).logits
    )


def test_embeddings_and_output_are_one_tensor(tmp_path, tiny_model):
    assert tiny_model.lm_head.weight is tiny_model.model.shared.weight
    tiny_model.save_pretrained(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        names = file.keys()
    assert sum("shared" in name or "lm_head" in name for name in names) == 1
    loaded = AutoModelForSeq2SeqLM.from_pretrained(tmp_path)
    assert loaded.lm_head.weight is loaded.model.shared.weight


# -- learning


def labelled(rows=3):
    """A batch with padding on both sides, as keyword arguments of the model."""
    context, mask = contexts([7, 3, 5][:rows])
    labels = ids(rows, 8, seed=4)
    labels[0, 5:] = labels[-1, 2:] = -100
    return {"input_ids": context, "attention_mask": mask, "labels": labels}


def test_the_loss_is_the_mean_over_labels_alone(model):
    batch = labelled()
    out = model(**batch)
    chosen = out.logits.log_softmax(-1).gather(2, batch["labels"].clamp(min=0)[..., None])[..., 0]
    expected = -chosen[batch["labels"] != -100].mean()
    assert_close(out.loss, expected)
    sparse = model(**batch, return_logits=False)
    assert sparse.logits is None
    assert_close(sparse.loss, out.loss)


def test_labels_make_their_own_decoder_input(tiny_model):
    batch = labelled()
    shifted = shift_right(batch["labels"], start=tiny_model.config.decoder_start_token_id, pad=0)
    assert (shifted[:, 0] == tiny_model.config.decoder_start_token_id).all()
    assert (shifted >= 0).all()
    given = tiny_model(**batch, decoder_input_ids=shifted)
    assert torch.equal(tiny_model(**batch).loss, given.loss)


def test_dropout_and_smoothing_act_in_training_only():
    model = make_model(dropout=0.5, label_smoothing=0.1)
    plain = make_model(dropout=0.0)
    batch = labelled()
    assert torch.equal(model(**batch).loss, plain(**batch).loss)
    model.train()
    losses = {model(**batch).loss.item() for _ in range(3)}
    assert len(losses) == 3
    plain.train()
    assert_close(plain(**batch).loss, plain.eval()(**batch).loss)


def test_every_weight_learns(model):
    model.zero_grad()
    try:
        model(**labelled(), return_logits=False).loss.backward()
        idle = [
            name
            for name, parameter in model.named_parameters()
            if parameter.grad is None or not parameter.grad.any()
        ]
    finally:
        model.zero_grad()
    assert idle == []


@torch.no_grad()
def test_bfloat16_is_near_float32():
    shape = SHAPES["two encoder blocks"]
    batch = labelled()
    exact = make_model(**shape)(**batch)
    rough = make_model(**shape, dtype=torch.bfloat16)(**batch)
    assert rough.logits.dtype == torch.bfloat16
    assert rough.loss.dtype == torch.float32
    assert_close(rough.loss, exact.loss, atol=0.1, rtol=0.05)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = make_model(**shape)(**batch)
    assert_close(mixed.loss, exact.loss, atol=0.1, rtol=0.05)


@torch.no_grad()
def test_bfloat16_decodes_and_generates():
    model = make_model(**SHAPES["two encoder blocks"], dtype=torch.bfloat16)
    context, mask = contexts([6, 3])
    reply = ids(2, 6)
    memory = model.model.encode(context, mask)
    stepwise = in_chunks(model, memory, mask, reply, [1] * 6)
    assert_close(stepwise, model(context, mask, reply).logits, atol=0.2, rtol=0.1)
    out = model.generate(context, attention_mask=mask, do_sample=False, max_new_tokens=4)
    assert out.shape[0] == 2


# -- what is refused


@pytest.mark.parametrize("wrong", [{"d_model": "big"}, {"dropout": "0.1"}, {"decoder_layers": 1.5}])
def test_a_value_of_the_wrong_type_is_refused(wrong):
    with pytest.raises(StrictDataclassError, match=next(iter(wrong))):
        MeenaConfig(**wrong)


@pytest.mark.parametrize(
    "shape",
    [
        {"d_model": 30, "num_heads": 4},
        {"d_model": 25, "num_heads": 5},  # sines and cosines need an even width
        {"d_model": 24, "num_heads": 12},  # the wide attention has 16
    ],
    ids=str,
)
def test_a_width_that_the_heads_do_not_divide_is_refused(shape):
    with pytest.raises(ValueError, match=f"d_model {shape['d_model']} is not divisible"):
        MeenaConfig(**shape)


# -- a step in parts, for steering by gradients


@torch.no_grad()
def test_blocks_run_in_two_parts_equal_one_pass(model):
    network, reply = model.model, ids(3, 4, seed=2)
    cache = network.start_cache(torch.randn(1, 5, model.config.d_model), 3)
    _, cache, _ = network.decode(reply[:, :2], cache, None)
    hidden, after, outputs = network.decode(reply[:, 2:], cache, None)
    n_blocks = len(network.decoder_blocks)
    x = network.embed(reply[:, 2:], start=2)
    for first in range(1, n_blocks):
        below, states = network.run_blocks(x, cache, None, blocks=range(first))
        above, more = network.run_blocks(below[-1], cache, None, blocks=range(first, n_blocks))
        for one, whole in zip([*below, *above], outputs, strict=True):
            assert torch.equal(one, whole)
        assert torch.equal(network.decoder_norm(above[-1]), hidden)
        for state, whole in zip([*states, *more], after, strict=True):
            assert torch.equal(state.window_mid, whole.window_mid)


@torch.no_grad()
def test_embedding_of_a_row_of_the_table_is_that_of_its_piece(model):
    pieces = ids(2, 3)
    placed = model.model.placed(model.model.shared.weight[pieces], 4)
    assert torch.equal(placed, model.model.embed(pieces, 4))


def test_state_that_is_detached_has_the_numbers_and_no_graph(model):
    memory = torch.randn(1, 5, model.config.d_model, requires_grad=True)
    _, cache, _ = model.model.decode(ids(2, 3), model.model.start_cache(memory, 2), None)
    for block in cache:
        cut = block.detached()
        for name in block.PER_ROW:
            before, after = getattr(block, name), getattr(cut, name)
            pairs = (
                zip(before, after, strict=True) if isinstance(before, tuple) else [(before, after)]
            )
            for grown, plain in pairs:
                assert grown.requires_grad
                assert not plain.requires_grad
                assert torch.equal(grown, plain)
