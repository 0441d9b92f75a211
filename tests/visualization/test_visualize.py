import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock
from PIL import Image
from torch import Tensor, nn

from conceptprobe.errors import ConceptProbeError, FolderBusyError, OutputError
from conceptprobe.feature import FeatureId
from conceptprobe.images import load_images
from conceptprobe.indexing import Index, build_index
from conceptprobe.models import UnknownLayerError, VisionModel, load_model
from conceptprobe.visualization import job
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.objectives.expressions import Objective
from conceptprobe.visualization.objectives.objectives import diversity, feature
from conceptprobe.visualization.optimization.engine import Optimised, optimise
from conceptprobe.visualization.optimization.presets import get_preset
from conceptprobe.visualization.results.visualizations import load_visualizations
from conceptprobe.visualization.visualize import visualize

SHORT = replace(get_preset("fourier"), steps=5, views=2)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.GELU()), nn.Sequential(nn.Conv2d(6, 5, 2), nn.GELU())
        )

    def forward(self, pixels_bchw: Tensor) -> Tensor:
        return self.stages(pixels_bchw).mean((2, 3))


@pytest.fixture
def model() -> VisionModel:
    module = Small()
    generator = torch.Generator().manual_seed(6)
    for weight in module.parameters():
        weight.data = 0.3 * torch.randn(weight.shape, generator=generator)
    layers = ["stages.0", "stages.1"]
    return VisionModel.wrap(module, layers=layers, image_size=16, mean=(0.5,) * 3, std=(0.25,) * 3, name="small")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "images").mkdir()
    rng = np.random.default_rng(0)
    for number in range(12):
        pixels = rng.integers(0, 256, (20, 24, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "images" / f"{number:02d}.png")
    return tmp_path / "images"


@pytest.fixture
def index(model: VisionModel, folder: Path, tmp_path: Path) -> Index:
    source = load_images(f"folder:{folder}")
    return build_index(model, source, "module:stages.1", tmp_path / "index", k=4, workers=0, vectors=False)


class Spy:
    """Counts what the engine is asked for, and runs out of memory above so many units."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, room: int = 1000) -> None:
        self.sizes: list[int] = []
        self.room = room
        monkeypatch.setattr(job, "optimise", self)

    def __call__(self, model: VisionModel, objectives: Sequence[Objective], *args: Any, **options: Any) -> Optimised:
        self.sizes.append(len(objectives))
        if len(objectives) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return optimise(model, objectives, *args, **options)


def test_what_can_be_asked_for_and_in_which_order_it_comes(model: VisionModel) -> None:
    what = [
        "module:stages.1:3",
        FeatureId("module:stages.0", 2),
        feature("module:stages.1", 1, "max"),
        "module:stages.1:3",
    ]
    made = visualize(model, what, preset=SHORT, restarts=2, size=(12, 20))
    assert made.images_nhwc.shape == (8, 12, 20, 3)
    targets = ["module:stages.1:3", "module:stages.0:2", "module:stages.1:1 max", "module:stages.1:3"]
    assert [record.target for record in made.records] == [target for target in targets for _ in range(2)]
    assert [record.restart for record in made.records] == [0, 1] * 4
    assert (made.images_nhwc[0] == made.images_nhwc[6]).all()
    assert not (made.images_nhwc[0] == made.images_nhwc[1]).all()
    for one in (what[0], what[1]):
        assert len(visualize(model, one, preset=SHORT)) == 1


@pytest.mark.slow
def test_an_image_is_the_same_alone_among_others_and_in_other_chunks(model: VisionModel) -> None:
    what = [f"module:stages.{layer}:{number}" for number in range(4) for layer in (0, 1)]
    together = visualize(model, what, preset=SHORT)
    for batch in (1, 3):
        other = visualize(model, what[::-1], preset=SHORT, batch=batch)
        assert np.abs(other.images_nhwc[::-1].astype(int) - together.images_nhwc).max() <= 1
    assert (visualize(model, what, preset=SHORT).images_nhwc == together.images_nhwc).all()
    assert not (visualize(model, what, preset=SHORT, seed=1).images_nhwc == together.images_nhwc).all()


def test_the_record_says_how_it_was_made(model: VisionModel) -> None:
    made = visualize(model, "module:stages.1:3", preset="ghiasi", steps=7, views=3, seed=5)
    (record,) = made.records
    assert (record.layer, record.feature, record.pooling) == ("module:stages.1", 3, "mean")
    assert (record.seed, record.restart, record.member, record.steps, record.views) == (5, 0, 0, 7, 3)
    assert record.size == (16, 16)
    assert record.preset["name"] == "ghiasi"
    assert record.preset["steps"] == 7
    assert record.model == {"spec": "small", "fingerprint": model.fingerprint}
    assert len(record.curve) == 7
    assert set(record.versions) >= {"conceptprobe", "torch"}
    assert record.natural is None
    pixels = torch.from_numpy(made.images_nhwc).permute(0, 3, 1, 2) / 255
    maps = model.capture(pixels, "module:stages.1")["module:stages.1"]
    assert record.activation == pytest.approx(float(maps[0, 3].detach().mean()), abs=1e-6)


def test_other_objectives_are_recorded_by_their_keys(model: VisionModel) -> None:
    contrast = feature("module:stages.1", 0) - 0.5 * feature("module:stages.0", 2)
    made = visualize(model, [contrast, diversity("module:stages.1:4", images=3)], preset=SHORT)
    assert [record.target for record in made.records][:1] == ["(module:stages.1:0 - 0.5 * module:stages.0:2)"]
    assert [record.member for record in made.records] == [0, 0, 1, 2]
    assert {record.layer for record in made.records} == {None}


def test_an_index_says_how_an_image_compares(model: VisionModel, index: Index) -> None:
    made = visualize(model, [f"module:stages.1:{n}" for n in range(3)], preset=SHORT, steps=60, index=index)
    for record in made.records:
        assert record.natural is not None
        assert record.natural.images == 12
        assert record.exceeds == (record.activation > record.natural.maximum)
    assert sum(bool(record.exceeds) for record in made.records) >= 2
    with pytest.raises(VisualizeError, match=r"no layer module:stages\.0"):
        visualize(model, "module:stages.0:1", preset=SHORT, index=index.path)


def test_it_starts_from_the_top_image_of_the_index(model: VisionModel, index: Index, folder: Path) -> None:
    what = [f"module:stages.1:{n}" for n in range(3)]
    made = visualize(model, what, preset=SHORT, index=index, start="top", frames=5)
    assert made.frames_nthwc is not None
    for number, target in enumerate(what):
        top = Image.open(folder / index.top(target, 1).ids[0])
        expected = (model.preprocess(top) * 255).permute(1, 2, 0).numpy()
        assert np.abs(made.frames_nthwc[number, 0] - expected).max() <= 1.01
        assert made.records[number].preset["start"] == "top of index"
    near = visualize(model, what[:1], preset="accentuate", steps=3, views=2, index=index, size=16)
    assert near.records[0].preset["start"] == "top of index"
    own = Image.new("RGB", (30, 16), (200, 10, 90))
    single = visualize(model, what, preset="accentuate", steps=1, views=2, start=own, size=(32, 48), frames=1)
    assert single.frames_nthwc is not None
    assert np.abs(single.frames_nthwc[:, 0].astype(int) - [200, 10, 90]).max() <= 1
    each = visualize(model, what[:2], preset=SHORT, start=[own, Image.new("RGB", (9, 9))])
    assert each.records[0].preset["start"] != single.records[0].preset["start"]


def test_frames_show_the_way(model: VisionModel) -> None:
    made = visualize(model, ["module:stages.1:0", "module:stages.1:1"], preset=SHORT, frames=2)
    assert made.frames_nthwc is not None
    assert made.frames_nthwc.shape == (2, 4, 16, 16, 3)  # at steps 0, 2 and 4, and at the end
    assert (made.frames_nthwc[:, -1] == made.images_nhwc).all()
    assert not (made.frames_nthwc[:, 0] == made.images_nhwc).all()


def test_what_is_finished_is_saved_and_not_made_again(
    model: VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, what = tmp_path / "out", [f"module:stages.1:{n}" for n in range(5)]
    spy = Spy(monkeypatch)
    made = visualize(model, what, preset=SHORT, out=out, batch=2, animate="gif")
    assert spy.sizes == [2, 2, 1]
    assert sorted(path.suffix for path in out.rglob("*.*") if path.parent != out) == sorted(
        [".gif", ".json", ".png"] * 5
    )
    assert all(record.file is not None and (out / record.file).is_file() for record in made.records)
    assert not (out / "checkpoint.safetensors").exists()
    again = visualize(model, what[::-1], preset=SHORT, out=out, batch=2, animate="gif")
    assert spy.sizes == [2, 2, 1]
    assert (again.images_nhwc[::-1] == made.images_nhwc).all()
    assert again.records[::-1] == made.records
    more = visualize(model, [*what, "module:stages.0:0"], preset=SHORT, out=out, animate="gif")
    assert spy.sizes == [2, 2, 1, 1]
    assert len(more) == len(load_visualizations(out)) == 6


def test_a_chunk_that_fails_loses_nothing_that_was_finished(
    model: VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out, what = tmp_path / "out", [f"module:stages.1:{n}" for n in range(4)]
    spy = Spy(monkeypatch)

    def stop(*args: Any, **options: Any) -> Optimised:
        if len(spy.sizes) == 2:
            raise KeyboardInterrupt
        return spy(*args, **options)

    monkeypatch.setattr(job, "optimise", stop)
    with pytest.raises(KeyboardInterrupt):
        visualize(model, what, preset=SHORT, out=out, batch=1)
    assert [record.target for record in load_visualizations(out).records] == what[:2]
    monkeypatch.setattr(job, "optimise", spy)
    made = visualize(model, what, preset=SHORT, out=out, batch=1)
    assert spy.sizes == [1, 1, 1, 1]
    assert (made.images_nhwc == visualize(model, what, preset=SHORT, batch=1).images_nhwc).all()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"steps": 6}, "steps: 5 / 6"),
        ({"seed": 1}, "seed: 0 / 1"),
        ({"size": 17}, "size: .16, 16. / .17, 17."),
        ({"preset": "ghiasi"}, "preset.name: fourier / ghiasi"),
        ({"preset": replace(SHORT, learning_rate=0.01)}, "preset.learning_rate: 0.05 / 0.01"),
        ({"frames": 2}, "frames: 0 / 2"),
    ],
)
def test_a_folder_of_other_settings_is_refused(
    model: VisionModel, tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    settings: dict[str, Any] = {"preset": SHORT, "out": tmp_path / "out", "steps": 5, "views": 2}
    visualize(model, "module:stages.1:0", **settings)
    with pytest.raises(VisualizeError, match=words):
        visualize(model, "module:stages.1:1", **{**settings, **change})


def test_a_folder_in_use_and_one_of_something_else_are_refused(model: VisionModel, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with (
        FileLock(tmp_path / "out.lock"),
        pytest.raises(FolderBusyError, match="another process is visualizing"),
    ):
        visualize(model, "module:stages.1:0", preset=SHORT, out=out)
    assert not out.exists()
    out.mkdir()
    (out / "thesis.tex").write_text("dear")
    with pytest.raises(OutputError, match=r"thesis\.tex"):
        visualize(model, "module:stages.1:0", preset=SHORT, out=out)
    with pytest.raises(OutputError, match="cannot make"):
        visualize(model, "module:stages.1:0", preset=SHORT, out=out / "thesis.tex")
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]


def test_a_kill_before_the_first_file_is_complete_leaves_a_folder_that_can_be_used(
    model: VisionModel, tmp_path: Path
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "visualize.json.tmp").write_text("{")
    made = visualize(model, "module:stages.1:0", preset=SHORT, out=tmp_path / "out")
    assert len(made) == len(load_visualizations(tmp_path / "out"))


def test_two_links_to_a_folder_are_one_folder(model: VisionModel, tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "scratch")
    with FileLock(tmp_path / "scratch.lock"), pytest.raises(FolderBusyError):
        visualize(model, "module:stages.1:0", preset=SHORT, out=tmp_path / "out")
    visualize(model, "module:stages.1:0", preset=SHORT, out=tmp_path / "out")
    assert len(load_visualizations(tmp_path / "scratch")) == 1


@pytest.mark.slow
def test_chunks_get_smaller_where_memory_runs_out(
    model: VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    what = [f"module:stages.{layer}:{n}" for layer in (0, 1) for n in range(5)]
    expected = visualize(model, what, preset=SHORT)
    spy = Spy(monkeypatch, room=2)
    made = visualize(model, what, preset=SHORT, batch=5)
    assert spy.sizes == [5, 2, 2, 1, 2, 2, 1]  # remembered for the second layer
    assert np.abs(made.images_nhwc.astype(int) - expected.images_nhwc).max() <= 1
    spy.sizes, spy.room = [], 0
    with pytest.raises(VisualizeError, match="memory ran out with one unit at once: lower the views or the size"):
        visualize(model, what, preset=SHORT, batch=2, out=tmp_path / "out")


def test_memory_that_runs_out_later_keeps_what_is_finished(
    model: VisionModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spy = Spy(monkeypatch)

    def full(model: VisionModel, objectives: Sequence[Objective], *args: Any, **options: Any) -> Optimised:
        spy.room = 0 if spy.sizes else 1
        return spy(model, objectives, *args, **options)

    monkeypatch.setattr(job, "optimise", full)
    with pytest.raises(VisualizeError, match="what was finished before is kept"):
        visualize(model, ["module:stages.1:0", "module:stages.1:1"], preset=SHORT, batch=1, out=tmp_path / "out")
    assert [record.target for record in load_visualizations(tmp_path / "out").records] == ["module:stages.1:0"]


class Square(nn.Module):
    def forward(self, x_bchw: Tensor) -> Tensor:
        limit = torch.tensor([99.0, 0.9], device=x_bchw.device)[:, None, None]
        return x_bchw + 0 * torch.log(limit - x_bchw)


def test_an_image_that_is_stopped_is_named(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 4, stride=4, bias=False), Square())
    module[0].weight.data = 0.2 * torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    model = VisionModel.wrap(module, layers=["1"], image_size=16, mean=(0.5,) * 3, std=(1.0,) * 3)
    with pytest.warns(UserWarning, match=r"1 of 2 were stopped.*module:1:1"):
        made = visualize(model, ["module:1:0", "module:1:1"], steps=40, views=2, out=tmp_path / "out")
    assert made.records[0].stopped is None
    assert made.records[1].stopped is not None
    assert load_visualizations(tmp_path / "out").records[1].stopped == made.records[1].stopped


def test_an_image_without_a_gradient_is_named() -> None:
    module = nn.Sequential(nn.Conv2d(3, 2, 4, stride=4), nn.ReLU())
    module[0].weight.data = 0.1 * torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    module[0].bias.data = torch.tensor([5.0, -50.0])
    model = VisionModel.wrap(module, layers=["0", "1"], image_size=16, mean=(0.5,) * 3, std=(1.0,) * 3)
    with pytest.warns(UserWarning, match=r"1 of 2 had the same value at every step.*module:1:1;"):
        visualize(model, ["module:1:0", "module:1:1"], preset=SHORT)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        visualize(model, ["module:0:0", "module:0:1"], preset=SHORT)


@pytest.mark.parametrize(
    ("what", "options", "error", "words"),
    [
        ("module:stages.7:0", {}, UnknownLayerError, "stages"),
        ("module:stages.1:5", {}, VisualizeError, "5 features, 0 to 4: there is no 5"),
        ("module:stages.1", {}, ConceptProbeError, "LAYER:NUMBER"),
        ([], {}, VisualizeError, "nothing to visualize"),
        ([3], {}, VisualizeError, "cannot visualize 3"),
        ("module:stages.1:0", {"size": 3}, VisualizeError, "from 4, a patch of small"),
        ("module:stages.1:0", {"size": (64, 100_000)}, VisualizeError, "to 4096"),
        ("module:stages.1:0", {"steps": 0}, VisualizeError, "steps is 0"),
        ("module:stages.1:0", {"views": 2.5}, VisualizeError, "views is 2.5"),
        ("module:stages.1:0", {"batch": 0}, VisualizeError, "batch is 0"),
        ("module:stages.1:0", {"restarts": 0}, VisualizeError, "restarts is 0"),
        ("module:stages.1:0", {"seed": -1}, VisualizeError, "seed is -1"),
        ("module:stages.1:0", {"preset": "foo"}, VisualizeError, "fourier, ghiasi, maco, accentuate"),
        ("module:stages.1:0", {"preset": "accentuate"}, VisualizeError, "start=IMAGE"),
        ("module:stages.1:0", {"start": "top"}, VisualizeError, "give an index"),
        ("module:stages.1:0", {"start": "best"}, VisualizeError, "'best'"),
        ("module:stages.1:0", {"start": [1, 2]}, VisualizeError, "2 start images for 1 targets"),
        ("module:stages.1:0", {"start": [1]}, VisualizeError, "PIL image, not int"),
        ("module:stages.1:0", {"animate": "gif"}, VisualizeError, "out="),
        ("module:stages.1:0", {"animate": "avi"}, VisualizeError, "animate is 'avi': input should be 'gif' or 'webp'"),
    ],
)
def test_bad_input_is_refused_before_work_starts(
    model: VisionModel, monkeypatch: pytest.MonkeyPatch, what: Any, options: dict[str, Any], error: Any, words: str
) -> None:
    spy = Spy(monkeypatch)
    with pytest.raises(error, match=words):
        visualize(model, what, **options)
    assert spy.sizes == []


def test_a_bar_is_shown_only_when_asked_for(model: VisionModel, capsys: pytest.CaptureFixture[str]) -> None:
    visualize(model, "module:stages.1:0", preset=SHORT)
    assert capsys.readouterr() == ("", "")
    visualize(model, ["module:stages.1:0", "module:stages.1:1"], preset=SHORT, batch=1, progress=True)
    said = capsys.readouterr()
    assert said.out == ""
    assert "2 of 2 finished" in said.err


@pytest.mark.slow
def test_compiled_blocks_change_nothing_and_are_put_back() -> None:
    model = load_model("mini:clip", device="cpu")
    plain = visualize(model, "blocks.2.mlp.hidden:3", steps=3, views=2)
    before = [module._compiled_call_impl for module in model.module.modules()]
    compiled = visualize(model, "blocks.2.mlp.hidden:3", steps=3, views=2, compile=True)
    assert [module._compiled_call_impl for module in model.module.modules()] == before
    assert np.abs(compiled.images_nhwc.astype(int) - plain.images_nhwc).max() <= 1


@pytest.mark.slow
def test_only_whole_blocks_before_the_target_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from conceptprobe.visualization.optimization.model_state import blocks_before, compiled_blocks

    model = load_model("mini:distilled@random", device="cpu")
    blocks = list(model.module.blocks)
    assert blocks_before(model, ["blocks.3.mlp.hidden"]) == blocks[:3]
    assert blocks_before(model, ["blocks.1.attn.out", "blocks.3.mlp.pre"]) == [blocks[0], blocks[2]]
    handle = blocks[1].attn.register_forward_hook(lambda *args: None)
    assert blocks_before(model, ["blocks.2.resid"]) == [blocks[0]]
    handle.remove()
    with (
        pytest.warns(UserWarning, match="nothing to compile"),
        compiled_blocks(model, ["blocks.0.mlp.hidden"]) as count,
    ):
        assert count == 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with compiled_blocks(model, ["blocks.2.mlp.hidden"]) as count:
            assert count == 2
            assert blocks[1]._compiled_call_impl is not None
    assert blocks[1]._compiled_call_impl is None
