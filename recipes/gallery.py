"""The galleries of docs/: 32 visualizations, each beside its feature's top natural images.

    python benchmarks/visualization_natural.py mini && python recipes/gallery.py mini        # docs/gallery-mini.webp
    python benchmarks/visualization_natural.py dinov2 && python recipes/gallery.py dinov2    # docs/gallery-dinov2.webp

The gallery takes every second image that the benchmark made. The benchmark draws its features at random, so no image
is selected by how it looks.
"""

import argparse
from pathlib import Path

from conceptprobe.indexing import open_index
from conceptprobe.visualization.results.contact_sheet import draw_contact_sheet
from conceptprobe.visualization.results.visualizations import load_visualizations

ROOT = Path(__file__).parent.parent
INDICES = {"mini": "mini-clip", "dinov2": "dinov2-emoji"}
COUNT, TOPS, COLUMNS, TILE = 32, 9, 4, 144
QUALITY = 80


def main() -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=INDICES)
    case = parser.parse_args().case
    made = load_visualizations(ROOT / "visualizations" / case)[::2][:COUNT]
    sheet = draw_contact_sheet(
        made.images_nhwc,
        made.records,
        open_index(ROOT / "indices" / INDICES[case]),
        tops=TOPS,
        columns=COLUMNS,
        tile=TILE,
    )
    path = ROOT / "docs" / f"gallery-{case}.webp"
    sheet.save(path, quality=QUALITY, method=6)
    print(f"{path}: {len(made)} images, {sheet.width} x {sheet.height}, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
