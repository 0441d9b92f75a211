import pytest

from conceptprobe.images import load_images
from conceptprobe.indexing import build_index
from conceptprobe.models import load_model
from conceptprobe.report import write_report


def test_a_real_index_is_shown_as_it_is(image_folder, tmp_path, read_script):
    model = load_model("mini:supervised@random", device="cpu")
    images = load_images(f"folder:{image_folder}")
    index = build_index(
        model, images, "blocks.5.mlp.hidden", tmp_path / "index", k=10, workers=0, vectors=False, batch_size=8
    )
    write_report(tmp_path / "report", [index])
    known = read_script(tmp_path / "report" / "data" / "images.js")["id"]
    (column,) = read_script(tmp_path / "report" / "data" / "000-blocks.5.mlp.hidden.js")["columns"]
    assert len(column["features"]) + len(column["dead"]) == 768
    for feature in column["features"][::50]:
        top = index.top(f"blocks.5.mlp.hidden:{feature['feature']}", k=10)
        shown = {
            known[n]: value for numbers, values in feature["stacks"] for n, value in zip(numbers, values, strict=True)
        }
        assert shown == pytest.approx(dict(zip(top.ids, top.values.tolist(), strict=True)), rel=1e-5)
        assert next(iter(shown)) == top.ids[0]
