import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from torch import nn

from conceptprobe import indexing
from conceptprobe.errors import FeatureNameError
from conceptprobe.images import ImageSource, load_images
from conceptprobe.indexing import Index, IndexingError, build_index, open_index
from conceptprobe.indexing import build as building
from conceptprobe.indexing.build import check_inputs
from conceptprobe.indexing.reducers.sample import QUANTILES
from conceptprobe.indexing.settings import build_settings
from conceptprobe.indexing.storage import files
from conceptprobe.indexing.storage.manifest import Counts, Manifest
from conceptprobe.models import Layer, Tokens, VisionModel, load_model
from tests.indexing.index_files import full_sort, make_folder, same_files


def hooked(module: nn.Module, run: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
    """The output of a module in a plain forward pass of the whole network."""
    kept = []
    handle = module.register_forward_hook(lambda _m, _i, out: kept.append(out))
    with torch.inference_mode():
        run(pixels)
    handle.remove()
    return kept[0]


def pooled(acts: torch.Tensor, layer: Layer, pooling: str) -> torch.Tensor:
    if layer.kind == "map":
        return acts.flatten(2).mean(2) if pooling == "mean" else acts.flatten(2).amax(2)
    return {"mean": acts[:, layer.prefix :].mean(1), "max": acts[:, layer.prefix :].amax(1), "cls": acts[:, 0]}[pooling]


def patches(acts: torch.Tensor, layer: Layer) -> torch.Tensor:
    return acts.flatten(2).transpose(1, 2) if layer.kind == "map" else acts[:, layer.prefix :]


def check_strip(index: Index, feature: str, pooling: str, values_n: np.ndarray, patches_np: torch.Tensor) -> None:
    """All ten tenths of the ranking, eight images each or all where there are fewer."""
    row_of = {id_: row for row, id_ in enumerate(index.images["id"])}
    rank = np.argsort(np.argsort(values_n, kind="stable"), kind="stable")
    strip, n = index.strip(feature, pooling), len(values_n)
    assert [len(tenth) for tenth in strip] == [min(8, n * (i + 1) // 10 - n * i // 10) for i in range(10)]
    for number, tenth in enumerate(strip):
        rows = [row_of[id_] for id_ in tenth.ids]
        np.testing.assert_array_equal(tenth.values, values_n[rows])
        assert (np.diff(tenth.values) <= 0).all()
        if len(set(values_n.tolist())) == n:
            assert all(n * number // 10 <= rank[row] < n * (number + 1) // 10 for row in rows)
        if pooling == "max":
            np.testing.assert_array_equal(tenth.positions, patches_np[rows].argmax(1))


# model, layer, where a plain hook finds it, batch size (the number of tokens for those with 37, 197 and 50), poolings
ALL = ("mean", "max", "cls")
ORACLES = [
    ("mini:supervised@random", "blocks.5.mlp.hidden", "blocks.5.mlp.act", 37, ALL),
    ("mini:clip@random", "blocks.2.resid", "visual.trunk.blocks.2", 37, ALL),
    ("timm:vit_tiny_patch16_224@random", "blocks.1.mlp.hidden", "blocks.1.mlp.act", 197, ALL),
    ("timm:deit_tiny_distilled_patch16_224@random", "blocks.0.resid", "blocks.0", 16, ALL),
    ("open_clip:ViT-B-32@random", "blocks.0.mlp.hidden", "visual.transformer.resblocks.0.mlp.gelu", 50, ALL),
    ("torchvision:resnet18@random", "module:layer2.1", "layer2.1", 16, ("mean", "max")),
    ("torchvision:vit_b_16@random", "blocks.0.mlp.hidden", "encoder.layers.encoder_layer_0.mlp.1", 8, ALL),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(("spec", "name", "path", "batch", "poolings"), ORACLES, ids=[row[0] for row in ORACLES])
def test_lists_equal_a_full_sort(
    spec: str, name: str, path: str, batch: int, poolings: tuple[str, ...], folder: ImageSource, tmp_path: Path
) -> None:
    model = load_model(spec, device="cpu")
    folder = folder.subset(range(20)) if batch == 8 else folder
    index = build_index(
        model, folder, name, tmp_path / "i", pooling=poolings, k=20, bottom=20, batch_size=batch, workers=0
    )
    (layer,) = model.resolve(name)
    pixels = torch.zeros(-(-len(folder) // batch) * batch, 3, *model.image_size)
    for row in range(len(folder)):
        pixels[row] = model.preprocess(folder.load(row).image)
    module = model.module.get_submodule(path)
    run = model.module.visual if spec.startswith(("open_clip", "mini:clip")) else model.module
    mean, std = (torch.tensor(model.preprocessing[key])[:, None, None] for key in ("mean", "std"))
    acts = torch.cat([hooked(module, run, (chunk - mean) / std) for chunk in pixels.split(batch)])[: len(folder)]
    for pooling in poolings:
        values = pooled(acts, layer, pooling).numpy()
        rows, expected = full_sort(values, 20)
        got_rows, got_values = index.top_rows(name, pooling)
        np.testing.assert_array_equal(got_rows, rows)
        np.testing.assert_array_equal(got_values, expected)
        stats = index.stats(name, pooling)
        np.testing.assert_allclose(stats["mean"], values.mean(0, dtype=np.float64), rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(stats["std"], values.std(0, dtype=np.float64), rtol=1e-5, atol=1e-9)
        np.testing.assert_array_equal(stats["firing_rate"], (values > 0).mean(0))
        quantiles = np.quantile(values.astype(np.float64), QUANTILES, axis=0)
        np.testing.assert_allclose(
            stats[[f"q{round(level * 100):02d}" for level in QUANTILES]].to_numpy().T, quantiles, 1e-6
        )
        high = np.float32(np.quantile(values, 0.95))
        np.testing.assert_allclose(stats["high_rate"], (values > high).mean(0))
        rows, expected = full_sort(-values, 20)
        for feature in range(0, layer.width, 50):
            lowest = index.bottom(f"{name}:{feature}", 20, pooling)
            assert lowest.ids == tuple(index.images["id"].to_numpy()[rows[feature]])
            np.testing.assert_array_equal(lowest.values, -expected[feature])
            if pooling == "max":
                places = patches(acts, layer)[rows[feature], :, feature].argmax(1)
                np.testing.assert_array_equal(lowest.positions, places)
            check_strip(index, f"{name}:{feature}", pooling, values[:, feature], patches(acts, layer)[:, :, feature])


def test_as_many_images_a_batch_as_tokens(folder: ImageSource, tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        vit = timm.models.VisionTransformer(
            img_size=64, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=0
        )
    vit.eval()
    tokens = Tokens(prefix=1, cls=0, grid=(8, 8))
    model = VisionModel.wrap(vit, layers=["blocks.1"], image_size=64, mean=(0, 0, 0), std=(1, 1, 1), tokens=tokens)
    name = "module:blocks.1"
    index = build_index(model, folder, name, tmp_path / "i", pooling=ALL, k=20, batch_size=65, workers=0)
    pixels = torch.zeros(130, 3, 64, 64)
    for row in range(len(folder)):
        pixels[row] = model.preprocess(folder.load(row).image)
    acts = torch.cat([hooked(vit.blocks[1], vit, chunk) for chunk in pixels.split(65)])[: len(folder)]
    assert acts.shape == (90, 65, 32)
    for pooling in ALL:
        rows, expected = full_sort(pooled(acts, model.resolve(name)[0], pooling).numpy(), 20)
        np.testing.assert_array_equal(index.top_rows(name, pooling)[0], rows)
        np.testing.assert_array_equal(index.top_rows(name, pooling)[1], expected)


class Planted(nn.Module):
    """Feature 0 is the mean of red, 1 the same for all images, 2 always negative, 3 NaN on dark
    images, 4 a little below zero like a unit that is never on."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Identity()

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        red = pixels[:, 0].mean((1, 2))
        dark = torch.where(pixels.mean((1, 2, 3)) < 0.5, torch.nan, red)
        return self.features(torch.stack([red, torch.ones_like(red), red - 5, dark, -0.01 * red], 1)[:, :, None, None])


def planted() -> VisionModel:
    return VisionModel.wrap(Planted(), layers=["features"], image_size=16, mean=(0, 0, 0), std=(1, 1, 1))


def test_planted_features(folder: ImageSource, tmp_path: Path) -> None:
    index = build_index(planted(), folder, "module:features", tmp_path / "i", k=100, batch_size=7, workers=0)
    name = "module:features"
    red = index.top(f"{name}:0", 100)
    assert len(red) == 90  # fewer images than k
    assert (np.diff(red.values) <= 0).all()
    assert index.top(f"{name}:1", 3).ids == tuple(sorted(index.images["id"])[:3])  # ties by id
    assert index.top(f"{name}:2", 100).ids == red.ids  # all negative, same order
    stats = index.stats(name)
    nan = int(stats["nonfinite"][3])
    assert 0 < nan < 90
    assert len(index.top(f"{name}:3", 100)) == 90 - nan
    assert stats["dead"].tolist() == [False, True, False, False, True]
    assert stats["firing_rate"][2] == 0


@pytest.mark.slow
def test_same_bytes_for_any_number_of_workers(folder: ImageSource, mini: VisionModel, tmp_path: Path) -> None:
    for workers in (0, 1, 3):
        build_index(mini, folder, "blocks[-2:].mlp.hidden", tmp_path / str(workers), batch_size=16, workers=workers)
    same_files(tmp_path / "0", tmp_path / "1")
    same_files(tmp_path / "0", tmp_path / "3")


@pytest.mark.slow
def test_a_bad_image_is_listed_and_changes_nothing_else(mini: VisionModel, tmp_path: Path) -> None:
    root = make_folder(tmp_path / "images", 20)
    good = build_index(mini, load_images(f"folder:{root}"), "final", tmp_path / "good", batch_size=8, workers=0)
    (root / "class0" / "0003a.png").write_bytes(b"")
    (root / "class1" / "0004a.jpg").write_bytes(b"not an image")
    whole = (root / "class1" / "0007.png").read_bytes()
    (root / "class2" / "0008a.png").write_bytes(whole[: len(whole) // 2])
    index = build_index(mini, load_images(f"folder:{root}"), "final", tmp_path / "bad", batch_size=8, workers=0)
    assert index.manifest.counts == Counts(23, 20, 3)
    assert set(index.skipped["id"]) == {"class0/0003a.png", "class1/0004a.jpg", "class2/0008a.png"}
    assert (index.skipped["reason"].str.len() > 3).all()
    alone = build_index(mini, load_images(f"folder:{root}"), "final", tmp_path / "alone", batch_size=1, workers=0)
    assert alone.manifest.counts == index.manifest.counts  # batches of nothing but a bad image
    assert index.images["id"].tolist() == good.images["id"].tolist()
    for feature in ("final:0", "final:191"):
        assert index.top(feature, 20).ids == good.top(feature, 20).ids
        np.testing.assert_allclose(index.top(feature, 20).values, good.top(feature, 20).values, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_search_similar_and_neighbours_against_numpy(folder: ImageSource, mini: VisionModel, tmp_path: Path) -> None:
    name = "blocks.5.mlp.hidden"
    index = build_index(mini, folder, name, tmp_path / "i", pooling=("cls",), batch_size=30, workers=0)
    pixels = torch.stack([mini.preprocess(folder.load(row).image) for row in range(90)])
    with torch.inference_mode():
        acts = torch.cat([mini.capture(chunk, [name])[name][:, 0] for chunk in pixels.split(30)]).double().numpy()
    direction = np.random.default_rng(0).standard_normal(768)
    found = index.search(name, direction, 10)
    np.testing.assert_array_equal(found.ids, index.images["id"].to_numpy()[np.argsort(-acts @ direction)[:10]])
    np.testing.assert_allclose(found.values, np.sort(acts @ direction)[::-1][:10], rtol=1e-4)
    one = index.search(name, np.eye(768)[5], 10)
    assert one.ids == index.top(f"{name}:5", 10).ids  # a feature is a basis direction
    centred = acts - acts.mean(0)
    cosine = centred @ centred[4] / np.linalg.norm(centred, axis=1) / np.linalg.norm(centred[4])
    cosine[4] = -np.inf
    near = index.similar_images(index.images["id"][4], 5)
    np.testing.assert_array_equal(near.ids, index.images["id"].to_numpy()[np.argsort(-cosine)[:5]])
    np.testing.assert_allclose(near.values, np.sort(cosine)[::-1][:5], rtol=1e-4)
    correlation = np.corrcoef(acts.T)[7]
    order = [f for f in np.argsort(-correlation) if f != 7][:5]
    neighbours = index.neighbours(f"{name}:7", 5)
    assert neighbours["feature"].tolist() == order
    assert set(neighbours["layer"]) == {name}
    np.testing.assert_allclose(neighbours["correlation"], correlation[order], rtol=1e-4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": ()}, "different names"),
        ({"pooling": ("mean", "mean")}, "different names"),
        ({"pooling": ("sum",)}, "choose from"),
        ({"faiss": "HNSW32", "vectors": False}, "give Flat"),
        ({"k": 0}, "k is 0: input should be greater than or equal to 1"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"workers": -1}, "workers is -1: input should be greater than or equal to 0"),
        ({"k": 10**9}, "k is 1000000000: input should be less than or equal to 10000"),
    ],
)
def test_bad_settings_are_refused_before_work(
    change: dict, message: str, folder: ImageSource, mini: VisionModel, tmp_path: Path
) -> None:
    with pytest.raises(IndexingError, match=message):
        build_index(mini, folder, "final", tmp_path / "i", **change)
    assert not list(tmp_path.iterdir())


def test_a_vector_is_indexed_by_default_too(folder: ImageSource, mini: VisionModel, tmp_path: Path) -> None:
    source = folder.subset(range(4))
    index = build_index(mini, source, ["final", "embedding"], tmp_path / "i", batch_size=4, workers=0)
    assert index.manifest.pooling == ("mean",)
    assert build_index(mini, source, "final", tmp_path / "j", batch_size=4).manifest.pooling == ("mean", "max")


def test_an_index_is_replaced_only_when_asked_and_nothing_else_ever(
    folder: ImageSource, mini: VisionModel, tmp_path: Path
) -> None:
    source = folder.subset(range(6))
    build_index(mini, source, "final", tmp_path / "i", batch_size=6, workers=0)
    with pytest.raises(IndexingError, match="already there"):
        build_index(mini, source, "final", tmp_path / "i", batch_size=6, workers=0)
    build_index(mini, source, "final", tmp_path / "i", k=2, batch_size=6, workers=0, overwrite=True)
    assert open_index(tmp_path / "i").manifest.k == 2
    old = json.loads((tmp_path / "i" / "manifest.json").read_text())
    (tmp_path / "i" / "manifest.json").write_text(json.dumps({**old, "schema_version": 1, "model": "another form"}))
    with pytest.raises(IndexingError, match="has schema version 1, this conceptprobe reads 2; rebuild it"):
        open_index(tmp_path / "i")
    build_index(mini, source, "final", tmp_path / "i", batch_size=6, workers=0, overwrite=True)
    assert open_index(tmp_path / "i").manifest.k == 100
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "precious").write_text("x")
    with pytest.raises(IndexingError, match="not a finished index"):
        build_index(mini, source, "final", tmp_path / "home", overwrite=True)
    assert (tmp_path / "home" / "precious").exists()
    (tmp_path / "i" / "notes.md").write_text("mine")
    with pytest.raises(IndexingError, match=r"not the index's, such as notes\.md"):
        build_index(mini, source, "final", tmp_path / "i", batch_size=6, workers=0, overwrite=True)
    assert (tmp_path / "i" / "notes.md").exists()


def test_what_comes_to_the_place_during_the_build_stays(
    folder: ImageSource, mini: VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finish = building.finish

    def finish_late(*args: Any) -> None:
        (tmp_path / "i").mkdir()
        (tmp_path / "i" / "precious").write_text("x")
        finish(*args)

    monkeypatch.setattr(building, "finish", finish_late)
    with pytest.raises(IndexingError, match="already there"):
        build_index(mini, folder.subset(range(6)), "final", tmp_path / "i", batch_size=6, workers=0)
    assert (tmp_path / "i" / "precious").exists()
    (tmp_path / "i" / "precious").unlink()
    (tmp_path / "i").rmdir()
    build_index(mini, folder.subset(range(6)), "final", tmp_path / "i", batch_size=6, workers=0)  # only the renaming
    assert len(open_index(tmp_path / "i").images) == 6


def test_a_feature_that_is_not_finite_spoils_no_search(folder: ImageSource, tmp_path: Path) -> None:
    index = build_index(planted(), folder, "module:features", tmp_path / "i", batch_size=7, workers=0)
    direction = np.array([1, 0, 0, 0, 0])
    assert index.search("module:features", direction, 90).ids == index.top("module:features:0", 90).ids
    similar = index.similar_images("class0/0000.png", 200)
    assert len(similar) == 89
    assert "class0/0000.png" not in similar.ids
    assert np.isfinite(similar.values).all()
    assert index.search("module:features", [0, 1, 0, 0, 0], 5).ids == tuple(sorted(index.images["id"])[:5])
    assert index.neighbours("module:features:1").empty  # never varies


def test_names_that_look_like_addresses(
    folder: ImageSource, mini: VisionModel, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("mini:clip", "s3:x", "a b/ü"):
        build_index(mini, folder.subset(range(3)), "final", name, batch_size=3, workers=0)
        assert len(open_index(name).images) == 3


def test_questions_that_an_index_cannot_answer(folder: ImageSource, mini: VisionModel, tmp_path: Path) -> None:
    source = folder.subset(range(6))
    index = build_index(mini, source, "final", tmp_path / "i", k=4, batch_size=6, workers=0, vectors=False)
    for question, message in [
        (lambda: index.top("final:192"), "features 0 to 191"),
        (lambda: index.top("final:0", 5), "lists of 4"),
        (lambda: index.top("final:0", 4, "cls"), "no pooling 'cls'"),
        (lambda: index.top("blocks.0.resid:0", 4), "no layer"),
        (lambda: index.search("final", np.zeros(192), 4), "build the index with vectors"),
        (lambda: index.search("final", np.zeros(3), 4), "192 numbers, not shape"),
        (lambda: index.similar_images("nobody.png"), "not an image"),
    ]:
        with pytest.raises(IndexingError, match=message):
            question()
    with pytest.raises(FeatureNameError, match="LAYER:NUMBER"):
        index.top("final", 4)


def test_a_damaged_or_foreign_index_is_refused(folder: ImageSource, mini: VisionModel, tmp_path: Path) -> None:
    build_index(mini, folder.subset(range(6)), "final", tmp_path / "i", batch_size=6, workers=0)
    (tmp_path / "i" / "layers" / "final" / "top.safetensors").unlink()
    with pytest.raises(IndexingError, match=r"top\.safetensors missing"):
        open_index(tmp_path / "i")
    build_index(mini, folder.subset(range(6)), "final", tmp_path / "j", batch_size=6, workers=0)
    for name, question in (
        ("layers/final/top.safetensors", lambda i: i.top("final:0")),
        ("images.parquet", lambda i: i.images),
        ("layers/final/images.faiss", lambda i: i.search("final", np.ones(192))),
    ):
        whole = (tmp_path / "j" / name).read_bytes()
        (tmp_path / "j" / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(IndexingError, match="is damaged"):
            question(open_index(tmp_path / "j"))
        (tmp_path / "j" / name).write_bytes(whole)
    manifest = json.loads((tmp_path / "i" / "manifest.json").read_text())
    (tmp_path / "i" / "manifest.json").write_text('{"schema_version": 2}')
    with pytest.raises(IndexingError, match="model is missing"):
        Manifest.read(tmp_path / "i")
    for change, message in (
        ({"k": "5"}, "k is '5': input should be a valid integer"),
        ({"notes": 1}, "notes is 1: unexpected keyword argument"),
        ({"layers": {"final": 3}}, "layers.final is 3"),
    ):
        (tmp_path / "i" / "manifest.json").write_text(json.dumps({**manifest, **change}))
        with pytest.raises(IndexingError, match=re.escape(message)):
            Manifest.read(tmp_path / "i")
    (tmp_path / "i" / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    with pytest.raises(IndexingError, match="schema version 99"):
        Manifest.read(tmp_path / "i")


def test_too_few_readable_images_to_train_on(mini: VisionModel, tmp_path: Path) -> None:
    root = make_folder(tmp_path / "images", 9)
    (root / "class1" / "0001.png").write_bytes(b"no")
    source = load_images(f"folder:{root}")
    with pytest.raises(IndexingError, match=r"takes at least 9 images to train .*, and there are 8"):
        build_index(mini, source, "final", tmp_path / "i", batch_size=4, workers=0, faiss="IVF9,Flat")


def test_more_images_than_a_row_has_bits_for() -> None:
    with pytest.raises(IndexingError, match=r"5,000,000,000 images are more than the 4,294,967,295 of an index: cut"):
        check_inputs(range(5_000_000_000), [Layer("x", 1, "vector")], build_settings())


def test_what_a_gpu_cannot_search_is_searched_on_the_cpu(
    folder: ImageSource, mini: VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OnGpu:
        def __init__(self, index: Any) -> None:
            self.index, self.asked = index, []

        def search(self, query: np.ndarray, k: int, params: object) -> Any:
            self.asked.append(k)
            return self.index.search(query, k, params=params)

    made: list[OnGpu] = []
    monkeypatch.setattr(files, "on_gpu", lambda index: made.append(OnGpu(index)) or made[-1])
    monkeypatch.setattr(indexing.index, "GPU_MOST", 5)
    index = build_index(mini, folder.subset(range(9)), "final", tmp_path / "i", batch_size=9, workers=0)
    assert len(index.search("final", np.ones(192), 5)) == 5
    assert len(index.search("final", np.ones(192), 6)) == 6
    assert [own.asked for own in made] == [[5]]


def test_what_an_index_hands_out_cannot_change_what_it_says_next(
    folder: ImageSource, mini: VisionModel, tmp_path: Path
) -> None:
    index = build_index(mini, folder.subset(range(12)), "final", tmp_path / "i", batch_size=6, k=4, workers=0, bottom=2)
    top = index.top("final:3", 3)
    lists = index.lists("final")
    for array in (top.values, *index.top_rows("final"), lists.values, index.bottom("final:3", 2).values):
        with pytest.raises(ValueError, match="read-only"):
            array[:] = 0
    expected = index.images.copy(), index.stats("final").copy()
    images, stats = index.images, index.stats("final")
    images.loc[:, "id"] = "changed"
    images["more"] = 1
    stats.loc[:, "mean"] = 0.0
    pd.testing.assert_frame_equal(index.images, expected[0])
    pd.testing.assert_frame_equal(index.stats("final"), expected[1])
    assert index.top("final:3", 3).ids == top.ids


def test_layers_are_chosen_by_a_name_by_several_or_all(folder: ImageSource, mini: VisionModel, tmp_path: Path) -> None:
    index = build_index(mini, folder.subset(range(6)), ["final", "blocks.0.resid"], tmp_path / "i", workers=0)
    assert index.choose_layers() == index.layers
    assert index.choose_layers("final") == ("final",)
    assert index.choose_layers(["final", "final"]) == ("final",)
    with pytest.raises(IndexingError, match="no layer"):
        index.choose_layers(["final", "blocks.9.resid"])
    with pytest.raises(IndexingError, match="no layer is named"):
        index.choose_layers([])
