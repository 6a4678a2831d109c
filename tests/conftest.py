"""What every test is held to: no network, and a reason where a GPU is missing."""

import os
import socket

import pytest

# Read when the libraries are imported, so it stands above everything that imports them.
os.environ["HF_HUB_OFFLINE"] = "1"


def pytest_collection_modifyitems(items):
    """Skips `gpu` tests where there is none."""
    wanting = [item for item in items if item.get_closest_marker("gpu")]
    if not wanting:
        return
    import torch

    if not torch.cuda.is_available():
        for item in wanting:
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture(autouse=True)
def _no_network(request, monkeypatch):
    """Refuses connections to other machines, whichever library asks for them."""
    if request.node.get_closest_marker("network"):
        return
    connect = socket.socket.connect

    def guarded(self, address):
        if self.family == socket.AF_UNIX or address[0] in ("127.0.0.1", "::1", "localhost"):
            return connect(self, address)
        raise RuntimeError(f"a test without the marker `network` connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", guarded)
