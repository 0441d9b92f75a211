"""The settings of a report."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic.dataclasses import dataclass

from conceptprobe.report.errors import ReportError
from conceptprobe.validation import CONFIG, make_settings

TITLE = "What each feature responds to"


@dataclass(frozen=True, config=CONFIG)
class ReportSettings:
    """How a report is written, whatever it shows.

    Attributes:
        maps: Whether the models run over the top images once more, for activation maps.
        images: `thumbs` for small tiles only; `copy` or `link` for the whole top images, too.
        title: The heading of the report.
        progress: Whether bars are shown on stderr.
    """

    maps: bool = False
    images: Literal["thumbs", "copy", "link"] = "thumbs"
    title: str = TITLE
    progress: bool = False


def report_settings(values: Mapping[str, Any]) -> ReportSettings:
    """Check the settings of a report.

    Raises:
        ReportError: A setting has a value that is not allowed.
    """
    return make_settings(ReportSettings, values, what="a report", error=ReportError)
