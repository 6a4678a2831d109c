"""The page with a real, tiny, random bot behind it, spoken to as a browser does."""

import os
import re
import time
from concurrent.futures import Future

import pytest

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"

import httpx
import torch
from gradio_client import Client

from chatbot import Chatbot
from chatbot.backbone import Backbone
from chatbot.meena import MeenaConfig, MeenaForConditionalGeneration
from chatbot.store import Store
from chatbot.training.tokenizer import train_tokenizer
from ui.app import launch
from ui.handlers import Service
from ui.panel import MOODS, NUMBERS
from ui.turns import Turns

ANN, BOB = ({"id": letter * 43, "conversation_id": None, "language": "en"} for letter in "ab")


@pytest.fixture(scope="module")
def tiny_bot():
    tokenizer = train_tokenizer(["Hello, how are you today?", "안녕하세요."] * 20, vocab_size=400)
    torch.manual_seed(0)
    config = MeenaConfig(vocab_size=len(tokenizer), d_model=16, num_heads=2, decoder_layers=1)
    model = MeenaForConditionalGeneration(config)
    return Chatbot(Backbone(model, tokenizer, name="tiny", digest="0" * 64))


@pytest.fixture(scope="module")
def served(tiny_bot):
    """The address of a running page, with its store."""
    bot = Future()
    bot.set_result(tiny_bot)
    with Store.in_memory() as store:
        demo, url = launch(Service(Turns(bot), store), host="127.0.0.1", port=None)
        yield url, store
        demo.close(verbose=False)


@pytest.fixture
def client(served):
    client = Client(served[0], verbose=False)
    yield client
    client.close()


def test_a_message_is_answered_and_kept(client, served, panel):
    drawn = client.predict(ANN, "Hello!", *panel_values(panel), api_name="/send")
    kept, conversation, _, status = drawn[:4]
    assert kept["id"] == ANN["id"]
    assert "Hello!" in conversation
    assert 'class="problem"' not in status
    user, bot = thread_of(served[1].of(ANN["id"]), kept["conversation_id"], 2)
    assert (user.content, bot.role, bot.parent_id) == ("Hello!", "bot", user.id)
    assert bot.reply["trace"]["model"]["name"] == "tiny"
    assert served[1].of(BOB["id"]).listed() == []


def thread_of(chats, conversation_id, length):
    """The conversation once it is so long: a reply goes on after its message was sent."""
    for _ in range(500):
        thread = chats.thread(conversation_id)
        if len(thread) == length:
            return thread
        time.sleep(0.01)
    raise AssertionError("the reply does not come")


def panel_values(panel):
    """In the order of the page: topics, their strength, moods, numbers, seed."""
    names = ["topics", "topic_strength", *MOODS, "schedule", "rules", "mode", "feedback", "base"]
    names += [*NUMBERS, "seed"]
    return [(panel | {"candidates": 3, "max_new_tokens": 6})[name] for name in names]


@pytest.mark.parametrize("path", ["", "theme.css"])
def test_the_page_asks_nothing_of_other_machines(served, path):
    page = httpx.get(served[0] + path).text
    fetched = re.findall(r"""(?:src=|<link[^>]*href=|url\(|@import)\s*["']?(https?:)?//""", page)
    assert fetched == []
