import pandas as pd
import pytest

from conceptprobe.concepts.scoring.verdicts import (
    EXAMPLE_TITLES,
    ONE_CONCEPT,
    POSITIVE,
    TESTED,
    VERDICTS,
    Verdict,
    counted_verdicts,
)


def test_a_verdict_is_its_name() -> None:
    assert VERDICTS == ("object", "conceptual", "polysemantic", "unresolved", "dead", "untested")
    assert Verdict("dead") is Verdict.DEAD
    assert f"{Verdict.OBJECT}, {Verdict.OBJECT.glyph}" == "object, ■"
    assert len({verdict.glyph for verdict in VERDICTS}) == len({verdict.marker for verdict in VERDICTS}) == 6
    with pytest.raises(ValueError, match="visual"):
        Verdict("visual")


def test_groups_are_in_the_order_of_the_verdicts() -> None:
    assert VERDICTS[:2] == ONE_CONCEPT
    assert VERDICTS[:3] == POSITIVE
    assert VERDICTS[:4] == TESTED
    assert set(EXAMPLE_TITLES) == set(ONE_CONCEPT)


def test_features_whose_lists_could_not_be_tested_count_as_untested() -> None:
    scores = pd.DataFrame(
        {
            "verdict": ["object", "unresolved", "unresolved", "dead"],
            "tested": [True, True, False, False],
            "dead": [False, False, False, True],
        }
    )
    assert counted_verdicts(scores).tolist() == ["object", "unresolved", "untested", "dead"]
