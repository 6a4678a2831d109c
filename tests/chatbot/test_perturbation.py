"""Laws of steering by gradients, on random models: rows stay apart, nothing asked changes nothing.

What the pieces say is not looked at: the weights are random.
"""

import hashlib
import math
from dataclasses import dataclass

import pytest
import torch
from torch.testing import assert_close

from chatbot import Controls, InputError, Sampling
from chatbot.backbone import Backbone, DecodingState
from chatbot.controls import GRADIENTS, GradientSettings
from chatbot.decoding import draw
from chatbot.levers import BlocksLever, PastLever
from chatbot.perturbation import Perturbation, divergence, divergence_slope, fuse
from chatbot.scoring import reply_log_likelihoods

MODES = ("layers", "pplm")
ROWS = 6
SOME = GradientSettings(step_size=0.5, iterations=3)


@dataclass(frozen=True)
class Spec:
    kind: str


class Words:
    """A bag of some pieces; its `score` is the log of their mass."""

    spec = Spec("bag")

    def __init__(self, backbone, pieces):
        self.output, self.pieces = backbone.output_embedding().float(), list(pieces)

    def score(self, hidden, wanted):
        log_probs = (hidden.float() @ self.output.T).log_softmax(-1)
        return wanted * log_probs[:, self.pieces].logsumexp(1)


class WordsOfLogits(Words):
    """The same, read from the logits."""

    def score_logits(self, logits, wanted):
        return wanted * logits.log_softmax(-1)[:, self.pieces].logsumexp(1)


class Line:
    """A linear classifier of hidden states, which looks ahead."""

    spec = Spec("head")

    def __init__(self, width):
        self.direction = torch.randn(width, generator=torch.Generator().manual_seed(3))

    def score(self, hidden, wanted):
        logit = 0.002 * hidden.float() @ self.direction
        sigmoid = torch.nn.functional.logsigmoid
        return wanted * sigmoid(logit) + (1 - wanted) * sigmoid(-logit)


@dataclass(frozen=True)
class Pull:
    model: object
    weight: torch.Tensor
    wanted: torch.Tensor


@pytest.fixture(scope="module", params=["float32", "float64"])
def backbone(request, tiny_model_dir):
    loaded = Backbone.load(tiny_model_dir, device="cpu", dtype="float32")
    loaded.model.to(getattr(torch, request.param))
    return loaded


@pytest.fixture(scope="module")
def words(backbone):
    return Words(backbone, range(100, 130))


def prompt(backbone, text="hello there"):
    return [backbone.special.user, *backbone.pieces(text)]


@torch.no_grad()
def begun(backbone, rows=ROWS, steps=7, prompts=1):
    """The newest ids and the state of rows that have drawn some pieces, each others."""
    state = backbone.start([prompt(backbone)] * prompts, rows // prompts)
    pieces = torch.randint(50, 500, (rows, steps), generator=torch.Generator().manual_seed(1))
    for step in range(steps - 1):
        _, state = backbone.step(pieces[:, step], state)
    return pieces[:, -1], state


def only(ids, state, rows):
    """The same step for some of the rows."""
    rows = torch.tensor(rows)
    kept = DecodingState(type(state.cache)([*map(copied, state.cache)]), state.memory_mask)
    kept.cache.select_rows(rows)
    return ids[rows], kept


def copied(block):
    return type(block)(*(getattr(block, name) for name in block.__dataclass_fields__))


def stepped(backbone, pulls, mode, settings=SOME, *, at=None, **limits):
    """Clean logits, steered logits, state and what was noted of one step."""
    noted = []
    ids, state = at or begun(backbone)
    perturbation = Perturbation(
        backbone, settings, lambda: pulls, mode=mode, note=noted.append, **limits
    )
    clean, steered, state = perturbation.step(ids, state)
    return clean, steered, state, noted


class Asking:
    """Asks the same of every row of a batch, as `chatbot.steering.Steering` does."""

    def __init__(self, model, rows, weight=1.0):
        self.model, self.weights = model, [weight] * rows

    def pulls(self):
        return [pull(self.model, self.weights)]

    def read(self, pieces):
        assert len(pieces) == len(self.weights)

    def keep_rows(self, rows):
        self.weights = [self.weights[row] for row in rows]


def drawn(backbone, mode, model, prompts, sampling, seeds, weight=1.0):
    asking = Asking(model, len(prompts) * sampling.candidates, weight)
    perturbation = Perturbation(backbone, SOME, asking.pulls, mode=mode)
    return draw(
        backbone, prompts, sampling=sampling, seeds=seeds,
        steering=asking, perturbation=perturbation,
    )  # fmt: skip


def pull(model, weights, wanted=None):
    weight = torch.tensor(weights)
    return Pull(model, weight, torch.ones_like(weight) if wanted is None else torch.tensor(wanted))


# -- nothing asked


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("is_asked", [False, True])
def test_nothing_asked_is_plain_decoding(backbone, words, mode, is_asked):
    sampling = Sampling(candidates=4, max_new_tokens=12)
    plain = draw(backbone, [prompt(backbone)], sampling=sampling, seeds=[1])
    if is_asked:
        same = drawn(backbone, mode, words, [prompt(backbone)], sampling, [1], weight=0.0)
    else:
        perturbation = Perturbation(backbone, SOME, list, mode=mode)
        same = draw(
            backbone, [prompt(backbone)], sampling=sampling, seeds=[1], perturbation=perturbation
        )
    assert same == plain


@pytest.mark.parametrize("mode", MODES)
def test_row_that_asks_nothing_keeps_its_logits(backbone, words, mode):
    ids, state = begun(backbone)
    hidden, after = backbone.step(ids, state)
    clean, steered, stepped_state, (noted,) = stepped(
        backbone, [pull(words, [1.0, 0, 1, 0, -1, 0])], mode
    )
    assert torch.equal(clean, backbone.logits(hidden))
    still = torch.tensor([1, 3, 5])
    assert torch.equal(steered[still], clean[still])
    assert noted.is_steered.tolist() == [True, False, True, False, True, False]
    assert not torch.equal(steered[0], clean[0])
    for block, other in zip(stepped_state.cache, after.cache, strict=True):  # clean in the cache
        assert_close(block.kv, other.kv)
        assert_close(block.window_mid, other.window_mid)
        assert not block.kv[0].requires_grad


@pytest.mark.parametrize("mode", MODES)
def test_weights_of_the_generator_stay(backbone, words, mode):
    def digest():
        sha = hashlib.sha256()
        for tensor in backbone.model.state_dict().values():
            sha.update(tensor.numpy().tobytes())
        return sha.hexdigest()

    before = digest()
    stepped(backbone, [pull(words, [1.0] * ROWS)], mode)
    assert digest() == before
    assert all(parameter.grad is None for parameter in backbone.model.parameters())


# -- rows


@pytest.mark.parametrize("mode", MODES)
def test_row_alone_equals_row_in_batch(backbone, words, mode):
    weights = [1.0, -1.0, 0.5, 0.0, 2.0, 0.1]
    line = Line(backbone.model.config.d_model)
    settings = GradientSettings(0.5, 2, horizon=1, kl_scale=0.1)
    pulls = [pull(words, weights), pull(line, weights[::-1])]
    _, together, _, _ = stepped(backbone, pulls, mode, settings)
    for row in range(ROWS):
        alone = [pull(one.model, [one.weight[row].item()]) for one in pulls]
        at = only(*begun(backbone), [row])
        _, steered, _, _ = stepped(backbone, alone, mode, settings, at=at)
        assert_close(steered[0], together[row], atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("mode", MODES)
def test_opposite_pulls_in_one_batch_do_not_mix(backbone, words, mode):
    mixed = [1.0, -1.0] * (ROWS // 2)
    _, steered, _, (noted,) = stepped(backbone, [pull(words, mixed)], mode)
    gain = (noted.after - noted.before)[0]
    assert (gain[0::2] > 0).all()
    assert (gain[1::2] < 0).all()
    _, up, _, _ = stepped(backbone, [pull(words, [1.0] * ROWS)], mode)
    _, down, _, _ = stepped(backbone, [pull(words, [-1.0] * ROWS)], mode)
    assert_close(steered[0::2], up[0::2], atol=1e-4, rtol=1e-4)
    assert_close(steered[1::2], down[1::2], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_conversations_in_one_batch_stay_apart(backbone, words, mode):
    """Two contexts of unequal length: what is padding for one must not pull the other."""
    prompts = [prompt(backbone), prompt(backbone, "what a lovely day to walk in the park")]
    sampling = Sampling(candidates=3, max_new_tokens=6)

    both = drawn(backbone, mode, words, prompts, sampling, [4, 5])
    for number in range(2):
        (alone,) = drawn(backbone, mode, words, [prompts[number]], sampling, [4 + number])
        assert [one.ids for one in alone] == [one.ids for one in both[number]]


@pytest.mark.parametrize("mode", MODES)
def test_bag_read_from_logits_pulls_as_from_hidden_states(backbone, words, mode):
    quick = WordsOfLogits(backbone, words.pieces)
    weights = [1.0, -1.0, 0.5, 0.0, 2.0, 0.1]
    _, slow, _, (one,) = stepped(backbone, [pull(words, weights)], mode)
    _, fast, _, (other,) = stepped(backbone, [pull(quick, weights)], mode)
    assert_close(fast, slow, atol=1e-4, rtol=1e-4)
    assert_close(other.after, one.after, atol=1e-4, rtol=1e-4)


# -- what is moved


def test_window_holds_only_the_newest_positions(backbone):
    ids, state = begun(backbone)
    lever = PastLever(backbone, ids, state, GradientSettings(1.0, 1, window=2))
    n_old = state.cache.get_seq_length() - 2
    _, moved = lever.run(torch.ones(ROWS, sum(lever.groups)))
    for clean, block in zip(state.cache, moved.cache, strict=True):
        pairs = [*zip(clean.wide_kv, block.wide_kv, strict=True)]
        pairs += zip(clean.kv, block.kv, strict=True)
        for before, after in pairs:
            assert torch.equal(after[:, :, :n_old], before[:, :, :n_old])
            assert_close(after[:, :, n_old : n_old + 2], before[:, :, n_old:] + 1)
        for before, after in (
            (clean.window_in, block.window_in),
            (clean.window_mid, block.window_mid),
        ):  # they hold the new position at their end
            assert torch.equal(after[:, :-3], before[:, 1:-2])
            assert_close(after[:, -3:-1], before[:, -2:] + 1)


def test_older_positions_move_less(backbone):
    ids, state = begun(backbone)
    lever = PastLever(backbone, ids, state, GradientSettings(1.0, 1, window=3, decay=0.5))
    keys = lever.share[: lever.groups[0] // 2].unflatten(0, (-1, 3, 4))  # heads, positions, width
    assert_close(keys[0, :, 0], torch.tensor([0.25, 0.5, 1.0]))


@pytest.mark.parametrize("lever", [PastLever, BlocksLever])
@pytest.mark.parametrize("steps", [1, 7])
def test_moving_by_nothing_is_the_clean_step(backbone, lever, steps):
    ids, state = begun(backbone, steps=steps)
    hidden, _ = backbone.step(ids, state)
    for settings in (GradientSettings(1.0, 1, window=0), GradientSettings(1.0, 1, blocks=2)):
        one = lever(backbone, ids, state, settings)
        assert torch.equal(one.run(None)[0], hidden)
        assert torch.equal(one.run(torch.zeros(ROWS, sum(one.groups)))[0], hidden)


@pytest.mark.parametrize("mode", MODES)
def test_first_piece_is_steered(backbone, words, mode):
    at = begun(backbone, steps=1)
    _, _, _, (noted,) = stepped(backbone, [pull(words, [1.0] * ROWS)], mode, at=at)
    assert (noted.after > noted.before).all()


@pytest.mark.parametrize("mode", MODES)
def test_cached_equals_uncached(backbone, words, mode):
    """The state of a text read at once gives the same moves as that of one read piece by piece."""
    ids, state = begun(backbone)
    pieces = torch.randint(50, 500, (ROWS, 7), generator=torch.Generator().manual_seed(1))
    start = backbone.start([prompt(backbone)], ROWS)
    with torch.no_grad():
        _, cache, _ = backbone.model.model.decode(pieces[:, :-1], start.cache, None)
    pulls = [pull(words, [1.0, -1.0] * (ROWS // 2))]
    settings = GradientSettings(0.5, 2)
    _, steered, _, _ = stepped(backbone, pulls, mode, settings, at=(ids, state))
    again = (pieces[:, -1], DecodingState(cache, None))
    _, anew, _, _ = stepped(backbone, pulls, mode, settings, at=again)
    assert_close(steered, anew, atol=2e-3, rtol=1e-3)


# -- how far


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["bag", "head"])
def test_more_weight_never_lowers_the_mean_score(backbone, words, mode, kind):
    model = words if kind == "bag" else Line(backbone.model.config.d_model)
    means = []
    for weight in (-1.0, -0.5, 0.25, 0.5, 1.0):
        _, _, _, (noted,) = stepped(backbone, [pull(model, [weight] * ROWS)], mode)
        means.append(noted.after.mean().item())
        if weight == 0.25:
            means.insert(2, noted.before.mean().item())
    assert means == sorted(means)
    assert means[-1] > means[0]


@pytest.mark.parametrize("mode", MODES)
def test_length_of_a_step_is_the_strength(backbone, words, mode):
    """With gamma 1, every group of numbers moves by step size times weight, whatever the slope."""
    ids, state = begun(backbone)
    moves = {}
    for weight in (0.5, 1.0):
        seen = []
        lever = {"layers": BlocksLever, "pplm": PastLever}[mode]
        run = lever.run
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(lever, "run", lambda self, given: seen.append(given) or run(self, given))  # noqa: B023
            one = GradientSettings(0.3, 1)
            stepped(backbone, [pull(words, [weight] * ROWS)], mode, one, at=(ids, state))
        moves[weight] = seen[-1]
    one = lever(backbone, ids, state, GradientSettings(0.3, 1))
    for weight, made in moves.items():
        for part in made.split(list(one.groups), dim=1):
            assert_close(part.norm(dim=1), 0.3 * weight * one.unit.expand(ROWS, 1)[:, 0])


def test_kl_holds_the_moves_back(backbone, words):
    def kl(scale):
        settings = GradientSettings(0.5, 4, kl_scale=scale, gamma=0.0)
        _, _, _, (noted,) = stepped(backbone, [pull(words, [1.0] * ROWS)], "layers", settings)
        return noted.kl.mean().item()

    assert kl(1.0) < kl(0.0)


def test_slope_of_the_divergence_is_that_of_autograd():
    generator = torch.Generator().manual_seed(0)
    clean = torch.randn(3, 11, generator=generator, dtype=torch.float64)
    steered = torch.randn(3, 11, generator=generator, dtype=torch.float64, requires_grad=True)
    (expected,) = torch.autograd.grad(divergence(steered, clean).sum(), steered)
    assert_close(divergence_slope(steered.detach(), clean), expected)


def test_slope_of_the_divergence_is_zero_at_the_first_iteration():
    clean = torch.randn(3, 11, generator=torch.Generator().manual_seed(0))
    assert torch.equal(divergence_slope(clean.clone(), clean), torch.zeros_like(clean))


def test_horizon_pulls_what_comes_behind_soft_pieces(backbone):
    """The score is that of the mean state over the horizon; moving on raises it."""
    line = Line(backbone.model.config.d_model)
    before = []
    for horizon in (0, 1, 2):
        settings = GradientSettings(0.2, 1, horizon=horizon)
        _, _, _, (noted,) = stepped(backbone, [pull(line, [1.0] * ROWS)], "pplm", settings)
        before.append(noted.before)
        assert (noted.after > noted.before - 1e-6).float().mean() > 0.5
    assert not torch.allclose(before[0], before[1])
    assert not torch.allclose(before[1], before[2])


def test_soft_step_of_one_certain_piece_is_a_step(backbone):
    ids, state = begun(backbone)
    certain = torch.nn.functional.one_hot(ids, backbone.vocab_size).to(backbone.model.dtype)
    with torch.no_grad():
        hidden, after = backbone.soft_step(certain, state)
        expected, known = backbone.step(ids, state)
    assert_close(hidden, expected)
    assert_close(after.cache.blocks[-1].kv, known.cache.blocks[-1].kv)


# -- joined with the clean distribution


@pytest.mark.parametrize(("fusion", "which"), [(0.0, 0), (1.0, 1)])
def test_ends_of_the_fusion(backbone, words, fusion, which):
    pulls = [pull(words, [1.0] * ROWS)]
    _, whole, _, _ = stepped(backbone, pulls, "layers")
    clean, steered, _, (noted,) = stepped(backbone, pulls, "layers", fusion=fusion)
    assert torch.equal(steered, (clean, whole)[which])
    assert_close(noted.kl, divergence(steered, clean))


def test_fusion_is_the_geometric_mean():
    clean, steered = torch.randn(2, 4, 9, generator=torch.Generator().manual_seed(0))
    fused, kl = fuse(clean, steered, 0.3, math.inf)
    mean = steered.softmax(1) ** 0.3 * clean.softmax(1) ** 0.7
    assert_close(fused.softmax(1), mean / mean.sum(1, keepdim=True))
    assert_close(kl, divergence(fused, clean))


def test_no_piece_goes_further_than_the_limit(backbone, words):
    far = GradientSettings(20.0, 3)
    pulls = [pull(words, [1.0] * ROWS)]
    _, _, _, (free,) = stepped(backbone, pulls, "layers", far)
    _, _, _, (held,) = stepped(backbone, pulls, "layers", far, kl_limit=0.1)
    assert free.kl.max() > 0.1
    assert held.kl.max() <= 0.1
    assert (held.kl[free.kl > 0.1] > 0.05).all()


def test_closed_gate_leaves_the_piece_alone(backbone, words):
    closed = GradientSettings(0.5, 1, gate=0.0)
    clean, steered, _, (noted,) = stepped(backbone, [pull(words, [1.0] * ROWS)], "layers", closed)
    assert torch.equal(steered, clean)
    assert not noted.is_steered.any()
    assert not noted.fell_back.any()


# -- what is not finite


class Broken(Words):
    """Has no finite slope where 0 is wanted."""

    def score(self, hidden, wanted):
        score = super().score(hidden, torch.ones_like(wanted))
        return score * torch.where(wanted > 0, 1.0, math.nan)


@pytest.mark.parametrize("mode", MODES)
def test_row_without_finite_gradient_falls_back_and_says_so(backbone, words, mode):
    broken = Broken(backbone, words.pieces)
    wanted = [1.0, 0, 1, 1, 0, 1]
    clean, steered, _, (noted,) = stepped(backbone, [pull(broken, [1.0] * ROWS, wanted)], mode)
    assert noted.fell_back.tolist() == [False, True, False, False, True, False]
    assert torch.equal(steered[[1, 4]], clean[[1, 4]])
    _, whole, _, _ = stepped(backbone, [pull(words, [1.0] * ROWS)], mode)
    assert_close(steered[[0, 2, 3, 5]], whole[[0, 2, 3, 5]], atol=1e-4, rtol=1e-4)


def test_steered_logits_that_are_not_finite_fall_back(backbone, words):
    huge = GradientSettings(100.0, 1)
    weights = [1e38] + [1.0] * (ROWS - 1)
    clean, steered, _, (noted,) = stepped(backbone, [pull(words, weights)], "layers", huge)
    assert noted.fell_back.tolist() == [True] + [False] * (ROWS - 1)
    assert torch.equal(steered[0], clean[0])
    assert steered.isfinite().all()


# -- in the loop


@pytest.mark.parametrize("mode", MODES)
def test_log_probs_are_those_of_the_untouched_model(backbone, words, mode):
    sampling = Sampling(candidates=5, max_new_tokens=10)
    context = prompt(backbone)
    (rows,) = drawn(backbone, mode, words, [context], sampling, [2])
    scored = reply_log_likelihoods(backbone.model, [context] * len(rows), [row.ids for row in rows])
    for row, expected in zip(rows, scored, strict=True):
        assert sum(row.log_probs) == pytest.approx(float(expected.sum()), rel=1e-3, abs=1e-3)


def test_drawing_inside_inference_mode_works(backbone, words):
    sampling = Sampling(candidates=2, max_new_tokens=3)
    with torch.inference_mode():
        weight = torch.ones(2)
        perturbation = Perturbation(
            backbone, SOME, lambda: [Pull(words, weight, weight)], mode="pplm"
        )
        draw(backbone, [prompt(backbone)], sampling=sampling, seeds=[2], perturbation=perturbation)


# -- what can be asked


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("step_size", -1.0), ("step_size", math.nan), ("iterations", 0), ("iterations", 1.5),
        ("gamma", 3.0), ("kl_scale", -0.1), ("window", -1), ("decay", 1.1), ("horizon", 9),
        ("blocks", 0), ("gate", 2.0), ("step_size", True), ("step_size", "much"),
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(field, value):
    with pytest.raises(InputError, match=field):
        GradientSettings(**{"step_size": 1.0, "iterations": 1} | {field: value})


def test_mode_of_controls():
    assert Controls({"joy": 1}).mode == "hidden"
    assert Controls({"joy": 1}, mode="pplm").gradient_settings == GRADIENTS["pplm"]
    own = GradientSettings(0.1, 2)
    assert Controls({"joy": 1}, mode="layers", gradient=own).gradient_settings == own
    with pytest.raises(InputError, match="give hidden, layers, pplm"):
        Controls({"joy": 1}, mode="gradient")
    with pytest.raises(InputError, match="follows no gradient"):
        Controls({"joy": 1}, gradient=own)


def test_mode_on_the_command_line():
    assert Controls.parse("joy=.5, mode=layers") == Controls({"joy": 0.5}, mode="layers")
    with pytest.raises(InputError, match="mode is 'fast'"):
        Controls.parse("joy=.5,mode=fast")
