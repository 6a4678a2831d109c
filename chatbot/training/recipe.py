"""What decides a run: a recipe, as its JSON file is read and checked."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from chatbot.errors import TrainingError
from chatbot.meena import MeenaConfig
from chatbot.prompt import MAX_TOKENS, MAX_TURNS

SHAPE_KEYS = frozenset(
    name for name in MeenaConfig.__annotations__ if not name.endswith("token_id")
)
"""What a recipe says of the model; the ids are those of every tokenizer of this project."""


class Stage(BaseModel):
    """Steps over one packed corpus with one context window."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    corpus: str = Field(description="folder written by `chatbot train pack`")
    steps: int = Field(gt=0)
    max_turns: int = Field(MAX_TURNS, ge=1, le=MAX_TURNS)
    max_tokens: int = Field(MAX_TOKENS, ge=8, le=MAX_TOKENS)
    infill: float = Field(0.0, ge=0, le=1, description="share of span-infilling examples")
    drop_context: float = Field(0.0, ge=0, le=1, description="share of examples without context")
    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {}, description="of sources, in place of those in the corpus: a last stage may be choosier"
    )


class Recipe(BaseModel):
    """Everything that decides a run; the same recipe gives the same weights on the same device."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape: dict[str, Any] = Field(description="arguments of MeenaConfig")
    stages: list[Stage] = Field(min_length=1)
    valid: str = Field(description="packed validation corpus")
    seed: int = Field(1, ge=0)
    tokens_per_batch: int = Field(8192, ge=2 * MAX_TOKENS, description="rows x (context + reply)")
    accumulate: int = Field(1, ge=1, description="batches per optimizer step")
    average_every: int = Field(
        1,
        ge=1,
        description="steps between meetings of several processes: 1 averages the gradients of "
        "each step, more lets each go alone and averages weights (local SGD, Stich 2019)",
    )
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: float = Field(2e-3, gt=0, description="peak, of matrices and of the rest")
    weight_decay: float = Field(0.05, ge=0)
    warmup: int = Field(150, ge=1, description="steps of linear warm-up")
    decay: float = Field(0.4, ge=0, le=1, description="last share of the run, linear to zero")
    clip: float = Field(1.0, gt=0, description="largest gradient norm")
    init_from: str | None = Field(None, description="folder of a model to start from")
    eval_every: int = Field(250, ge=1)
    eval_batches: int = Field(40, ge=1)
    checkpoint_every: int = Field(100, ge=1)
    log_every: int = Field(10, ge=1)
    precision: Literal["bf16", "no"] = "bf16"

    @field_validator("shape")
    @classmethod
    def _knows_shape(cls, shape: dict[str, Any]) -> dict[str, Any]:
        # The configuration itself takes any key, and a misspelt width is the published 2,560.
        if unknown := shape.keys() - SHAPE_KEYS:
            raise ValueError(
                f"unknown: {', '.join(sorted(unknown))}; known: {', '.join(sorted(SHAPE_KEYS))}"
            )
        return shape

    @model_validator(mode="after")
    def _looks_up_when_met(self) -> "Recipe":
        for name in ("eval_every", "checkpoint_every"):
            if getattr(self, name) % self.average_every:
                raise ValueError(
                    f"{name} must be a multiple of average_every ({self.average_every}): only "
                    "then do all processes have the same weights"
                )
        if self.total_steps % self.average_every:
            raise ValueError(
                f"the steps of all stages ({self.total_steps}) must be a multiple of "
                f"average_every ({self.average_every}), so that the last one is a meeting"
            )
        return self

    @property
    def total_steps(self) -> int:
        return sum(stage.steps for stage in self.stages)

    def rate(self, step: int) -> float:
        """Learning rate of step `step` (from 0): warm-up, constant, linear decay to zero."""
        warm = min(1.0, (step + 1) / self.warmup)
        left = (self.total_steps - step) / max(1.0, self.decay * self.total_steps)
        return self.learning_rate * warm * min(1.0, left)


def read_recipe(path: str | Path) -> Recipe:
    """The recipe in a JSON file.

    Raises:
        TrainingError: no such file, or a field is wrong; the message names it.
    """
    path = Path(path)
    try:
        return Recipe.model_validate_json(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"cannot read the recipe {path}: {error.strerror}") from error
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()
        )
        raise TrainingError(f"{path} is no recipe: {problems}") from error
