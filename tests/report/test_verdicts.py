"""A report knows the verdicts from one place."""

import re
from pathlib import Path

import numpy as np
import pytest

from conceptprobe.concepts.scoring.verdicts import ONE_CONCEPT, POSITIVE, TESTED, VERDICTS
from conceptprobe.report import write_report
from conceptprobe.report.pages import STATIC


def test_every_page_reads_the_verdicts_with_the_report(make_index, tmp_path, read_data):
    write_report(tmp_path / "report", [make_index(np.random.default_rng(0).normal(size=(18, 3)), k=6)])
    sent = read_data(tmp_path / "report", "report")["verdicts"]
    assert [verdict["name"] for verdict in sent] == list(VERDICTS)
    for group, names in (("positive", POSITIVE), ("one_concept", ONE_CONCEPT), ("tested", TESTED)):
        assert tuple(verdict["name"] for verdict in sent if verdict[group]) == names
    assert [verdict["explanation"] for verdict in sent] == [verdict.explanation for verdict in VERDICTS]


def test_every_verdict_has_a_colour_on_light_and_on_dark_pages():
    css = (STATIC / "report.css").read_text(encoding="utf-8")
    for name in VERDICTS:
        assert len(re.findall(rf"--verdict-{name}: #", css)) == 2
        assert f'[data-verdict="{name}"] {{ --verdict: var(--verdict-{name}); }}' in css


@pytest.mark.parametrize("script", sorted(STATIC.glob("*.js")), ids=lambda path: path.name)
def test_no_script_lists_verdicts_itself(script: Path):
    text = re.sub(r'typeof \w+ === "object"', "", script.read_text(encoding="utf-8"))
    assert not re.findall(rf'"(?:{"|".join(VERDICTS)})"', text)
