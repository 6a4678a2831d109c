"""Names of devices and number types, as a person gives them, and what this machine has of them."""

import torch

from chatbot.errors import ModelError


def find_device(name: str) -> torch.device:
    """The device of a name; "auto" is a GPU if there is one.

    Raises:
        ModelError: there is no such device.
    """
    n_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    has_mps = torch.backends.mps.is_available()
    if name == "auto":
        return torch.device("cuda" if n_gpus else "mps" if has_mps else "cpu")
    seen = {"cpu": 1, "cuda": n_gpus, "mps": int(has_mps)}
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(f"unknown device {name!r}; give auto, cpu, cuda or mps") from error
    if device.type not in seen:
        raise ModelError(f"a device {name!r} is not used here; give auto, cpu, cuda or mps")
    if (device.index or 0) >= seen[device.type]:
        raise ModelError(
            f"device {name!r} asked for, but torch sees {seen[device.type]} of {device.type!r}; "
            "use another, or cpu"
        )
    return device


def find_dtype(name: str, device: torch.device) -> torch.dtype:
    """The number type of weights; "auto" and "int8" take bfloat16 where it is native, else float32.

    Raises:
        ModelError: there is no such number type, or not on the device.
    """
    known = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
    if name in known:
        return known[name]
    if name == "int8" and device.type != "cpu":
        raise ModelError(f"int8 is for CPUs: with device {device.type!r} give bfloat16, or use cpu")
    if name not in ("auto", "int8"):
        raise ModelError(f"unknown dtype {name!r}; give auto, {', '.join(known)} or int8")
    return torch.bfloat16 if is_bfloat16_native(device.type) else torch.float32


def is_bfloat16_native(kind: str = "cpu") -> bool:
    """Whether a kind of device multiplies bfloat16 itself, in half the time of float32."""
    if kind == "cuda":
        return torch.cuda.is_bf16_supported()
    return kind == "cpu" and torch.cpu._is_avx512_bf16_supported()
