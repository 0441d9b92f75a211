"""The HTML pages of a report, and the files that they need."""

import json
import shutil
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from conceptprobe.concepts.scoring.verdicts import EXAMPLE_TITLES
from conceptprobe.report.output_folder import MARKER
from conceptprobe.report.scripts import Json

SCHEMA = 2
STATIC = Path(__file__).parent / "static"
PAGES = {
    "overview": ("index.html", "Overview"),
    "explorer": ("explorer.html", "Features"),
    "feature": ("feature.html", ""),
    "concept": ("concept.html", "Concepts"),
    "compare": ("compare.html", "Compare"),
    "probes": ("probes.html", "Probes"),
}
"""The file and the name of each page; a page without a name is left out of the list of pages."""


def write_pages(folder: Path, report: Json) -> None:
    """Write the pages that a report has data for, with styles and scripts. The pages read the data themselves."""
    shutil.copytree(STATIC, folder / "static")
    has = report["has"]
    needed = {"concept": has["concepts"], "compare": has["contrast"], "probes": has["probes"]}
    needed |= dict.fromkeys(("explorer", "feature"), bool(report["models"]))
    pages = {page: names for page, names in PAGES.items() if needed.get(page, True)}
    environment = make_environment()
    nav = [names for names in pages.values() if names[1]]
    for page, (file, _) in pages.items():
        template = environment.get_template(f"{page}.html")
        html = template.render(
            title=report["title"], page=page, file=file, nav=nav, has=has, models=report["models"],
            examples=EXAMPLE_TITLES,
        )  # fmt: skip
        (folder / file).write_text(html, encoding="utf-8", errors="replace")
    marker = {"schema": SCHEMA, "title": report["title"], "models": [model["label"] for model in report["models"]]}
    (folder / MARKER).write_text(json.dumps(marker, indent=2) + "\n", encoding="utf-8")


def make_environment() -> Environment:
    """The environment of the templates: values are escaped, and a missing value is an error."""
    return Environment(
        loader=PackageLoader("conceptprobe.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
