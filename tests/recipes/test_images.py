import json
from pathlib import Path

import pytest
from PIL import Image

import images


@pytest.mark.parametrize(("name", "word"), [("Piñata", "pinata"), ("1st place-medal", "1stplacemedal"), ("A's", "as")])
def test_plain_names(name: str, word: str) -> None:
    assert images.plain(name) == word


def test_icons_are_found_by_code_point_else_by_a_name_that_means_one_emoji(tmp_path: Path) -> None:
    body = '<rect width="16" height="16" fill="red"/>'

    def make(style: str, icons: list[str], chars: dict[str, str] | list, aliases: dict | None = None) -> Path:
        folder = tmp_path / style
        folder.mkdir()
        data = {"icons": {name: {"body": body} for name in icons}, "aliases": aliases or {}}
        (folder / "icons.json").write_text(json.dumps(data))
        (folder / "chars.json").write_text(json.dumps(chars))
        return folder

    emoji = [
        images.Emoji("1F480", "skull", (), "smileys", "face"),
        images.Emoji("26B0-FE0F", "coffin", (), "objects", "other"),
        images.Emoji("1F600", "grin", (), "smileys", "face"),
        images.Emoji("1F601", "grin!", (), "smileys", "face"),
    ]
    sets = {
        "coded": make("coded", ["death-head", "casket"], {"1f480": "death-head", "26b0": "casket"}),
        "named": make(
            "named", ["deathhead", "grin"], [], {"box": {"parent": "grin"}, "casket": {"parent": "deathhead"}}
        ),
    }
    found = images.match_icons(emoji, sets)
    assert set(found["coded"]) == {"1F480", "26B0-FE0F"}
    assert set(found["named"]) == {"1F480", "26B0-FE0F"}  # grin means two emoji, so neither
    assert body in found["named"]["1F480"]


def test_a_drawing_keeps_its_shape_and_its_transparency() -> None:
    import io

    svg = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 20 10"><rect width="20" height="10" fill="#f00"/></svg>'
    image = Image.open(io.BytesIO(images.draw(svg))).convert("RGBA")
    assert image.size == (64, 64)
    assert image.getpixel((32, 32))[3] == 255
    assert image.getpixel((32, 4))[3] == 0  # twice as wide as high: empty above and below
