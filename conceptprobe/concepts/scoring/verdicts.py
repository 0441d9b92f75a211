"""The verdicts: their names, their order, and what each says of a feature; for tables, charts and reports."""

from enum import StrEnum
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import pandas as pd


class Verdict(StrEnum):
    """What the evidence says of a feature, in the order in which tables and charts show it.

    The colour of a verdict in a report is the CSS variable `--verdict-<name>`.

    Attributes:
        glyph: The character that stands before the name.
        marker: The shape of its points in charts, by the names of Observable Plot.
        explanation: What it says of a feature, in words that follow the name and a colon.
    """

    glyph: str
    marker: str
    explanation: str

    OBJECT = "object", "■", "square", "its top images share one object: a class, or a part of one"
    CONCEPTUAL = "conceptual", "◆", "diamond", "its top images share a broader concept, spread over its objects"
    POLYSEMANTIC = (
        "polysemantic", "◐", "triangle", "its top images share a concept, and the others share another, unrelated one",
    )  # fmt: skip
    UNRESOLVED = "unresolved", "○", "circle", "none of the other verdicts can be said; the reason is given"
    DEAD = "dead", "×", "cross", "its activation hardly varies between images"
    UNTESTED = "untested", "·", "asterisk", "it has no verdict, or its list could not be tested"

    def __new__(cls, name: str, glyph: str, marker: str, explanation: str) -> Self:
        """Make a member that equals its name."""
        verdict = str.__new__(cls, name)
        verdict._value_ = name
        verdict.glyph, verdict.marker, verdict.explanation = glyph, marker, explanation
        return verdict


VERDICTS = tuple(Verdict)
ONE_CONCEPT = (Verdict.OBJECT, Verdict.CONCEPTUAL)
"""Verdicts that name a single concept; only features of these have an abstraction that can be compared."""
POSITIVE = (*ONE_CONCEPT, Verdict.POLYSEMANTIC)
"""Verdicts that name a concept: the discoveries, whose false share q limits."""
TESTED = (*POSITIVE, Verdict.UNRESOLVED)
"""Verdicts of features that were tested; their shares are of the tested features, those of the others of all."""
EXAMPLE_TITLES = {Verdict.CONCEPTUAL: "Most conceptual", Verdict.OBJECT: "Most object-like"}
"""Verdicts of which summaries show examples, and the headings of these."""


def counted_verdicts(scores: "pd.DataFrame") -> "pd.Series":
    """The verdict that each feature counts for: `untested` where its list could not be tested.

    Args:
        scores: Rows of `FeatureScores.frame`, whose verdict for such a feature is `unresolved`.
    """
    return scores["verdict"].where(scores["tested"] | scores["dead"], Verdict.UNTESTED.value)
