from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from conceptprobe.images import ImageSource, load_images
from conceptprobe.indexing import Index, IndexingError, build_index
from conceptprobe.indexing.source import source_of
from conceptprobe.models import ModelError, VisionModel, load_model
from conceptprobe.search.embeddings import embed_images

LAYER = "blocks.5.mlp.hidden"


def write_picture(path: Path, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).resize((50, 40), Image.Resampling.BICUBIC).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "images"
    for i in range(12):
        write_picture(root / f"class{i % 3}" / f"{i:02d}.png", i)
    (root / "class1" / "broken.png").write_bytes(b"no image")
    return root


@pytest.fixture
def source(folder: Path) -> ImageSource:
    return load_images(f"folder:{folder}")


@pytest.fixture(scope="module")
def model() -> VisionModel:
    return load_model("mini:clip@random", device="cpu")


@pytest.fixture
def index(model: VisionModel, source: ImageSource, tmp_path: Path) -> Index:
    return build_index(model, source, LAYER, tmp_path / "index", k=5, workers=0)


def plain(model: VisionModel, source: ImageSource, row: int) -> np.ndarray:
    """The embedding of one image, alone in its batch."""
    with torch.inference_mode():
        return model.encode_image(model.preprocess(source.load(row).image)[None])[0].numpy()


def test_source_has_the_rows_of_the_index(index: Index) -> None:
    source = source_of(index)
    assert source.table["id"].to_pylist() == index.images["id"].tolist()
    assert len(source) == 12
    assert "class1/broken.png" in index.skipped["id"].tolist()
    assert source.load(7).content_hash == index.images["content_hash"][7]


def test_source_may_have_moved_and_gained_columns(index: Index, folder: Path, tmp_path: Path) -> None:
    moved = folder.rename(tmp_path / "elsewhere")
    (moved / "metadata.csv").write_text("file_name,caption\nclass0/00.png,a picture\n")
    write_picture(moved / "class9" / "new.png", 99)
    source = source_of(index, load_images(f"folder:{moved}"))
    assert source.table["id"].to_pylist() == index.images["id"].tolist()
    assert source.load(3).content_hash == index.images["content_hash"][3]


def test_source_that_is_another_is_refused(index: Index, folder: Path) -> None:
    with pytest.raises(IndexingError, match="saw its images on white, these are on black"):
        source_of(index, load_images(f"folder:{folder}", background="black"))
    write_picture(folder / "class0" / "00.png", 1234)
    (folder / "metadata.csv").write_text("file_name,caption\nclass0/03.png,a picture\n")
    with pytest.raises(IndexingError, match=r"'class0/00.png' is another image now"):
        source_of(index)
    (folder / "class0" / "00.png").unlink()
    with pytest.raises(IndexingError, match=r"lacks 1 of the 12 images .* such as 'class0/00.png'"):
        source_of(index)


def test_source_of_a_python_dataset_must_be_given(model: VisionModel, tmp_path: Path) -> None:
    class Pictures(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, i: int) -> Image.Image:
            return Image.new("RGB", (8, 8), (i * 60, 0, 0))

    images = load_images(Pictures())
    index = build_index(model, images, LAYER, tmp_path / "index", k=2, workers=0)
    with pytest.raises(IndexingError, match="give it as images=load_images"):
        source_of(index)
    assert len(source_of(index, images)) == 4


@pytest.mark.parametrize("batch_size", [1, 5, 64])
def test_embeddings_are_those_of_each_image_alone(model: VisionModel, index: Index, batch_size: int) -> None:
    source = source_of(index)
    found = embed_images(model, source, batch_size=batch_size, workers=0, cache=None)
    assert found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    for row in range(len(source)):
        np.testing.assert_allclose(found[row], plain(model, source, row), atol=1e-5)


def test_rows_come_in_any_order_and_more_than_once(model: VisionModel, index: Index) -> None:
    source = source_of(index)
    rows = np.array([9, 2, 9, 0])
    found = embed_images(model, source, rows, workers=0, cache=None)
    np.testing.assert_array_equal(found[0], found[2])
    for vector, row in zip(found, rows, strict=True):
        np.testing.assert_allclose(vector, plain(model, source, row), atol=1e-5)
    with pytest.raises(IndexingError, match="rows must be from 0 to 11"):
        embed_images(model, source, np.array([12]), workers=0, cache=None)


def test_cache_keeps_what_was_computed(model: VisionModel, index: Index, tmp_path: Path) -> None:
    source, cache = source_of(index), tmp_path / "cache"
    first = embed_images(model, source, workers=0, cache=cache)
    (path,) = cache.iterdir()
    marked = first.copy()
    marked[0] = 0
    np.save(path, marked)
    np.testing.assert_array_equal(embed_images(model, source, workers=0, cache=cache), marked)
    path.write_bytes(path.read_bytes()[:100])
    np.testing.assert_array_equal(embed_images(model, source, workers=0, cache=cache), first)
    assert np.load(path).shape == first.shape
    embed_images(model, source, np.array([1]), workers=0, cache=cache)
    embed_images(load_model("mini:supervised@random", device="cpu"), source, workers=0, cache=cache)
    assert len(list(cache.iterdir())) == 3


def test_cache_that_cannot_be_written_is_no_failure(model: VisionModel, index: Index, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.warns(UserWarning, match="cannot keep the result"):
        found = embed_images(model, source_of(index), workers=0, cache=tmp_path / "file" / "cache")
    assert found.shape == (12, 192)


def test_bad_image_is_named(model: VisionModel, source: ImageSource) -> None:
    with pytest.raises(IndexingError, match=r"'class1/broken.png' cannot be read: not an image"):
        embed_images(model, source, workers=0, cache=None)


def test_embedding_that_is_not_finite_is_named(source: ImageSource) -> None:
    model = load_model("mini:clip@random", device="cpu")
    with (
        model.intervene({"blocks.0.resid": lambda x: x * torch.nan}),
        pytest.raises(IndexingError, match=r"gives for 'class0/00.png' is not finite"),
    ):
        embed_images(model, source, np.array([0]), workers=0, cache=None)


def test_model_without_embedding_is_refused(index: Index) -> None:
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3))
    bare = VisionModel.wrap(module, layers=["0"], image_size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(ModelError, match="has no embedding"):
        embed_images(bare, source_of(index), workers=0, cache=None)
