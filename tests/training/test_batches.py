"""Laws of cutting a packed corpus into batches."""

import math
from dataclasses import fields

import numpy as np
import pytest

from chatbot.errors import CorpusError
from chatbot.prompt import SPECIAL_IDS, build_context
from chatbot.training.batches import IGNORED_LABEL, PackedCorpus
from chatbot.training.corpus import SOURCES, read_dialogues
from chatbot.training.packing import pack

BUDGET = 600


def rows_of(batch):
    """(context ids, target pieces, source id) of each row, paddings checked and removed."""
    for i in range(len(batch.source)):
        n_context = int(batch.attention_mask[i].sum())
        n_target = int((batch.labels[i] != IGNORED_LABEL).sum())
        assert (batch.attention_mask[i, :n_context] == 1).all()
        assert (batch.input_ids[i, n_context:] == SPECIAL_IDS.pad).all()
        assert (batch.labels[i, n_target:] == IGNORED_LABEL).all()
        assert (batch.decoder_input_ids[i, n_target:] == SPECIAL_IDS.pad).all()
        assert batch.labels[i, n_target - 1] == SPECIAL_IDS.eos
        assert batch.decoder_input_ids[i, 0] == SPECIAL_IDS.bos
        target = tuple(batch.labels[i, : n_target - 1].tolist())
        assert tuple(batch.decoder_input_ids[i, 1:n_target].tolist()) == target
        yield tuple(batch.input_ids[i, :n_context].tolist()), target, int(batch.source[i])


def all_rows(corpus, **arguments):
    arguments = {"seed": 3, "epoch": 0, "tokens_per_batch": BUDGET} | arguments
    return [row for batch in corpus.batches(**arguments) for row in rows_of(batch)]


def same(batch, other):
    return all(
        np.array_equal(getattr(batch, f.name), getattr(other, f.name)) for f in fields(batch)
    )


def test_the_same_arguments_give_the_same_batches(tiny_corpus):
    arguments = {"seed": 1, "epoch": 2, "tokens_per_batch": BUDGET, "infill": 0.3}
    first = list(tiny_corpus.batches(**arguments))
    again = list(tiny_corpus.batches(**arguments))
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert all_rows(tiny_corpus, epoch=1) != all_rows(tiny_corpus, epoch=2)
    assert all_rows(tiny_corpus, seed=1) != all_rows(tiny_corpus, seed=2)


@pytest.mark.parametrize("start", [0, 1, 3, 10_000])
def test_a_start_gives_the_tail_of_the_whole(tiny_corpus, start):
    arguments = {"seed": 1, "epoch": 0, "tokens_per_batch": BUDGET, "infill": 0.3}
    whole = list(tiny_corpus.batches(**arguments))
    tail = list(tiny_corpus.batches(**arguments, start=start))
    assert tiny_corpus.batch_count(**arguments) == len(whole) > 4
    assert all(same(a, b) for a, b in zip(whole[start:], tail, strict=True))


@pytest.mark.parametrize("limits", [{}, {"max_turns": 2}, {"max_tokens": 20}, {"infill": 0.5}])
@pytest.mark.parametrize("tokens_per_batch", [260, 600, 4000])
def test_budgets_hold(tiny_corpus, limits, tokens_per_batch):
    arguments = {"seed": 0, "epoch": 0, "tokens_per_batch": tokens_per_batch} | limits
    for batch in tiny_corpus.batches(**arguments):
        n_rows, n_context = batch.input_ids.shape
        assert n_rows * (n_context + batch.labels.shape[1]) <= tokens_per_batch
        assert n_rows <= 8 or n_rows % 8 == 0
        assert n_context <= limits.get("max_tokens", 128)
        is_marker = np.isin(batch.input_ids, [SPECIAL_IDS.user, SPECIAL_IDS.bot])
        assert is_marker.sum(1).max() <= limits.get("max_turns", 7)


@pytest.mark.parametrize("limits", [{}, {"max_turns": 1}, {"max_turns": 3, "max_tokens": 15}])
def test_every_row_is_an_example_with_the_prompt_of_run_time(tiny_corpus, limits):
    expected = []
    for i in range(len(tiny_corpus)):
        context, reply, _ = tiny_corpus.example(i)
        expected.append((build_context(context, SPECIAL_IDS, **limits).ids, tuple(reply), 0))
    assert sorted(all_rows(tiny_corpus, **limits)) == sorted(expected)


def test_every_label_is_a_real_reply(tiny_corpus, tiny_tokenizer, sample_file):
    replies = {turn for d in read_dialogues(sample_file) for turn in d.turns[1:]}
    rows = all_rows(tiny_corpus)
    assert {tiny_tokenizer.decode(target) for _, target, _ in rows} <= replies


@pytest.mark.parametrize("limits", [{}, {"max_turns": 1}, {"max_tokens": 40}])
def test_infilling_puts_back_a_real_reply(tiny_corpus, tiny_tokenizer, sample_file, limits):
    turns = {turn for d in read_dialogues(sample_file) for turn in d.turns[1:]}
    n_infill = 0
    for context, target, _ in all_rows(tiny_corpus, infill=1.0, **limits):
        if SPECIAL_IDS.mask not in context:  # too long for the limit: an ordinary example
            assert tiny_tokenizer.decode(target) in turns
            continue
        n_infill += 1
        begin = max(i for i, token in enumerate(context) if token == SPECIAL_IDS.user) + 1
        hole = context.index(SPECIAL_IDS.mask)
        whole = context[begin:hole] + target + context[hole + 1 :]
        assert tiny_tokenizer.decode(whole) in turns
        assert 0.25 <= len(target) / len(whole) <= 0.55 or len(whole) < 5
    assert n_infill > 0.8 * len(tiny_corpus)


def test_the_share_of_infilling_is_the_one_asked_for(tiny_corpus):
    rows = [row for epoch in range(20) for row in all_rows(tiny_corpus, epoch=epoch, infill=0.25)]
    share = sum(SPECIAL_IDS.mask in context for context, _, _ in rows) / len(rows)
    assert abs(share - 0.25) < 5 * math.sqrt(0.25 * 0.75 / len(rows))


def test_sources_are_drawn_by_their_weights(tiny_tokenizer, tmp_path, write_dialogues, numbered):
    names = ["personachat", "switchboard", "smilestyle_roles", "sgd"]
    files = [write_dialogues(name, numbered(400 * i, 400)) for i, name in enumerate(names)]
    report = pack(files, tiny_tokenizer, tmp_path / "out")
    corpus = PackedCorpus(tmp_path / "out")
    assert report.left_out == {"smilestyle_roles": 400}
    sources = np.array([source for _, _, source in all_rows(corpus, tokens_per_batch=4000)])
    for i, name in enumerate(corpus.sources):
        n = report.sources[name].examples
        fraction = SOURCES[name].weight % 1
        spread = math.sqrt(n * fraction * (1 - fraction))
        assert abs((sources == i).sum() - n * SOURCES[name].weight) <= 5 * spread


def test_weights_of_a_stage_take_the_place_of_those_packed(
    tiny_tokenizer, tmp_path, write_dialogues, numbered
):
    names = ["personachat", "switchboard"]
    files = [write_dialogues(name, numbered(400 * i, 400)) for i, name in enumerate(names)]
    report = pack(files, tiny_tokenizer, tmp_path / "out")
    corpus = PackedCorpus(tmp_path / "out", {"switchboard": 2, "personachat": 0})
    sources = [corpus.sources[row[2]] for row in all_rows(corpus, tokens_per_batch=4000)]
    assert sources.count("switchboard") == 2 * report.sources["switchboard"].examples > 0
    assert sources.count("personachat") == 0


def test_weights_of_sources_that_are_not_there_are_refused(
    tiny_tokenizer, tmp_path, write_dialogues, numbered
):
    pack([write_dialogues("personachat", numbered(0, 9))], tiny_tokenizer, tmp_path / "out")
    with pytest.raises(CorpusError, match=r"weights for sgd, but .* holds personachat"):
        PackedCorpus(tmp_path / "out", {"sgd": 1})


def test_valid_has_every_example_once(tiny_tokenizer, tmp_path, write_dialogues, numbered):
    files = [
        write_dialogues(name, numbered(20 * i, 20))
        for i, name in enumerate(["personachat", "smilestyle_roles"])
    ]
    pack(files, tiny_tokenizer, tmp_path / "out", split="valid")
    corpus = PackedCorpus(tmp_path / "out")
    rows = all_rows(corpus, tokens_per_batch=4000)
    assert len(rows) == len(set(rows)) == len(corpus) == 40
    assert set(corpus.sources) == {"personachat", "smilestyle_roles"}


def test_a_budget_below_one_example_is_refused(tiny_corpus):
    with pytest.raises(ValueError, match="tokens_per_batch=10"):
        next(tiny_corpus.batches(seed=0, epoch=0, tokens_per_batch=10))


@pytest.mark.parametrize("infill", [0.0, 0.4])
def test_dropped_contexts_are_bare_markers_and_their_replies_real(tiny_corpus, infill):
    everything = {"drop_context": 1.0, "infill": infill}
    rows = all_rows(tiny_corpus, **everything)
    assert {context for context, _, _ in rows} == {(SPECIAL_IDS.user,)}
    replies = [tuple(tiny_corpus.example(i)[1]) for i in range(len(tiny_corpus))]
    assert sorted(target for _, target, _ in rows) == sorted(replies)
    arguments = {"seed": 3, "epoch": 0, "tokens_per_batch": BUDGET} | everything
    assert tiny_corpus.batch_count(**arguments) == len(list(tiny_corpus.batches(**arguments)))


def test_the_share_of_dropped_contexts_is_the_one_asked_for(tiny_corpus):
    rows = [r for epoch in range(20) for r in all_rows(tiny_corpus, epoch=epoch, drop_context=0.2)]
    kept = [row for row in rows if row[0] != (SPECIAL_IDS.user,)]
    assert abs(len(kept) / len(rows) - 0.8) < 5 * math.sqrt(0.2 * 0.8 / len(rows))
    assert set(kept) <= set(all_rows(tiny_corpus))
