"""SSA that papers report, to stand beside our numbers: human judgements, not automatic scores."""

from dataclasses import dataclass

CAUTION = (
    "Published figures are majorities of five crowd workers' yes or no. Automatic scores are "
    "another scale: their means are not comparable with these, nor with those of another scorer. "
    "Only the rows `people` and `combined` estimate the published quantity, as well as the raters "
    "follow the published questions, and on these contexts, not those of the papers."
)


@dataclass(frozen=True, slots=True)
class Published:
    """A published figure in per cent; None where the paper gives none in its text."""

    system: str
    setting: str
    ssa: float
    sensible: float | None = None
    specific: float | None = None


# Adiwardana et al. (2020), arXiv 2001.09977; Mitsuku, DialoGPT and XiaoIce interactive as told in
# Google's announcement of it.
PUBLISHED = (
    Published("Human", "interactive", 86, sensible=97),
    Published("Meena (full)", "interactive", 79),
    Published("Meena (base)", "interactive", 72),
    Published("Mitsuku", "interactive", 56),
    Published("Cleverbot", "interactive", 56),
    Published("DialoGPT 762M", "interactive", 48),
    Published("XiaoIce", "interactive", 31),
    Published("DialoGPT 762M", "static", 51, sensible=62, specific=39),
    Published("GenericBot", "static", 35, sensible=70, specific=0),
)
