"""Put a report together: `write_report`."""

import json
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jinja2 import Environment, PackageLoader, StrictUndefined

from conceptprobe.errors import ConceptProbeError
from conceptprobe.report.gallery import TOP_IMAGES, collect_gallery
from conceptprobe.report.pages import (
    SHOWN_STACKS,
    column_keys,
    make_layer_pages,
    make_layer_rows,
    make_run_summaries,
    pick_examples,
)
from conceptprobe.report.scripts import gallery_data, layer_data, shorten, write_script
from conceptprobe.report.thumbnails import write_thumbnails

if TYPE_CHECKING:
    from conceptprobe.indexing import Index

MARKER = "conceptprobe-report.json"
SCHEMA = 1
STATIC = Path(__file__).parent / "static"


class ReportError(ConceptProbeError):
    """A report cannot be written as asked."""


def write_report(
    out: Path | str,
    indices: Sequence["Index"],
    *,
    features_per_layer: int | None = None,
    title: str = "What each feature responds to",
    progress: bool = False,
) -> Path:
    """Write a static report of one or several indices, side by side.

    The folder appears whole or not at all: it is written beside `out` and renamed at the end. An earlier report at
    `out` is replaced.

    Args:
        out: The folder to write.
        indices: Indices of different models, usually with the same layers over the same images.
        features_per_layer: Only the first so many features of each layer; all by default.
        title: Heading of the report.
        progress: Show a bar on stderr.

    Returns:
        The path of its `index.html`.

    Raises:
        ReportError: No index was given, `features_per_layer` is not positive, or `out` exists and is not a report.
    """
    out = Path(out)
    if not indices:
        raise ReportError("a report needs at least one index: conceptprobe report INDEX... --out DIR")
    if features_per_layer is not None and features_per_layer < 1:
        raise ReportError(f"features_per_layer is {features_per_layer}: give 1 or more, or leave it out for all")
    refuse_foreign_folder(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.partial-", dir=out.resolve().parent))
    try:
        write_contents(partial, indices, features_per_layer, title, progress)
        partial.chmod(0o755)
        replace_folder(partial, out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return out / "index.html"


def refuse_foreign_folder(out: Path) -> None:
    """Raise unless `out` is free, empty or a report."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise ReportError(f"{out} exists and is not a folder: choose another --out")
    if out.is_dir() and any(out.iterdir()) and not (out / MARKER).is_file():
        raise ReportError(f"{out} exists and is not a report of conceptprobe: choose another folder, or remove it")


def replace_folder(partial: Path, out: Path) -> None:
    """Rename `partial` to `out`; what was there before goes away only after the new report is in place."""
    if not out.exists():
        partial.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.old-", dir=partial.parent))
    out.rename(old / out.name)
    partial.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def write_contents(
    folder: Path, indices: Sequence["Index"], features_per_layer: int | None, title: str, progress: bool
) -> None:
    gallery = collect_gallery(indices, features_per_layer)
    pages = make_layer_pages(indices, gallery, features_per_layer)
    missing = write_thumbnails(gallery, folder, progress)
    shutil.copytree(STATIC, folder / "static")
    write_script(folder / "data" / "images.js", "images", gallery_data(gallery, missing))
    for page in pages:
        write_script(folder / "data" / f"{page.file}.js", "layer", layer_data(page))

    examples = pick_examples(pages)
    if examples:
        write_script(folder / "data" / "examples.js", "examples", layer_data(examples))

    environment = make_environment()
    common = {
        "title": title,
        "pages": pages,
        "keys": column_keys(indices),
        "grouped": any("label" in index.images for index in indices),
        "tagged": any("tags" in index.images for index in indices),
        "same_images": len(gallery.sources) == 1,
        "features_per_layer": features_per_layer,
        "top_images": min(TOP_IMAGES, max(index.manifest.k for index in indices)),
        "shown_stacks": SHOWN_STACKS,
    }
    runs = make_run_summaries(indices)
    rows = make_layer_rows(indices)
    overview = environment.get_template("overview.html").render(
        common, runs=runs, rows=rows, missing=missing, examples=examples, root=""
    )
    write_html(folder / "index.html", overview)
    (folder / "layers").mkdir()
    for page in pages:
        html = environment.get_template("layer.html").render(common, page=page, root="../")
        write_html(folder / "layers" / f"{page.file}.html", html)
    marker = {"schema": SCHEMA, "title": title, "models": [run.model for run in runs]}
    (folder / MARKER).write_text(json.dumps(marker, indent=2) + "\n")


def make_environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("conceptprobe.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.filters["line"] = shorten
    environment.filters["percent"] = lambda share: f"{100 * share:.3g} %"
    return environment


def write_html(path: Path, html: str) -> None:
    path.write_text(html, encoding="utf-8", errors="replace")
