"""Texts of like length are read together, every one of them once."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from chatbot.embedding import _BATCH, _LEAST_BATCH, Embedder, _batches


@given(st.lists(st.integers(0, 300), max_size=200))
def test_every_row_is_in_one_batch_in_its_order(lengths):
    lengths = sorted(lengths, reverse=True)
    batches = list(_batches(np.arange(len(lengths)), lengths))
    assert [row for rows in batches for row in rows] == list(range(len(lengths)))
    assert all(len(rows) <= _BATCH for rows in batches)
    assert all(len(rows) >= _LEAST_BATCH for rows in batches[:-1])


def test_long_texts_do_not_lengthen_many_short_ones():
    lengths = [100] * 8 + [10] * 50
    assert [len(rows) for rows in _batches(np.arange(58), lengths)] == [8, 50]


class Lengths:
    """A model whose vector of a text tells its length."""

    dimensions, max_pieces = 2, None

    def vectors(self, texts):
        return torch.tensor([[float(len(text)), 1.0] for text in texts])


def test_vectors_come_back_in_the_order_of_the_texts():
    texts = ["a" * (1 + 37 * i % 90) for i in range(70)]
    vectors = Embedder(Lengths(), name="fake", digest="0").encode(texts)
    np.testing.assert_allclose(vectors[:, 0] / vectors[:, 1], [len(t) for t in texts], rtol=1e-5)
