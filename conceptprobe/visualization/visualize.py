"""Images that maximise features and other objectives."""

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
    """Optimise an image for each objective that maximises it, many together and each as if it were alone.

    Args:
        model: A `VisionModel`, or the spec of one.
        what: A feature (`FeatureId`, or its printed form `blocks.10.mlp.hidden:1234`), an objective, or several.
        preset: `fourier`, `ghiasi`, `maco`, `accentuate`, or a `Preset`.
        index: An index of the model, or its directory, with whose natural images each image is compared.
        steps: Number of steps; by default the preset's.
        size: One number of pixels, or rows and columns; by default the preset's.
        views: Views of an image in a step; by default the preset's.
        seed: An image depends on the seed, the objective's key and the restart, and on no other image.
        restarts: Images of each objective, from different random streams.
        start: An image to start from, one for each objective, or "top" for the index's top image of each feature. By
            default noise, or "top" for a preset that stays near its start.
        images: Where the index's images are now; by default where it was built from.
        batch: Units (images, or sets of them) that are optimised together, fewer if memory runs out. By default the
            number depends on the device.
        out: A folder to which each finished chunk is saved. Images that it holds already, with the same settings, are
            not made again, and an interrupted run resumes from its last checkpoint, on the CPU to the same bits.
        frames: Keep the images of every so many steps; 0 keeps none.
        animate: `gif` or `webp` saves the frames as animations in `out`, description 30 frames if `frames` is 0.
        compile: Compile the blocks before the target with `torch.compile`.
        progress: Show a bar on stderr.

    Returns:
        The images in the order of `what`, the restarts of an objective one after the other, and so the images of a set.

    Raises:
        VisualizeError: A setting or an objective is not possible, `out` was made with other settings, the model has
            no gradient, or memory runs out with one unit. Units that were finished before are in `out`.
        FolderBusyError: Another process visualizes into `out`.
        OutputError: `out` cannot be made, or holds something else.
        UnknownLayerError: There is no such layer; the error names similar layers.
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
        for layer, pooling in dict.fromkeys((each[0].layer, each[1]) for each in targets if each is not None):
            check_index(index, model, layer, pooling)
    if start is None and settings.preset.near is not None:
        if index is None:
            raise VisualizeError(
                f"the preset {settings.preset.name} starts from an image and stays near it: give start=IMAGE, or an "
                "index for the top image of each feature"
            )
        start = "top"
    starts, description = None, None
    if start is not None:
        starts = load_starts(start, targets, model, settings.size, index=index, images=images)
        description = describe_start(start, starts, index)
    job = Job(model, settings, index, None if out is None else Path(out), description)
    units = [
        Unit(objective, restart, None if starts is None else starts[number])
        for number, objective in enumerate(objectives)
        for restart in range(settings.restarts)
    ]
    return job.run(units, progress)
