"""Laws of packing: filters as they act in a dialogue, reports, licences, atomic folders."""

import pytest

from chatbot.errors import CorpusError
from chatbot.training.batches import PackedCorpus
from chatbot.training.corpus import read_dialogues
from chatbot.training.packing import MAX_REPEATS, pack, tokenizer_digest


def test_a_url_ends_the_dialogue_and_other_filters_do_not(
    tiny_tokenizer, tmp_path, write_dialogues
):
    turns = ["How was it?", "1234 5678", "Sounds good to me.", "See www.x.org now", "Never read"]
    path = write_dialogues("a", [turns])
    report = pack([path], tiny_tokenizer, tmp_path / "out")
    assert report.sources["a"].filtered == {"url": 1, "few_letters": 1}
    context, reply, _ = PackedCorpus(tmp_path / "out").example(0)
    assert [tiny_tokenizer.decode(ids) for ids in context] == turns[:2]
    assert tiny_tokenizer.decode(reply) == turns[2]


def test_a_common_reply_is_kept_a_hundred_times_in_train_and_always_in_valid(
    tiny_tokenizer, tmp_path, write_dialogues
):
    n = MAX_REPEATS + 30
    path = write_dialogues("a", [[f"Question {i}", "I see."] for i in range(n)])
    train = pack([path], tiny_tokenizer, tmp_path / "train")
    valid = pack([path], tiny_tokenizer, tmp_path / "valid", split="valid")
    assert (train.n_examples, train.sources["a"].filtered) == (MAX_REPEATS, {"too_common": 30})
    assert (valid.n_examples, valid.sources["a"].filtered) == (n, {})


def test_saying_the_same_twice_is_not_learnt(tiny_tokenizer, tmp_path, write_dialogues):
    turns = ["Why did you go?", "I do not know that.", "But why?", "I do not know that."]
    path = write_dialogues("a", [turns])
    report = pack([path], tiny_tokenizer, tmp_path / "out")
    assert report.sources["a"].filtered == {"repeats_itself": 1}


def test_the_report_the_meta_file_and_the_arrays_agree(sample_file, tiny_tokenizer, tmp_path):
    report = pack([sample_file], tiny_tokenizer, tmp_path / "out")
    corpus = PackedCorpus(tmp_path / "out")
    dialogues = list(read_dialogues(sample_file))
    assert report.sources["sample"].dialogues == len(dialogues)
    assert report.sources["sample"].turns == sum(len(d.turns) for d in dialogues)
    assert report.n_examples == len(corpus)
    assert corpus.sources == ("sample",)
    assert corpus.meta["tokenizer_sha256"] == tokenizer_digest(tiny_tokenizer)
    assert corpus.meta["files"].keys() == {"sample.jsonl"}
    assert corpus.meta["sources"][0]["pieces"] == report.n_pieces
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_a_failed_pack_leaves_the_old_one(sample_file, tiny_tokenizer, tmp_path):
    pack([sample_file], tiny_tokenizer, tmp_path / "out")
    bad = tmp_path / "bad.jsonl"
    bad.write_text("{")
    with pytest.raises(CorpusError):
        pack([sample_file, bad], tiny_tokenizer, tmp_path / "out")
    assert len(PackedCorpus(tmp_path / "out")) > 0


def test_a_new_pack_replaces_the_old_one(
    sample_file, tiny_tokenizer, tmp_path, write_dialogues, numbered
):
    pack([sample_file], tiny_tokenizer, tmp_path / "out")
    pack([write_dialogues("a", numbered(0, 5))], tiny_tokenizer, tmp_path / "out")
    assert PackedCorpus(tmp_path / "out").sources == ("a",)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.jsonl", "out"]


def test_open_licences_leave_out_the_others(tiny_tokenizer, tmp_path, write_dialogues, numbered):
    files = [
        write_dialogues(source, numbered(4 * i, 4))
        for i, source in enumerate(["songys_chatbot", "dailydialog", "never_heard_of"])
    ]
    report = pack(files, tiny_tokenizer, tmp_path / "out", licences="open")
    assert PackedCorpus(tmp_path / "out").sources == ("songys_chatbot",)
    assert report.left_out == {"dailydialog": 4, "never_heard_of": 4}


def test_the_pretext_stage_takes_running_text_and_leaves_out_chat(
    tiny_tokenizer, tmp_path, write_dialogues, numbered
):
    names = ["dailydialog", "changelog", "book_dialogues", "sgd"]
    files = [write_dialogues(name, numbered(4 * i, 4)) for i, name in enumerate(names)]
    report = pack(files, tiny_tokenizer, tmp_path / "out", stage="pretext")
    weights = {name: source.weight for name, source in report.sources.items()}
    assert weights == {"changelog": 1.0, "book_dialogues": 1.0, "sgd": 0.3}
    assert report.left_out == {"dailydialog": 4}


def test_nothing_to_pack_is_said(tiny_tokenizer, tmp_path, write_dialogues):
    with pytest.raises(CorpusError, match="no files"):
        pack([], tiny_tokenizer, tmp_path / "out")
    path = write_dialogues("a", [["alone"]])
    with pytest.raises(CorpusError, match=r"no reply left in a\.jsonl"):
        pack([path], tiny_tokenizer, tmp_path / "out")
    with pytest.raises(CorpusError, match=r"no packed corpus.*chatbot train pack"):
        PackedCorpus(tmp_path / "out")
