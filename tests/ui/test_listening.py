"""Ports: taken ones are told of in words, and before anything slow is begun."""

import socket

import pytest
from typer.testing import CliRunner

from chatbot.errors import InputError
from ui import commands
from ui.listening import address_of, free_port, listen, port_of


@pytest.fixture
def taken():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_taken_port_is_told_with_what_to_do(taken):
    with pytest.raises(InputError, match=f"port {taken} .* another --port"):
        listen("127.0.0.1", taken)


def test_port_0_is_a_free_one_that_can_be_taken_afterwards():
    port = free_port("127.0.0.1", 0)
    with listen("127.0.0.1", port) as listener:
        assert port_of(listener) == port > 0


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:80"),
        ("0.0.0.0", "http://127.0.0.1:80"),
        ("::", "http://[::1]:80"),
        ("::1", "http://[::1]:80"),
        ("my.machine", "http://my.machine:80"),
    ],
)
def test_the_address_is_one_that_a_browser_can_open(host, address):
    assert address_of(host, 80) == address


def test_the_page_tells_of_a_taken_port_before_it_starts(taken):
    result = CliRunner().invoke(commands.app, ["--port", str(taken), "--data", ":memory:"])
    assert isinstance(result.exception, InputError)
    assert "cannot be listened at" in str(result.exception)
    assert "Starting" not in result.output
