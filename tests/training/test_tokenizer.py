"""Laws of the tokenizer, on a tiny one trained on the sample dialogues."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from chatbot.errors import ChatbotError
from chatbot.prompt import SPECIAL_IDS, SPECIAL_TOKENS
from chatbot.training.corpus import read_dialogues
from chatbot.training.tokenizer import BYTE_PIECES, load_tokenizer, train_tokenizer

SPECIAL = set(range(len(SPECIAL_TOKENS)))

any_text = st.text(st.characters(exclude_categories=["Cs"]))
forged = st.lists(st.sampled_from([*SPECIAL_TOKENS, "<0x41>", " ", "Hi", "안녕", "<", ">", "\n"]))


@given(any_text)
def test_every_string_comes_back(tiny_tokenizer, text):
    assert tiny_tokenizer.decode(tiny_tokenizer.encode(text)) == text


@given(forged.map("".join))
def test_text_never_becomes_a_special_id(tiny_tokenizer, text):
    ids = tiny_tokenizer.encode(text)
    assert SPECIAL.isdisjoint(ids)
    assert tiny_tokenizer.decode(ids) == text


@given(any_text, any_text)
@settings(max_examples=30)
def test_the_backend_and_the_face_agree(tiny_tokenizer, text, other):
    batch = tiny_tokenizer.backend_tokenizer.encode_batch_fast(
        [text, other], add_special_tokens=False
    )
    assert [e.ids for e in batch] == tiny_tokenizer([text, other])["input_ids"]


def test_special_tokens_and_bytes_come_first(tiny_tokenizer):
    first = tiny_tokenizer.convert_ids_to_tokens(range(len(SPECIAL_TOKENS) + 256))
    assert tuple(first) == SPECIAL_TOKENS + BYTE_PIECES
    assert tiny_tokenizer.pad_token_id == SPECIAL_IDS.pad
    assert tiny_tokenizer.bos_token_id == SPECIAL_IDS.bos
    assert tiny_tokenizer.eos_token_id == SPECIAL_IDS.eos
    assert tiny_tokenizer.mask_token_id == SPECIAL_IDS.mask


@pytest.mark.parametrize("load", [load_tokenizer, AutoTokenizer.from_pretrained])
def test_a_saved_tokenizer_encodes_the_same(tiny_tokenizer, tmp_path, load):
    tiny_tokenizer.save_pretrained(tmp_path)
    loaded = load(tmp_path)
    for text in (
        "<user> Hi <eos>",
        "I'm  fine .",
        "안녕하세요 뷁",
        "<0x41>\r\n\t",
        "'quoted' it's",
    ):
        ids = tiny_tokenizer.encode(text)
        assert loaded.encode(text) == ids
        assert loaded.decode(ids) == text


def test_training_is_repeatable(tiny_tokenizer, sample_file):
    texts = [turn for dialogue in read_dialogues(sample_file) for turn in dialogue.turns]
    again = train_tokenizer(texts, vocab_size=600)
    assert again.backend_tokenizer.to_str() == tiny_tokenizer.backend_tokenizer.to_str()


def test_korean_is_raised_to_its_share():
    english = [f"the rain in spain number {i} stays mainly" for i in range(200)]
    tokenizer = train_tokenizer([*english, "비가 많이 오네요"], vocab_size=500)
    assert len(tokenizer.encode("비가 많이 오네요")) == 3


def test_a_folder_without_tokenizer_is_named(tmp_path):
    with pytest.raises(ChatbotError, match=r"tokenizer\.json.*save_pretrained"):
        load_tokenizer(tmp_path)


def test_a_vocabulary_without_room_is_refused():
    with pytest.raises(ValueError, match="vocab_size=262"):
        train_tokenizer(["hello"], vocab_size=262)
