"""Learned heads on states of a frozen decoder: what a reply will show, and what brings it.

A family has K labels of one kind (joy, anger, ..., neutral) and, for the generator it was trained
on, two things:

- *Look-ahead*: the label of the whole reply, predicted from the state before each piece,
  softmax(C h + c). Its gradient has a closed form, C'(y - pi).
- *Shift*: how to move the final hidden state so that the next piece is what replies of a label
  would go on with,

      p_k(v | h) ~ softmax(W (h + P_k Q_k h + b_k) + d_k)[v],

  trained by maximum likelihood on replies of each label, with one more shift for all labels
  together, which takes up what is common to the training texts and is thrown away. The map is of
  low rank. LM-Steer (Han et al. 2024, arXiv 2305.12798) moves output embeddings by a linear map;
  this one moves the state, and is taken relative to the reference label, so that strength is the
  log-odds by which whole replies of the label gain on plain ones (GeDi, Krause et al. 2021, gets
  them from a second model).

Knows no text and no generator but the digest of its weights.

Shapes: `B` rows, `H` hidden size, `K` labels, `R` rank, `V` pieces.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from attribute_models.base import AttributeModelError, AttributeSpec

WEIGHTS, CARD = "heads.safetensors", "heads.json"

SHIPPED = Path(__file__).with_name("pretrained")


def shipped_cards() -> list[dict[str, Any]]:
    """What is told of the shipped families, for the generator they were trained on."""
    return [
        json.loads(file.read_text(encoding="utf-8")) for file in sorted(SHIPPED.glob(f"*/{CARD}"))
    ]


@dataclass(frozen=True, slots=True)
class Push:
    """What a strength of one label does, measured on plain conversations when it was trained.

    Attributes:
        pushes: multiples of the shift, from 0 up.
        readings: mean probability of the label in all candidates drawn with them, by the reader.
        perplexities: of these candidates under the untouched generator, as multiples of unsteered.
        full: the push of strength 1.
    """

    pushes: tuple[float, ...]
    readings: tuple[float, ...]
    perplexities: tuple[float, ...]
    full: float

    def of(self, strength: float) -> float:
        """The push that brings this share of the full effect, by interpolation."""
        if strength <= 0:
            return strength * self.full
        least, most = self.readings[0], self._reading(self.full)
        wanted = least + strength * (most - least)
        points = zip(self.pushes, self.readings, strict=True)
        for (push, reading), (push_next, reading_next) in pairwise(points):
            if reading_next >= wanted > reading:
                share = (wanted - reading) / (reading_next - reading)
                return min(self.full, push + share * (push_next - push))
        return strength * self.full

    def strength_of(self, reading: float) -> float:
        """The strength, 0 to 1, whose mean effect is this reading of a reply."""
        least, most = self.readings[0], self._reading(self.full)
        return min(1.0, max(0.0, (reading - least) / max(1e-6, most - least)))

    def _reading(self, push: float) -> float:
        nearest = min(range(len(self.pushes)), key=lambda at: abs(self.pushes[at] - push))
        return self.readings[nearest]


class Heads:
    """The heads of one family, fitted to one generator; read-only and safe to share by threads.

    Attributes:
        family: its name.
        labels: K names; `reference` is the one that shifts are relative to.
        backbone: digest of the generator's weights.
        digest: of these weights.
        card: what was measured when they were trained.
        calibration: of the labels that were calibrated.
    """

    def __init__(
        self,
        tensors: Mapping[str, Tensor],
        *,
        family: str,
        labels: Sequence[str],
        reference: str,
        language: str,
        backbone: str,
        card: Mapping[str, Any] | None = None,
        calibration: Mapping[str, Push] | None = None,
    ):
        self.tensors = {name: value.float().contiguous() for name, value in tensors.items()}
        self.family, self.labels, self.reference = family, tuple(labels), reference
        self.language, self.backbone = language, backbone
        self.card = dict(card or {})
        self.calibration = dict(calibration or {})
        self.digest = _digest(self.tensors)

    @classmethod
    def load(
        cls, folder: str | Path, *, backbone: str, device: torch.device | str = "cpu"
    ) -> "Heads":
        """The heads of a folder, for the generator with the digest `backbone`.

        Raises:
            AttributeModelError: the folder holds no heads, or heads for another generator.
        """
        folder = Path(folder)
        try:
            told = json.loads((folder / CARD).read_text(encoding="utf-8"))
            with safe_open(folder / WEIGHTS, framework="pt") as file:
                tensors = {name: file.get_tensor(name).to(device) for name in file.keys()}  # noqa: SIM118  # no mapping
            heads = cls(
                tensors, family=told["family"], labels=told["labels"],
                reference=told["reference"], language=told["language"], backbone=told["backbone"],
                card=told["card"],
                calibration={name: _push(told) for name, told in told["calibration"].items()},
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
            raise AttributeModelError(
                f"{folder} holds no heads that can be read ({error}); train them with "
                "`chatbot attributes train`"
            ) from error
        if heads.backbone != backbone:
            raise AttributeModelError(
                f"the heads {heads.family} were trained for the generator {heads.backbone[:12]}, "
                f"this one is {backbone[:12]}; train them for it with "
                "`chatbot attributes train --all --model FOLDER --data FOLDER`"
            )
        return heads

    def save(self, folder: str | Path) -> None:
        """Writes weights, in half precision, and card."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        halves = {name: value.half().cpu() for name, value in self.tensors.items()}
        save_file(halves, folder / WEIGHTS)
        told = {
            "family": self.family,
            "labels": list(self.labels),
            "reference": self.reference,
            "language": self.language,
            "backbone": self.backbone,
            "calibration": {
                name: {
                    "pushes": push.pushes,
                    "readings": push.readings,
                    "perplexities": push.perplexities,
                    "full": push.full,
                }
                for name, push in self.calibration.items()
            },
            "card": self.card,
        }
        (folder / CARD).write_text(
            json.dumps(told, indent=1, ensure_ascii=False) + "\n", encoding="utf-8"
        )

    def look_ahead(self, hidden: Tensor) -> Tensor:
        """Log-probabilities (B, K) of the whole reply's label, from states (B, H)."""
        return (hidden.float() @ self.tensors["ahead"].T + self.tensors["ahead_bias"]).log_softmax(
            -1
        )

    def shift(
        self, hidden: Tensor, pushes: Tensor, output: Tensor, columns: Tensor | None = None
    ) -> Tensor:
        """What to add to the logits of all pieces (B, V), or of `columns` only.

        Args:
            hidden: (B, H).
            pushes: (B, K), how far each row goes from the reference towards each label.
            output: (V, H) output embedding, in any number type.
            columns: ids of the pieces that are asked for.
        """
        down, up = self.tensors["down"], self.tensors["up"]  # (K, R, H), (K, H, R)
        bias, pieces = self.tensors["bias"], self.tensors["pieces"]  # (K, H), (K, V)
        at = self.labels.index(self.reference)
        weights = pushes.clone()
        weights[:, at] -= pushes.sum(1)  # relative to the reference
        used = weights.abs().amax(0).nonzero().squeeze(1).tolist()
        x = hidden.float()
        move = torch.zeros_like(x)
        for label in used:
            moved = (x @ down[label].T) @ up[label].T + bias[label]
            move = move + weights[:, label, None] * moved
        pieces = pieces[used]
        if columns is not None:
            output, pieces = output[columns], pieces[:, columns]
        return (move.to(output.dtype) @ output.T).float() + weights[:, used] @ pieces

    def head(self, label: str) -> "Head":
        """The label as an attribute model."""
        return Head(self, label)


class Head:
    """One label of a family as an `AttributeModel`: its look-ahead."""

    def __init__(self, heads: Heads, label: str):
        self._heads, self._at = heads, heads.labels.index(label)
        self.spec = AttributeSpec(
            label, "en" if heads.language == "en" else None, "head", heads.digest
        )

    def score(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        """Log-likelihood (B,) of `wanted` under the look-ahead."""
        log_p = self._heads.look_ahead(hidden)[:, self._at]
        return wanted * log_p + (1 - wanted) * torch.log1p(-log_p.exp().clamp_max(1 - 1e-6))

    def gradient(self, hidden: Tensor, wanted: Tensor) -> Tensor:
        """Of `score`, in closed form: C'(y - pi), y being one-hot, for wanted = 1."""
        pi = self._heads.look_ahead(hidden).exp()  # (B, K)
        ahead = self._heads.tensors["ahead"]
        p = pi[:, self._at]
        slope = p[:, None] * (ahead[self._at] - pi @ ahead)  # of p
        return ((wanted - p) / (p * (1 - p)).clamp_min(1e-6))[:, None] * slope


def _push(told: Mapping[str, Any]) -> Push:
    return Push(
        tuple(told["pushes"]), tuple(told["readings"]), tuple(told["perplexities"]), told["full"]
    )


def _digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of the weights as they are stored."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].half().cpu().numpy().tobytes())
    return digest.hexdigest()
