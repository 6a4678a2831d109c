"""Heads: gradients are those of autograd, rows never meet, files come back, others are refused."""

import pytest
import torch

from attribute_models.base import AttributeModelError
from attribute_models.data import (
    OPENERS,
    Example,
    balanced,
    families,
    read_examples,
    with_opener,
)
from attribute_models.heads import Heads, Push
from attribute_models.readers import Reader
from attribute_models.train import States, train_look_ahead, train_reader, train_shift

LABELS = ("neutral", "joy", "anger")
H, V, R = 12, 40, 3


def heads(seed=0, **changes):
    generator = torch.Generator().manual_seed(seed)

    def random(*shape):
        return torch.randn(shape, generator=generator)

    tensors = {
        "down": random(3, R, H), "up": random(3, H, R), "bias": random(3, H),
        "pieces": random(3, V), "ahead": random(3, H), "ahead_bias": random(3),
    }  # fmt: skip
    given = {"family": "emotion", "labels": LABELS, "reference": "neutral", "language": "en"}
    return Heads(tensors, **{**given, "backbone": "abc", **changes})


@pytest.fixture
def hidden():
    return torch.randn(5, H, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def output():
    return torch.randn(V, H, generator=torch.Generator().manual_seed(2))


def test_the_closed_form_is_the_gradient_of_the_score(hidden):
    head = heads().head("joy")
    wanted = torch.tensor([1.0, 1.0, 0.5, 0.2, 0.0])
    states = hidden.clone().requires_grad_()
    (slope,) = torch.autograd.grad(head.score(states, wanted).sum(), states)
    assert torch.allclose(head.gradient(hidden, wanted), slope, atol=1e-5)


def test_a_step_up_the_gradient_raises_the_score(hidden):
    head, wanted = heads().head("anger"), torch.ones(5)
    step = 1e-2 * head.gradient(hidden, wanted)
    assert (head.score(hidden + step, wanted) > head.score(hidden, wanted)).all()


def test_the_reference_is_where_nothing_moves(hidden, output):
    pushes = torch.zeros(5, 3)
    assert heads().shift(hidden, pushes, output).abs().max() == 0
    pushes[:, 0] = 2.0  # towards the reference, from the reference
    assert heads().shift(hidden, pushes, output).abs().max() == 0


def test_a_shift_is_linear_in_its_pushes_and_no_row_sees_another(hidden, output):
    one = heads()
    pushes = torch.zeros(5, 3)
    pushes[0, 1], pushes[1, 2], pushes[2] = 1.0, 1.0, torch.tensor([0.0, 1.0, 1.0])
    moved = one.shift(hidden, pushes, output)
    assert torch.allclose(
        one.shift(hidden[[2]], torch.tensor([[0.0, 1.0, 0.0]]), output)
        + one.shift(hidden[[2]], torch.tensor([[0.0, 0.0, 1.0]]), output),
        moved[[2]],
        atol=1e-4,
    )
    for row in range(5):
        alone = one.shift(hidden[[row]], pushes[[row]], output)
        assert torch.allclose(alone[0], moved[row], atol=1e-4)


def test_the_shift_moves_the_state_as_the_paper_says(hidden, output):
    one = heads()
    pushes = torch.zeros(5, 3)
    pushes[:, 1] = 0.7
    own, reference = 1, 0
    tensors = one.tensors
    moves = [
        hidden @ tensors["down"][k].T @ tensors["up"][k].T + tensors["bias"][k]
        for k in (own, reference)
    ]
    wanted = 0.7 * (
        (moves[0] - moves[1]) @ output.T + tensors["pieces"][own] - tensors["pieces"][reference]
    )
    assert torch.allclose(one.shift(hidden, pushes, output), wanted, atol=1e-4)


def test_heads_come_back_from_their_file(tmp_path, hidden, output):
    push = Push((0.0, 1.0), (0.1, 0.8), (1.0, 1.4), full=1.0)
    one = heads(calibration={"joy": push}, card={"train": 3})
    one.save(tmp_path)
    again = Heads.load(tmp_path, backbone="abc")
    assert again.digest == one.digest
    assert again.calibration == {"joy": push}
    pushes = torch.tensor([[0.0, 1.0, 0.0]]).expand(5, 3)
    moved, wanted = again.shift(hidden, pushes, output), one.shift(hidden, pushes, output)
    assert torch.allclose(moved, wanted, atol=0.1)  # kept in half precision


def test_heads_of_another_generator_are_refused_with_the_command(tmp_path):
    heads().save(tmp_path)
    with pytest.raises(AttributeModelError, match="chatbot attributes train --all"):
        Heads.load(tmp_path, backbone="other")
    with pytest.raises(AttributeModelError, match="chatbot attributes train"):
        Heads.load(tmp_path / "nowhere", backbone="abc")


def test_strength_is_a_share_of_the_measured_effect():
    push = Push((0.0, 0.5, 1.0, 2.0), (0.1, 0.5, 0.6, 0.9), (1, 1, 1, 2), full=2.0)
    assert push.of(0) == 0
    assert push.of(1) == pytest.approx(2.0)
    assert push.of(0.5) == pytest.approx(0.5)  # half of the effect comes with a quarter of the push
    assert push.of(-0.5) == -1.0
    rising = [push.of(step / 20) for step in range(21)]
    assert rising == sorted(rising)
    assert push.strength_of(0.5) == pytest.approx(0.5)
    assert (push.strength_of(0.0), push.strength_of(1.0)) == (0.0, 1.0)


# -- training


@pytest.fixture
def states():
    """Replies of three labels whose states and pieces tell the label."""
    generator = torch.Generator().manual_seed(3)
    n = 90
    lengths = torch.randint(3, 8, (n,), generator=generator)
    labels = torch.arange(n) % 3
    per_piece = labels.repeat_interleave(lengths)
    hidden = torch.randn(int(lengths.sum()), H, generator=generator)
    hidden[:, 0] += 2.0 * per_piece
    pieces = per_piece * 10 + torch.randint(0, 10, per_piece.shape, generator=generator)
    return States(hidden, pieces, lengths, labels, torch.arange(n) % 5 == 0)


def test_training_finds_what_tells_the_labels_apart(states, output):
    tensors, report = train_shift(states, 3, output, rank=R, steps=150)
    assert report["right"] < report["wrong"] - 0.5
    assert report["right"] < report["untouched"]
    ahead, found = train_look_ahead(states, 3)
    assert found["macro_f1"] > 0.45  # a third by chance
    one = heads()
    trained = Heads(
        {**tensors, **ahead}, family="f", labels=LABELS, reference="neutral", language="en",
        backbone="abc",
    )  # fmt: skip
    assert trained.tensors.keys() == one.tensors.keys()


def test_training_is_the_same_every_time(states, output):
    first, _ = train_shift(states, 3, output, rank=R, steps=20)
    second, _ = train_shift(states, 3, output, rank=R, steps=20)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_a_reader_reads_and_comes_back(tmp_path):
    generator = torch.Generator().manual_seed(4)
    labels = torch.arange(120) % 3
    vectors = torch.nn.functional.one_hot(labels, H).float()
    vectors = vectors + 0.1 * torch.randn(120, H, generator=generator)
    vectors = (vectors / vectors.norm(dim=1, keepdim=True)).numpy()
    is_valid = [at % 4 == 0 for at in range(120)]
    weight, bias, report = train_reader(vectors, labels.tolist(), is_valid, 3)
    assert report["macro_f1"] > 0.95
    reader = Reader(weight, bias, family="f", labels=LABELS, encoder="enc", card={"valid": report})
    reader.save(tmp_path)
    again = Reader.load(tmp_path, encoder="enc")
    assert (again.read(vectors) == reader.read(vectors)).all()
    assert again.read(vectors).sum(1) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(AttributeModelError, match="text encoder"):
        Reader.load(tmp_path, encoder="another")


# -- data


def write(path, *lines):
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_labelled_replies_are_read_in_either_form(tmp_path):
    text = write(
        tmp_path / "a.jsonl",
        '{"text": "How lovely to hear", "label": "happy", "context": ["I won"], "split": "valid"}',
        '{"text": "no", "label": "happy"}',
        '{"text": "leave me alone", "label": "other"}',
    )
    (found,) = read_examples(text, labels={"happy": "joy"})
    assert (found.text, found.label, found.is_valid) == ("How lovely to hear", "joy", True)
    assert found.context == ("I won",)
    turns = write(tmp_path / "d.train.jsonl", '{"turns": ["a b", "c d", "e f"], "emotion": "sad"}')
    first, second = read_examples(turns, field="emotion", turns=[0, 2], labels={"sad": "sadness"})
    assert (first.context, second.context) == ((), ("a b", "c d"))


@pytest.mark.parametrize(
    ("line", "told"),
    [("{", "line 2"), ("[]", "line 2"), ('{"text": "a b"}', "line 2.*expected"),
     ('{"text": 3, "label": "joy", "context": 4}', "line 2")],
)  # fmt: skip
def test_a_bad_line_is_named(tmp_path, line, told):
    file = write(tmp_path / "bad.jsonl", '{"text": "fine so far", "label": "joy"}', line)
    with pytest.raises(AttributeModelError, match=told):
        read_examples(file)


def test_every_label_needs_replies(tmp_path):
    lines = [f'{{"text": "reply number {n}", "label": "joy"}}' for n in range(60)]
    examples = read_examples(write(tmp_path / "a.jsonl", *lines))
    with pytest.raises(AttributeModelError, match="anger"):
        balanced(examples, ["joy", "anger"], train=50, valid=5, seed=0)
    kept = balanced(examples, ["joy"], train=30, valid=5, seed=0)
    assert sum(one.is_valid for one in kept) == 5
    assert len(kept) == 35


def test_a_reply_without_context_gets_an_opener_of_its_language():
    one = Example((), "그래 좋아", "joy", False, "s")
    assert with_opener(one, 1, "ko")[0] in OPENERS["ko"]
    assert with_opener(one, 1)[0] in OPENERS["en"]
    assert with_opener(Example(("hi",), "a b", "joy", False, "s"), 1, "ko") == ("hi",)


def test_both_languages_have_families_of_the_same_labels():
    known = families()
    for name in ("emotion", "sentiment"):
        assert known[f"{name}_ko"].labels == known[name].labels
        assert (known[f"{name}_ko"].language, known[name].language) == ("ko", "en")


def test_shipped_families_are_well_formed():
    for family in families().values():
        assert family.reference in family.labels
        for how in family.sources.values():
            assert set(how.get("labels", {}).values()) <= set(family.labels)
