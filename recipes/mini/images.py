"""Rebuild the mini emoji images from the npm packages of nine art projects.

    python recipes/mini/images.py            # write conceptprobe/mini/data/
    python recipes/mini/images.py --check    # rebuild into a scratch folder, compare byte for byte

Every emoji in the Unicode table of emojibase, without skin tones and components, is looked up in every icon set: by the
set's `chars.json` (code point -> icon name) if it has one, else by the names that the other sets and emojibase use for
the same code point. Needs `npm` and `pip install -r recipes/mini/requirements.txt`;
the versions in that file and below are part of the recipe because they determine the bytes.
"""

import argparse
import base64
import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tempfile
import unicodedata
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import resvg_py
from PIL import Image

SIZE = 64
RENDER = 256  # drawn at four times the size, then reduced: thin strokes keep their weight
WEBP_QUALITY, ALPHA_QUALITY = 50, 30  # tar pads to 512 bytes, so finer drawing costs more than it shows

DATA = Path(__file__).resolve().parents[2] / "conceptprobe" / "mini" / "data"


@dataclass(frozen=True)
class Package:
    """An npm package with its version and hash."""

    name: str
    version: str
    integrity: str  # sha512 as npm publishes it

    @property
    def style(self) -> str:
        """The name of the art style."""
        return self.name.rsplit("/", 1)[-1]


EMOJIBASE = Package(
    "emojibase-data",
    "17.0.0",
    "sha512-Yvgb5AWoHViHV/gq1qr5ZAarcBip+B27/ZLRsUJkbgAEaLlZ/fof9g882LTpmEpyhBNEC0m2SEmItljHsTygjA==",
)
ICON_SETS = (
    Package(
        "@iconify-json/emojione",
        "1.2.3",
        "sha512-T9+T3HIbJNLKKsmxYKlaYhvnHYkz/HNYTV7SHCXVZPfeUi4FqskY70YeN8yYAZT8cCv7w5vJxS4Q1m8zb9CMMg==",
    ),
    Package(
        "@iconify-json/emojione-v1",
        "1.2.3",
        "sha512-UjI2VQEXVtGlPBvQuxEizro7QCgBcJDOYwKUupquvvZ8UV4xOlvm45IU82JYWegiAWLerY79gFLMZ26U6Ms+ww==",
    ),
    Package(
        "@iconify-json/fluent-emoji",
        "1.2.7",
        "sha512-D8G6bKAyIsyxP1rzZtIWr/gg/fO4Rg1+DyCWlfqKK4h8W+4Em/Y0P6QYgJUQTlUcagzJvSyg+9OBv4hz4Hc/QA==",
    ),
    Package(
        "@iconify-json/fluent-emoji-flat",
        "1.2.6",
        "sha512-RY47RgPb47fYUiyrA64sIOL0+UU02s29sXpNBbIQRBUlPlfNFTKUmZDERGuxDs/7yNGWqQYvuaSYM1M4fRXlUw==",
    ),
    Package(
        "@iconify-json/fxemoji",
        "1.2.2",
        "sha512-UAasRaxzFUKfIGSmLwnoarsssA4LX0VLLuEmplIqM6ZNQqIQRtav8tZ4H1neTlBreXuMQyAifr5jP4kn78DpiQ==",
    ),
    Package(
        "@iconify-json/noto",
        "1.2.9",
        "sha512-DQiuXENbun41ch+XPSV55H9FaWKpHTyz46YIKtSaKYD4fIDDzL1tR6H4np/T38jfrTAeI3rcKF0mqHYeZVAuaw==",
    ),
    Package(
        "@iconify-json/noto-v1",
        "1.2.5",
        "sha512-/DsVMius69Q0fRS53z7QK1TROSuar606jiIx+laXtdsYGMXpf6LtHBx6CGfoo3UHHb/XpBsw+1L1x3eyPqMuVA==",
    ),
    Package(
        "@iconify-json/openmoji",
        "1.2.29",
        "sha512-vXdhkqcXVSO6suy+m9LbcUM3OdVyuNOtpV8/als/WqfkQIRxevL5Geb/g+6GH/Qwnq1OqksEmaDGTCmZ5nFKJQ==",
    ),
    Package(
        "@iconify-json/twemoji",
        "1.2.5",
        "sha512-uKpuIEV0v6K5BW3Mjdyl+XKFVAbbcPxAgifKvEMtZoUZB5+YiY5zaMm2uNNCxyXzAWU9yNLlj41WU6/mvgALsw==",
    ),
)


def fetch(package: Package, folder: Path) -> Path:
    """Download one npm package, check its hash, unpack it; returns the unpacked folder."""
    out = subprocess.run(
        ["npm", "pack", "--silent", f"{package.name}@{package.version}"],
        cwd=folder, check=True, capture_output=True, text=True,
    )  # fmt: skip
    archive = folder / out.stdout.strip().splitlines()[-1]
    digest = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != package.integrity:
        raise SystemExit(
            f"{package.name}@{package.version}: got {digest}, the recipe was written for {package.integrity}"
        )
    target = folder / package.style
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    return target / "package"


def plain(name: str) -> str:
    """A name without case, accents and punctuation, so that `Piñata` equals `pinata`."""
    ascii_name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "", ascii_name.lower())


def code(hexcode: str) -> str:
    """A code point sequence without variation selectors, on which all sets agree."""
    return "-".join(part for part in hexcode.lower().split("-") if part != "fe0f")


@dataclass(frozen=True)
class Emoji:
    """An emoji of the Unicode table."""

    hexcode: str
    name: str
    tags: tuple[str, ...]
    group: str
    subgroup: str


def read_emoji(folder: Path) -> list[Emoji]:
    """The emoji of emojibase, without components."""
    groups = json.loads((folder / "meta" / "groups.json").read_text())
    rows = json.loads((folder / "en" / "data.json").read_text())
    return [
        Emoji(
            hexcode=row["hexcode"],
            name=row["label"],
            tags=tuple(sorted(set(row.get("tags", ())))),
            group=groups["groups"][str(row["group"])],
            subgroup=groups["subgroups"][str(row["subgroup"])],
        )
        for row in rows
        if "group" in row and groups["groups"][str(row["group"])] != "component"
    ]


def svg_of(icons: dict, name: str) -> str | None:
    """The SVG text of an icon or of an alias that only renames one."""
    parent = icons["aliases"].get(name)
    if parent is not None:
        return svg_of(icons, parent["parent"]) if set(parent) == {"parent"} else None
    icon = icons["icons"].get(name)
    if icon is None:
        return None
    left, top = icon.get("left", 0), icon.get("top", 0)
    width, height = icon.get("width", icons["width"]), icon.get("height", icons["height"])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
        f'viewBox="{left} {top} {width} {height}">{icon["body"]}</svg>'
    )


def match_icons(emoji: list[Emoji], sets: dict[str, Path]) -> dict[str, dict[str, str]]:
    """For each style, hexcode -> SVG. Code points decide where a set has them; else names that mean one emoji only."""
    icons, by_code = {}, {}
    for style, folder in sets.items():
        data = json.loads((folder / "icons.json").read_text())
        icons[style] = {
            **data,
            "aliases": data.get("aliases", {}),
            "width": data.get("width", 16),
            "height": data.get("height", 16),
        }
        chars = json.loads((folder / "chars.json").read_text())
        by_code[style] = (
            {code(hexcode): name for hexcode, name in (chars or {}).items()} if isinstance(chars, dict) else {}
        )
    meanings: dict[str, set[str]] = defaultdict(set)
    names: dict[str, list[str]] = {}
    for e in emoji:
        known = [e.name] + [
            by_code[style][code(e.hexcode)] for style in sorted(sets) if code(e.hexcode) in by_code[style]
        ]
        names[e.hexcode] = list(dict.fromkeys(plain(name) for name in known))
        for name in names[e.hexcode]:
            meanings[name].add(e.hexcode)
    matched: dict[str, dict[str, str]] = {}
    for style in sorted(sets):
        by_name = {plain(name): name for name in (*icons[style]["aliases"], *icons[style]["icons"])}
        found = {}
        for e in emoji:
            name = by_code[style].get(code(e.hexcode))
            if name is None:
                name = next((by_name[n] for n in names[e.hexcode] if n in by_name and len(meanings[n]) == 1), None)
            svg = svg_of(icons[style], name) if name else None
            if svg:
                found[e.hexcode] = svg
        matched[style] = found
    return matched


def draw(svg: str) -> bytes:
    """An SVG as WebP with alpha, SIZE x SIZE."""
    png = resvg_py.svg_to_bytes(svg_string=svg, width=RENDER, height=RENDER)
    image = Image.open(io.BytesIO(bytes(png))).convert("RGBA")
    if image.size != (RENDER, RENDER):  # a drawing that is not square is centred, not stretched
        square = Image.new("RGBA", (max(image.size),) * 2)
        square.paste(image, tuple((square.width - side) // 2 for side in image.size))
        image = square
    small = image.convert("RGBa").resize((SIZE, SIZE), Image.Resampling.BOX).convert("RGBA")
    out = io.BytesIO()
    small.save(out, "WEBP", quality=WEBP_QUALITY, alpha_quality=ALPHA_QUALITY, method=6)
    return out.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    """Append a member with fixed metadata."""
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def write_data(emoji: list[Emoji], sets: dict[str, Path], out: Path) -> None:
    """Write one shard for each style (so each shard has one licence) and one table with the metadata of all images."""
    out.mkdir(parents=True, exist_ok=True)
    rows = []
    with ProcessPoolExecutor() as pool:
        for style, svgs in match_icons(emoji, sets).items():
            chosen = sorted((e for e in emoji if e.hexcode in svgs), key=lambda e: e.hexcode)
            licence = json.loads((sets[style] / "info.json").read_text())["license"]["spdx"]
            with tarfile.open(out / f"emoji-{style}.tar", "w", format=tarfile.USTAR_FORMAT) as tar:
                for e, webp in zip(
                    chosen, pool.map(draw, [svgs[e.hexcode] for e in chosen], chunksize=32), strict=True
                ):
                    add(tar, f"{style}/{e.hexcode}.webp", webp)
                    rows.append(
                        {"id": f"{style}/{e.hexcode}", "name": e.name, "tags": list(e.tags), "subgroup": e.subgroup,
                         "group": e.group, "style": style, "licence": licence}
                    )  # fmt: skip
    table = pa.Table.from_pylist(sorted(rows, key=lambda row: row["id"]))
    pq.write_table(table, out / "emoji.parquet", compression="zstd")


def build(out: Path) -> None:
    """Download the packages and write the data."""
    with tempfile.TemporaryDirectory() as scratch:
        get = partial(fetch, folder=Path(scratch))
        emoji = read_emoji(get(EMOJIBASE))
        write_data(emoji, {package.style: get(package) for package in ICON_SETS}, out)


def hashes(folder: Path) -> dict[str, str]:
    """SHA-256 of each file of the data."""
    files = sorted([*folder.glob("emoji-*.tar"), folder / "emoji.parquet"])
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def main() -> None:
    """Run the recipe from the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=DATA)
    parser.add_argument("--check", action="store_true", help="compare a fresh build with --out; write nothing there")
    args = parser.parse_args()
    if not args.check:
        build(args.out)
        return
    with tempfile.TemporaryDirectory() as scratch:
        build(Path(scratch))
        fresh, committed = hashes(Path(scratch)), hashes(args.out)
    for name in sorted(fresh | committed):
        print(f"{'same' if fresh.get(name) == committed.get(name) else 'DIFFERS'}  {name}  {fresh.get(name)}")
    sys.exit(fresh != committed)


if __name__ == "__main__":
    main()
