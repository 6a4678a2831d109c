"""A bag gives every word its chance, in closed form."""

import pytest
import torch

from attribute_models.bow import Bag
from attribute_models.trie import SPACED, Place


@pytest.fixture
def output(pieces):
    return torch.randn(len(pieces.texts), 16, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def bag(words, pieces, output, markov):
    made = words("happy", "grateful\t0.5", "win", "game", "wonderful")
    return Bag(made, pieces, output, continuations=markov)


def standing_behind(trie, text):
    place = Place()
    for piece in trie.pieces.split(text):
        place = trie.advance(place, piece)
    return place


def test_the_chance_of_a_first_piece_is_that_of_all_words_behind_it(
    words, pieces, output, markov, monkeypatch
):
    monkeypatch.setattr("attribute_models.bow.MIN_CHANCE", 0.0)
    bag = Bag(words("wonderful", "wonder"), pieces, output, continuations=markov)
    trie, goes_on = bag.trie, torch.tensor(pieces.continues)

    def by_hand(node):
        row = markov.table[trie.paths[node][-1]]
        ends = float(1 - row[goes_on].sum()) if trie.weights[node] else 0.0
        return ends + sum(float(row[p]) * by_hand(c) for p, c in trie.children[node].items())

    for node in trie.children[SPACED].values():
        assert bag.chances[node] == pytest.approx(by_hand(node), abs=1e-5)


def test_a_korean_word_is_certain_once_it_is_there(words, pieces, output, markov):
    bag = Bag(words("축구"), pieces, output, continuations=markov)
    complete = [node for node, weight in enumerate(bag.trie.weights) if weight]
    assert [bag.chances[node] for node in complete] == [1.0] * len(complete)


@pytest.mark.parametrize("text", ["we are wonderful", "그는 축구를", "Win"])
def test_every_step_of_a_word_is_a_piece_of_the_support(words, pieces, output, uniform, text):
    bag = Bag(words("wonderful", "축구", "win"), pieces, output, continuations=uniform)
    place, counted = Place(), []
    for piece in pieces.split(text):
        chance, weight = bag.features([place])
        at = (bag.support == piece).nonzero()
        counted.append(float(chance[0, at[0, 0]] * weight[0, at[0, 0]]) if len(at) else 0.0)
        before, place = place, bag.trie.advance(place, piece)
        if place.so_far > before.so_far:
            break
    assert place.so_far == 1
    assert counted[-1] > 0


def test_inside_a_word_the_way_on_has_its_mass_and_other_words_keep_theirs(bag):
    begin = standing_behind(bag.trie, "so")
    inside = bag.trie.advance(begin, bag.trie.pieces.split(" wonderful")[0])
    (outer, inner), _ = bag.features([begin, inside])
    ways = bag.trie.children[inside.node]
    for column, piece in enumerate(bag.support.tolist()):
        if piece in ways:
            assert inner[column] == pytest.approx(bag.chances[ways[piece]])
        else:
            assert inner[column] == outer[column]


def test_words_without_a_space_count_only_where_a_word_may_begin(bag, pieces):
    piece = pieces.split("win")[0]
    column = bag.support.tolist().index(piece)
    chance, _ = bag.features([Place(), standing_behind(bag.trie, "so")])
    assert chance[0, column] > 0
    assert chance[1, column] == 0 or pieces.opens[piece]


def test_the_closed_form_is_the_gradient(bag):
    hidden = torch.randn(5, 16, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    hidden = hidden.float().requires_grad_()
    wanted = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    expected = torch.autograd.grad(bag.score(hidden, wanted).sum(), hidden)[0]
    assert torch.allclose(bag.gradient(hidden.detach(), wanted), expected, rtol=1e-3, atol=1e-5)


def test_a_row_of_the_gradient_depends_on_no_other(bag):
    hidden = torch.randn(5, 16, generator=torch.Generator().manual_seed(5))
    wanted = torch.linspace(0, 1, 5)
    together = bag.gradient(hidden, wanted)
    alone = [bag.gradient(hidden[row : row + 1], wanted[row : row + 1]) for row in range(5)]
    assert torch.allclose(together, torch.cat(alone), atol=1e-6)


def test_coverage_names_every_word(bag):
    covered = {one.word: one for one in bag.coverage()}
    assert covered.keys() == bag.words.weights.keys()
    assert all("".join(one.pieces).strip() == one.word for one in covered.values())
    assert all(one.n_paths > 0 and 0 < one.chance <= 1 for one in covered.values())
    assert covered["grateful"].weight == 0.5


def test_soft_members_are_near_the_words_and_far_from_rivals(words, pieces, uniform):
    whole = [
        i for i, text in enumerate(pieces.texts)
        if pieces.opens[i] and text.strip().isalpha() and text.isascii() and len(text) > 3
    ]  # fmt: skip
    texts = [pieces.texts[i].strip() for i in whole]
    generator = torch.Generator().manual_seed(6)
    output = torch.randn(len(pieces.texts), 32, generator=generator)
    centre, away = torch.randn(2, 32, generator=generator).mul(8)
    for i in whole[:9]:  # nine words of one kind, six of them in the list, one in a rival's
        output[i] = centre + 0.1 * torch.randn(32, generator=generator)
    for i in whole[9:20]:
        output[i] = away + 0.1 * torch.randn(32, generator=generator)
    mine, rival = words(*texts[:6]), words(texts[6], *texts[9:14], name="rival")
    bag = Bag(mine, pieces, output, continuations=uniform, rivals=[rival])
    assert {one.text.strip() for one in bag.neighbours} == set(texts[7:9])
    assert all(0 < one.weight < 1 for one in bag.neighbours)
