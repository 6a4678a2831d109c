"""Laws of text encoders by name: every family pooled rightly, and what is none refused."""

import functools
import importlib
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from chatbot.embedding import MAX_REMEMBERED, Embedder, minilm_folder
from chatbot.encoders import PooledEncoder, pooled
from chatbot.errors import ModelError

LONG = "the cat sat on a mat and i like tea with milk but not rain"
TEXTS = ["hello", "how are you today", LONG, "", "rain rain rain", "i like the cat"]
WORDS = sorted({word for text in TEXTS for word in text.split()})
POSITIONS = 24

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
FAMILIES = {
    "Bert": SIZES | {"intermediate_size": 32, "max_position_embeddings": POSITIONS},
    "Roberta": SIZES | {"intermediate_size": 32, "max_position_embeddings": POSITIONS + 1},
    "Albert": SIZES
    | {"intermediate_size": 32, "max_position_embeddings": POSITIONS, "embedding_size": 8},
    "XLNet": {"d_model": 16, "n_layer": 2, "n_head": 2, "d_inner": 32},
    "Ernie": SIZES | {"intermediate_size": 32, "max_position_embeddings": POSITIONS},
    "DistilBert": {
        "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32,
        "max_position_embeddings": POSITIONS,
    },
    "Electra": SIZES
    | {"intermediate_size": 32, "max_position_embeddings": POSITIONS, "embedding_size": 8},
    "MPNet": SIZES | {"intermediate_size": 32, "max_position_embeddings": POSITIONS + 2},
}  # fmt: skip


def tokenizer(family):
    """Whole words; the piece that stands for the text comes first, of XLNet last."""
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    if family == "MPNet":  # its padding id is 1, whatever the configuration says
        special[:2] = special[1::-1]
    vocabulary = {word: number for number, word in enumerate([*special, *WORDS])}
    fast = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    fast.pre_tokenizer = pre_tokenizers.Whitespace()
    fast.post_processor = processors.TemplateProcessing(
        single="$A [SEP] [CLS]" if family == "XLNet" else "[CLS] $A [SEP]",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=fast, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]",
        sep_token="[SEP]", mask_token="[MASK]",
        padding_side="left" if family == "XLNet" else "right",
    )  # fmt: skip


def save_tiny(folder, family="Bert", head="Model", **changed):
    """A random model of a family with its tokenizer."""
    torch.manual_seed(0)
    words = tokenizer(family)
    config = getattr(transformers, f"{family}Config")(
        vocab_size=len(words), pad_token_id=words.pad_token_id, **FAMILIES[family] | changed
    )
    model = getattr(transformers, f"{family}{head}")(config)
    with torch.no_grad():  # the usual 0.02 makes all texts alike
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """By family: the folder of a tiny model, made when first asked for."""
    made = {}

    def folder(family):
        if family not in made:
            made[family] = save_tiny(tmp_path_factory.mktemp(family), family)
        return made[family]

    return folder


@pytest.fixture
def bert(folders, tmp_path):
    """A folder of one's own to spoil."""
    return Path(shutil.copytree(folders("Bert"), tmp_path / "bert"))


# -- every family


@pytest.mark.parametrize("pooling", ["mean", "cls", "max"])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_text_has_the_vector_alone_that_it_has_among_others(folders, family, pooling):
    encoder = Embedder.load(folders(family), pooling=pooling, dtype="float32")
    together = encoder.encode(TEXTS)
    assert together.shape == (len(TEXTS), encoder.dimensions) == (len(TEXTS), 16)
    assert together.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1, atol=1e-5)
    again = Embedder.load(folders(family), pooling=pooling, dtype="float32")
    for text, vector in reversed(list(zip(TEXTS, together, strict=True))):
        np.testing.assert_allclose(again.encode([text])[0], vector, atol=2e-5)
    assert len({vector.round(3).tobytes() for vector in together}) == len(TEXTS)


@pytest.mark.parametrize("family", FAMILIES)
def test_pooling_is_that_of_the_states_of_the_text_alone(folders, family):
    model = transformers.AutoModel.from_pretrained(folders(family)).eval()
    words = transformers.AutoTokenizer.from_pretrained(folders(family))
    for text in TEXTS[:3]:
        ids = words(text, return_tensors="pt")["input_ids"]  # (1, T), nothing padded
        with torch.inference_mode():
            states = model(input_ids=ids).last_hidden_state[0]
        expected = {
            "mean": states.mean(0),
            "max": states.amax(0),
            "cls": states[-1 if family == "XLNet" else 0],
        }
        for pooling, vector in expected.items():
            encoder = PooledEncoder(model, words, pooling)
            with torch.inference_mode():
                found = encoder.vectors([LONG, text])[1]  # beside a longer one, so padded
            torch.testing.assert_close(found, vector, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_too_long_is_read_up_to_the_limit_of_the_model(folders, family):
    encoder = Embedder.load(folders(family), dtype="float32")
    read = 512 if family == "XLNet" else POSITIONS
    assert encoder.max_pieces == read
    inside = " ".join(["tea"] * (read - 2))  # beside [CLS] and [SEP]
    one, other = encoder.encode([inside, inside + " rain" * 700])
    np.testing.assert_allclose(one, other, atol=2e-5)
    assert not np.allclose(one, encoder.encode([inside[:-4]])[0], atol=1e-7)


def test_padding_on_either_side_counts_for_nothing():
    states = torch.randn(1, 3, 4)
    none = torch.full((1, 2, 4), 99.0)
    real, filled = torch.ones(1, 3, dtype=torch.bool), torch.zeros(1, 2, dtype=torch.bool)
    for pooling in ("mean", "cls", "max"):
        alone = pooled(states, real, pooling, torch.zeros_like(real))
        right = pooled(
            torch.cat([states, none], 1), torch.cat([real, filled], 1), pooling,
            torch.zeros(1, 5, dtype=torch.bool),
        )  # fmt: skip
        left = pooled(
            torch.cat([none, states], 1), torch.cat([filled, real], 1), pooling,
            torch.zeros(1, 5, dtype=torch.bool),
        )  # fmt: skip
        torch.testing.assert_close(right, alone)
        torch.testing.assert_close(left, alone)


def test_special_pieces_in_what_a_person_writes_are_plain_text(folders):
    encoder = Embedder.load(folders("XLNet"), pooling="cls", dtype="float32")
    words = encoder._model._tokenizer
    ids = words("tea [CLS] milk")["input_ids"]
    assert ids.count(words.cls_token_id) == 1


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_fewer_bits_move_vectors_little(folders, dtype):
    exact = Embedder.load(folders("Bert"), dtype="float32")
    rounded = Embedder.load(folders("Bert"), dtype=dtype)
    assert exact.identity == rounded.identity
    likeness = (exact.encode(TEXTS) * rounded.encode(TEXTS)).sum(1)
    assert 0.995 < likeness.min() < 1


@pytest.mark.parametrize("family", FAMILIES)
def test_weights_kept_in_sixteen_bits_give_what_autocast_gives(folders, family):
    halved = Embedder.load(folders(family), dtype="bfloat16")
    whole = Embedder.load(folders(family), dtype="float32")
    whole._dtype = "bfloat16"  # the same autocast over weights in 32 bits
    np.testing.assert_array_equal(halved.encode(TEXTS), whole.encode(TEXTS))


# -- identity


def test_the_digest_is_of_weights_pooling_and_configuration(folders, bert):
    digest = Embedder.load(bert).identity["digest"]
    assert len(digest) == 64
    assert Embedder.load(folders("Bert")).identity["digest"] == digest
    assert Embedder.load(bert, pooling="mean").identity["digest"] == digest
    assert Embedder.load(bert, pooling="cls").identity["digest"] != digest
    (bert / "README.md").write_text("other words")
    config = json.loads((bert / "config.json").read_text())
    (bert / "config.json").write_text(json.dumps(config | {"transformers_version": "0"}))
    assert Embedder.load(bert).identity["digest"] == digest
    (bert / "config.json").write_text(json.dumps(config | {"layer_norm_eps": 1e-3}))
    assert Embedder.load(bert).identity["digest"] != digest
    other = save_tiny(bert.with_name("other"), num_hidden_layers=1)
    assert Embedder.load(other).identity["digest"] != digest


# -- models of sentence-transformers


def save_sentence_model(folder, body, pooling="cls", **kwargs):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    modules = [Transformer(str(body)), Pooling(16, pooling_mode=pooling)]
    model = SentenceTransformer(modules=modules, device="cpu", **kwargs)
    model.save(str(folder))
    return model


def test_a_sentence_model_gives_the_vectors_of_its_library(folders, tmp_path):
    prompt = {"query": "hello how "}
    theirs = save_sentence_model(
        tmp_path / "st", folders("Bert"), prompts=prompt, default_prompt_name="query"
    )
    ours = Embedder.load(tmp_path / "st", dtype="float32")
    expected = theirs.encode(TEXTS, normalize_embeddings=True, show_progress_bar=False)
    np.testing.assert_allclose(ours.encode(TEXTS), expected, atol=1e-6)
    save_sentence_model(tmp_path / "mean", folders("Bert"), "mean")
    other = Embedder.load(tmp_path / "mean")
    assert other.identity["digest"] != ours.identity["digest"]
    with pytest.raises(ModelError, match="leave pooling out"):
        Embedder.load(tmp_path / "st", pooling="mean")


def test_a_sentence_model_reads_no_more_than_it_has_positions_for(folders, tmp_path):
    save_sentence_model(tmp_path / "st", folders("Roberta"))
    encoder = Embedder.load(tmp_path / "st", dtype="float32")
    assert encoder.max_pieces == POSITIONS
    assert np.isfinite(encoder.encode(["tea " * 100])).all()


def test_the_default_can_be_named_and_fits_what_was_trained_for_it():
    from chatbot.topics import SHIPPED, Probe

    named = Embedder.load(minilm_folder(), korean="student")
    assert named.identity["digest"] == Probe.load(SHIPPED).encoder
    alone = Embedder.load(minilm_folder())
    np.testing.assert_array_equal(alone.encode(["Hello"]), named.encode(["Hello"]))
    assert not np.allclose(alone.encode(["안녕"]), named.encode(["안녕"]), atol=0.1)


# -- what is refused


@pytest.mark.parametrize(
    ("head", "labels"), [("ForSequenceClassification", 1), ("ForSequenceClassification", 3)]
)
def test_a_cross_encoder_is_no_encoder(tmp_path, head, labels):
    save_tiny(tmp_path, head=head, num_labels=labels)
    with pytest.raises(ModelError, match="cross-encoder"):
        Embedder.load(tmp_path)


def test_a_cross_encoder_of_sentence_transformers_is_refused(bert):
    (bert / "config_sentence_transformers.json").write_text('{"model_type": "CrossEncoder"}')
    (bert / "modules.json").write_text("[]")
    with pytest.raises(ModelError, match="CrossEncoder"):
        Embedder.load(bert)


def test_a_model_that_writes_is_no_encoder(bert):
    config = json.loads((bert / "config.json").read_text())
    for change in ({"architectures": ["LlamaForCausalLM"]}, {"is_encoder_decoder": True}):
        (bert / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(ModelError, match=r"[Gg]ive an encoder"):
            Embedder.load(bert)


@pytest.mark.parametrize("kind", ["plain", "sentence model"])
def test_weights_that_would_be_random_are_refused(folders, tmp_path, kind):
    from safetensors.torch import load_file, save_file

    place = tmp_path / "model"
    if kind == "plain":
        shutil.copytree(folders("Bert"), place)
    else:
        save_sentence_model(place, folders("Bert"))
    file = place / "model.safetensors"
    kept = {key: value for key, value in load_file(file).items() if "layer.1" not in key}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(ModelError, match="would be random"):
        Embedder.load(place)


def test_pickled_weights_are_read_only_by_who_asks(bert):
    from safetensors.torch import load_file

    weights = load_file(bert / "model.safetensors")
    expected = Embedder.load(bert, dtype="float32").encode(TEXTS)
    (bert / "model.safetensors").unlink()
    torch.save(weights, bert / "pytorch_model.bin")  # noqa: TID251  # what is to be refused
    with pytest.raises(ModelError, match=r"pytorch_model\.bin.*allow_pickle=True"):
        Embedder.load(bert)
    asked = Embedder.load(bert, allow_pickle=True, dtype="float32")
    np.testing.assert_array_equal(asked.encode(TEXTS), expected)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"pooling": "median"}, "mean, cls, max"),
        ({"dtype": "int3"}, "float32"),
        ({"korean": "other"}, "student or same"),
        ({"korean": "student"}, "leave korean out"),
        ({"device": "abacus"}, "cannot load"),
    ],
)
def test_what_cannot_be_chosen_is_refused_with_what_can(folders, wrong, told):
    with pytest.raises(ModelError, match=told):
        Embedder.load(folders("Bert"), **wrong)


@pytest.mark.parametrize(
    ("wrong", "told"), [("none", "tokenizer"), ("larger", "pieces"), ("unpadded", "padding piece")]
)
def test_a_tokenizer_that_does_not_fit_is_refused(bert, wrong, told):
    words = tokenizer("Bert")
    for file in bert.glob("*token*"):
        file.unlink()
    if wrong == "larger":
        words.add_tokens(["zork"])
    elif wrong == "unpadded":
        words.pad_token = None
    if wrong != "none":
        words.save_pretrained(bert)
    with pytest.raises(ModelError, match=told):
        Embedder.load(bert)


def test_a_download_that_broke_off_is_refused(bert):
    model = transformers.AutoModel.from_pretrained(bert)
    model.save_pretrained(bert, max_shard_size="4KB")
    (bert / "model.safetensors").unlink(missing_ok=True)
    expected = Embedder.load(bert).identity["digest"]
    assert len(expected) == 64
    shards = sorted(bert.glob("model-*.safetensors"))
    assert len(shards) > 1
    shards[0].unlink()
    with pytest.raises(ModelError, match=shards[0].name):
        Embedder.load(bert)


# -- the hub, beside what is in test_hub.py


def test_what_lies_in_the_cache_is_taken_without_asking(monkeypatch, folders, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    place = tmp_path / "models--some--model"
    shutil.copytree(folders("Bert"), place / "snapshots" / "abc")
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text("abc")
    encoder = Embedder.load("some/model")
    assert encoder.identity["name"] == "some/model"
    assert Embedder.load("some/model@main").identity["name"] == "some/model@main"
    assert encoder.identity["digest"] == Embedder.load(folders("Bert")).identity["digest"]
    assert encoder.encode(TEXTS).shape == (len(TEXTS), 16)


# -- memory and threads


def test_what_is_remembered_is_bounded_and_holds_no_batch(folders):
    encoder = Embedder.load(folders("Bert"))
    encoder.encode([f"tea {number}" for number in range(MAX_REMEMBERED + 200)])
    assert len(encoder._remembered) == MAX_REMEMBERED
    assert all(vector.base is None for vector in encoder._remembered.values())
    vectors = encoder.encode(["hello"])
    vectors[:] = 0  # a caller's own copy
    assert encoder.encode(["hello"]).any()


@pytest.mark.parametrize("kind", ["plain", "sentence model"])
def test_threads_share_an_encoder(folders, tmp_path, kind):
    place = folders("Bert")
    if kind != "plain":
        save_sentence_model(tmp_path / "st", place)
        place = tmp_path / "st"
    texts = [f"{word} {other}" for word in WORDS for other in WORDS[:4]]
    expected = Embedder.load(place, dtype="float32").encode(texts)
    shared = Embedder.load(place, dtype="float32")
    failed = []

    def work(start):
        for first in range(start, len(texts), 5):
            rows = [(first + step) % len(texts) for step in range(first % 4 + 1)]
            found = shared.encode([texts[row] for row in rows])
            if not np.allclose(found, expected[rows], atol=2e-5):
                failed.append(rows)

    threads = [threading.Thread(target=work, args=(start,)) for start in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


# -- what is trained on the vectors of an encoder


def run(group, *words):
    from typer.testing import CliRunner

    app = importlib.import_module(f"chatbot.{group}_commands").app
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_a_topic_detector_is_trained_for_an_encoder_and_found_again(home, bert, monkeypatch):
    from chatbot.policy import Policy
    from chatbot.topics import SHIPPED, TopicDetector
    from chatbot.training import topics as training

    encoder = Embedder.load(bert)
    with pytest.raises(ModelError, match="chatbot policy train --encoder bert"):
        TopicDetector.load(embedder=encoder)
    few = training.own_examples()[::12]  # of every topic
    monkeypatch.setattr(training, "own_examples", lambda: few)
    small = functools.partial(training.ProbeSettings, buckets=1 << 10, epochs=1)
    monkeypatch.setattr(training, "ProbeSettings", small)
    run("policy", "train", "--encoder", bert)
    assert list(home.rglob("model.safetensors"))
    detector = TopicDetector.load(embedder=encoder)
    assert 0 <= detector.read(["Who should I vote for?"]).of("politics") <= 1
    Policy.shipped(detector)
    assert "topics" in run("policy", "check", "--encoder", bert, "Who should I vote for?")
    with pytest.raises(ModelError, match="another text encoder"):
        TopicDetector.load(SHIPPED, encoder)


def write_labelled(folder):
    """Replies in both languages, of which those with one word are bad; and ordinary dialogues."""
    lines = {"labelled.jsonl": [], "talk.jsonl": [], "talk.valid.jsonl": []}
    for number in range(48):
        split = "valid" if number % 3 == 0 else "train"
        for word, plain in (("zork", "tea"), ("조르크", "우유")):
            row = {"source": "made", "split": split, "category": "violence"}
            bad, fine = f"{word} {plain} {number}", f"{plain} {plain} {number}"
            lines["labelled.jsonl"] += [row | {"text": bad, "label": "unethical"}]
            lines["labelled.jsonl"] += [row | {"text": fine, "label": "ethical"}]
            name = "talk.valid.jsonl" if split == "valid" else "talk.jsonl"
            lines[name] += [{"turns": [f"{plain} {number}", f"{plain}, {plain} {number}"]}]
    folder.mkdir()
    for name, rows in lines.items():
        text = "\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
        (folder / name).write_text(text + "\n", encoding="utf-8")
    return folder


@pytest.mark.slow
def test_an_ethics_filter_is_trained_for_an_encoder_and_found_again(
    home, bert, monkeypatch, tmp_path
):
    from chatbot.ethics import EthicsFilter, own_filter
    from chatbot.training import ethics as training

    encoder = Embedder.load(bert)
    with pytest.raises(ModelError, match="chatbot ethics train"):
        EthicsFilter.load(embedder=encoder)
    small = functools.partial(
        training.Lesson, buckets=1 << 10, epochs=1, agreements=20, hidden=8, centroids=2
    )
    monkeypatch.setattr(training, "Lesson", small)
    # It learns by changing MiniLM itself, for minutes, whatever the encoder is.
    monkeypatch.setattr(training, "taught_reader", lambda rows, lesson: None, raising=False)
    data, place = write_labelled(tmp_path / "data"), own_filter(encoder.identity["digest"])
    told = run("ethics", "train", "--data", data, "--encoder", bert)
    assert place.is_relative_to(home)
    assert str(place) in told.replace("\n", "")
    ethics = EthicsFilter.load(embedder=encoder)
    risks = [verdict.risk for verdict in ethics.assess(["hello"], ["tea tea", "zork tea"])]
    assert risks[0] < risks[1]
    assert "bert" in run("ethics", "inspect", "--encoder", bert)
    other = Embedder.load(bert, pooling="max")
    with pytest.raises(ModelError, match="another encoder"):
        EthicsFilter.load(place, other)


def test_a_reader_of_learned_heads_fits_its_encoder_only(folders, tmp_path):
    from attribute_models.base import AttributeModelError
    from attribute_models.data import Example, Family
    from attribute_models.readers import Reader
    from chatbot.training.heads import _reader

    examples = [
        Example((), f"{word} {number}", label, number % 4 == 0, "made")
        for label, word in (("joy", "tea"), ("neutral", "rain"))
        for number in range(40)
    ]
    encoder = Embedder.load(folders("Bert"))
    family = Family("own", "en", ("joy", "neutral"), "neutral", sources={})
    _reader(encoder, family, examples).save(tmp_path)
    reader = Reader.load(tmp_path, encoder=encoder.identity["digest"])
    assert reader.read(encoder.encode(["tea"])).shape == (1, 2)
    other = Embedder.load(folders("Bert"), pooling="max").identity["digest"]
    with pytest.raises(AttributeModelError, match="attributes train"):
        Reader.load(tmp_path, encoder=other)


@pytest.mark.slow
def test_heads_are_trained_with_an_encoder_and_read_by_it(home, bert, tiny_model_dir, tmp_path):
    from typer.testing import CliRunner

    from chatbot import Chatbot
    from chatbot.attributes import app

    lines = [
        {"text": text.format(number), "label": label, "context": ["how are you"]}
        for number in range(24)
        for label, text in [("neutral", "rain {}"), ("calm", "tea and milk {}")]
    ]
    file = tmp_path / "mood.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    words = ["train", file, "--model", tiny_model_dir, "--encoder", bert, "--steps", 2]
    words = [str(word) for word in [*words, "--device", "cpu"]]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    bot = Chatbot.load(tiny_model_dir, encoder=bert, device="cpu", guarded=False)
    assert bot.steerer.reader("mood").encoder == Embedder.load(bert).identity["digest"]
    assert bot.steerer.shown("calm", "tea and milk", "en") is not None
    other = Chatbot.load(tiny_model_dir, device="cpu", guarded=False)
    with pytest.raises(ModelError, match=r"attributes train .*--encoder NAME"):
        other.steerer.reader("mood")
