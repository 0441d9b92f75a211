"""Images of what features and other objectives look for."""

import os
from pathlib import Path
from typing import Literal

from conceptprobe.images import ImagesLike, as_images
from conceptprobe.indexing.index import IndexLike, as_index
from conceptprobe.models import ModelLike, as_model
from conceptprobe.visualization.errors import VisualizeError
from conceptprobe.visualization.job import Job, Unit
from conceptprobe.visualization.optimization.presets import Preset
from conceptprobe.visualization.parametrizations.start_images import Start, describe_start, load_starts
from conceptprobe.visualization.requests import What, read_objectives, single_feature
from conceptprobe.visualization.results.natural import check_index
from conceptprobe.visualization.results.visualizations import Visualizations
from conceptprobe.visualization.settings import choose_settings


def visualize(
    model: ModelLike,
    what: What,
    *,
    preset: str | Preset = "fourier",
    index: IndexLike | None = None,
    steps: int | None = None,
    size: int | tuple[int, int] | None = None,
    views: int | None = None,
    seed: int = 0,
    restarts: int = 1,
    start: Start | None = None,
    images: ImagesLike | None = None,
    batch: int | None = None,
    out: str | os.PathLike[str] | None = None,
    frames: int = 0,
    animate: Literal["gif", "webp"] | None = None,
    compile: bool = False,
    progress: bool = False,
) -> Visualizations:
    """Make an image for each objective that activates it most, many at once and each as if it were alone.

    Args:
        model: What `load_model` or `VisionModel.wrap` gives.
        what: A feature (`FeatureId`, or its printed form `blocks.10.mlp.hidden:1234`), an objective, or several.
        preset: `fourier`, `ghiasi`, `maco`, `accentuate`, or a `Preset` of your own.
        index: An index of the model, or its directory: says how each image compares with natural ones.
        steps, size, views: Instead of the preset's; size in pixels, one number or rows and columns.
        seed: With the objective's key and the restart it decides an image, whatever else is made along with it.
        restarts: Images of each objective, from different random streams.
        start: An image to start from, one for each objective, or "top": the index's top image of each feature. By
            default noise; "top" for a preset that stays near its start, where there is an index.
        images: Where the index's images are now, if not where it was built from.
        batch: Units (images, or sets of them) optimised at once; less where memory runs out. By default by the device.
        out: A folder to save each chunk to as it is finished. What was made there before with the same settings is not
            made again, and a run that was killed goes on from its last checkpoint, on the CPU to the same bits.
        frames: Keep the images of every so many steps; 0 for none.
        animate: `gif` or `webp`: save frames as animations in `out`; takes some 30 frames where `frames` is 0.
        compile: Compile the blocks before the target with `torch.compile`.
        progress: Show a bar on stderr.

    Returns:
        In the order of `what`, the restarts of each one after the other, and the images of a set likewise.

    Raises:
        VisualizeError: A setting or an objective is not possible, `out` was made with other settings, the model has
            no gradient, or memory runs out with one unit at once. What was finished before is in `out`.
        FolderBusyError: Another process visualizes into `out`.
        OutputError: `out` cannot be made, or holds something else.
        UnknownLayerError: There is no such layer; says which are near.
        IndexingError: `index` is no index.
    """
    model = as_model(model)
    index = None if index is None else as_index(index)
    images = None if images is None else as_images(images)
    objectives = read_objectives(what, model)
    settings = choose_settings(
        model, preset, size=size, steps=steps, views=views, seed=seed, restarts=restarts, batch=batch, frames=frames,
        animate=animate, compile=compile,
    )  # fmt: skip
    if animate is not None and out is None:
        raise VisualizeError(f"animate is {animate!r}, but there is no folder to save animations to: give out=FOLDER")
    targets = [single_feature(objective) for objective in objectives]
    if index is not None:
        for own in dict.fromkeys((own[0].layer, own[1]) for own in targets if own is not None):
            check_index(index, model, *own)
    if start is None and settings.preset.near is not None:
        if index is None:
            raise VisualizeError(
                f"the preset {settings.preset.name} starts from an image and stays near it: give start=IMAGE, or an "
                "index for the top image of each feature"
            )
        start = "top"
    starts, about = None, None
    if start is not None:
        starts = load_starts(start, targets, model, settings.size, index=index, images=images)
        about = describe_start(start, starts, index)
    job = Job(model, settings, index, None if out is None else Path(out), about)
    units = [
        Unit(objective, restart, None if starts is None else starts[number])
        for number, objective in enumerate(objectives)
        for restart in range(settings.restarts)
    ]
    return job.run(units, progress)
