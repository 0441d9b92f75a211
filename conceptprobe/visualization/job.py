"""A visualization job: units are optimised chunk by chunk, compared with natural images, recorded and saved."""

import dataclasses
import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from conceptprobe.indexing import Index
from conceptprobe.indexing.describe import versions
from conceptprobe.models import VisionModel
from conceptprobe.models.hooks import is_hooked
from conceptprobe.visualization.objectives.expressions import Objective
from conceptprobe.visualization.objectives.specific import plain_feature
from conceptprobe.visualization.optimization.batching import Chunks, default_units
from conceptprobe.visualization.optimization.checkpoint import Checkpoint
from conceptprobe.visualization.optimization.engine import Optimised, optimise
from conceptprobe.visualization.output_folder import CHECKPOINT, resumed
from conceptprobe.visualization.progress import Meter
from conceptprobe.visualization.requests import single_feature
from conceptprobe.visualization.results.natural import compare, measure
from conceptprobe.visualization.results.record import Natural, VisualizationRecord
from conceptprobe.visualization.results.storage import is_saved, write_images
from conceptprobe.visualization.results.visualizations import (
    Visualizations,
    join_visualizations,
    load_visualizations,
)
from conceptprobe.visualization.settings import VisualizationSettings


@dataclasses.dataclass(frozen=True, eq=False)
class Unit:
    """One objective with one random stream.

    Attributes:
        objective: The objective.
        restart: Number of the random stream.
        start_chw: The image to start from, or None for noise.
    """

    objective: Objective
    restart: int
    start_chw: Tensor | None

    @property
    def name(self) -> str:
        """The name in checkpoints, unique in a job."""
        return f"{self.objective.key} restart {self.restart}"


@dataclasses.dataclass(frozen=True)
class Job:
    """Everything of a call of `visualize` except its units.

    Attributes:
        model: The model.
        settings: The settings.
        index: The index to compare with, or None.
        out: The output folder, or None.
        start: Description of the start images, or None for noise.
    """

    model: VisionModel
    settings: VisualizationSettings
    index: Index | None
    out: Path | None
    start: str | None

    def run(self, units: Sequence[Unit], progress: bool) -> Visualizations:
        """The visualizations of all units; those that `out` holds already are loaded."""
        finished: dict[str, Visualizations] = {}
        unique = {unit.name: unit for unit in units}
        chunks = Chunks()
        with ExitStack() as stack:
            if self.out is not None:
                stack.enter_context(resumed(self.out, self._shared_settings))
                finished = self._load_finished(units)
            pending = [unit for name, unit in unique.items() if name not in finished]
            meter = Meter(len(unique), len(finished), self.settings.steps)
            stack.enter_context(meter.shown(progress))
            for group in _group_units(pending):
                images = group[0].objective.images
                size = self.settings.batch or default_units(
                    self.model.device, self.settings.views, images, self.model.image_size
                )
                for chunk, optimised in chunks.run(group, size, lambda chunk: self._optimise(chunk, meter)):
                    finished.update(self._finish(chunk, optimised))
                    meter.finish(len(chunk))
        return join_visualizations([finished[unit.name] for unit in units])

    @property
    def _shared_settings(self) -> dict[str, Any]:
        """The settings that all images of a folder share."""
        return {
            "model": self._describe_model,
            "preset": self._preset,
            "steps": self.settings.steps,
            "views": self.settings.views,
            "size": list(self.settings.size),
            "seed": self.settings.seed,
            "frames": self.settings.frames,
            "animate": self.settings.animate,
            "index": None if self.index is None else self.index.path.name,
        }

    @property
    def _describe_model(self) -> dict[str, Any]:
        about: dict[str, Any] = {"spec": self.model.spec, "fingerprint": self.model.fingerprint}
        return {**about, "intervened": True} if is_hooked(self.model) else about

    @property
    def _preset(self) -> dict[str, Any]:
        preset = self.settings.describe_preset()
        return preset if self.start is None else {**preset, "start": self.start}

    def _optimise(self, units: Sequence[Unit], meter: Meter) -> Optimised:
        members = units[0].objective.images
        seeds = [
            stream_seed(self.settings.seed, unit.objective.key, unit.restart, m)
            for unit in units
            for m in range(members)
        ]
        starts = [unit.start_chw for unit in units for _ in range(members) if unit.start_chw is not None]
        return optimise(
            self.model,
            [unit.objective for unit in units],
            seeds,
            self.settings,
            starts=torch.stack(starts) if starts else None,
            checkpoint=None if self.out is None else Checkpoint(self.out / CHECKPOINT, [unit.name for unit in units]),
            on_step=lambda step: meter.step(step, len(units)),
        )

    def _finish(self, units: Sequence[Unit], optimised: Optimised) -> Iterator[tuple[str, Visualizations]]:
        """The visualizations of each unit of a chunk, which are saved if there is an output folder."""
        members = units[0].objective.images
        levels = np.rint(optimised.images_nghwc * 255).astype(np.uint8)
        images_nhwc = levels.reshape(-1, *levels.shape[2:])
        activations, natural = self._score(units, images_nhwc)
        records: Sequence[VisualizationRecord] = [
            self._record(unit, member, optimised.curves_ns[n], optimised.stopped[n], activations[row], natural[row])
            for row, (n, unit, member) in enumerate(
                (n, unit, member) for n, unit in enumerate(units) for member in range(members)
            )
        ]
        frames = optimised.frames_ngthwc
        frames = None if frames is None else frames.reshape(-1, *frames.shape[2:])
        _warn(units, optimised)
        if self.out is not None:
            records = write_images(self.out, images_nhwc, records, frames, self.settings.animate)
        whole = Visualizations(images_nhwc, tuple(records), frames)
        for n, unit in enumerate(units):
            yield unit.name, whole[n * members : (n + 1) * members]

    def _score(self, units: Sequence[Unit], images_nhwc: np.ndarray) -> tuple[np.ndarray, list[Natural | None]]:
        """The activation of each finished image, and its comparison with natural ones."""
        members = units[0].objective.images
        measured = [plain_feature(unit.objective) or unit.objective for unit in units]
        activations = measure(self.model, images_nhwc, measured)
        natural: list[Natural | None] = [None] * len(images_nhwc)
        if self.index is None:
            return activations, natural
        groups: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for row in range(len(images_nhwc)):
            target = single_feature(units[row // members].objective)
            if target is not None:
                feature, pooling = target
                groups.setdefault((feature.layer, pooling), []).append((row, feature.index))
        for (layer, pooling), pairs in groups.items():
            rows_m, features_m = [row for row, _ in pairs], [number for _, number in pairs]
            activations[rows_m], compared = compare(
                self.model, images_nhwc[rows_m], layer, pooling, features_m, self.index
            )
            for row, one in zip(rows_m, compared, strict=True):
                natural[row] = one
        return activations, natural

    def _record(
        self, unit: Unit, member: int, curve_s: np.ndarray, stopped: int | None, activation: float,
        natural: Natural | None,
    ) -> VisualizationRecord:  # fmt: skip
        feature, pooling = single_feature(unit.objective) or (None, None)
        return VisualizationRecord(
            target=unit.objective.key,
            layer=None if feature is None else feature.layer,
            feature=None if feature is None else feature.index,
            pooling=pooling,
            seed=self.settings.seed,
            restart=unit.restart,
            member=member,
            preset=self._preset,
            steps=self.settings.steps,
            views=self.settings.views,
            size=self.settings.size,
            model=self._describe_model,
            activation=float(activation),
            natural=natural,
            curve=tuple(curve_s.tolist()),
            stopped=stopped,
            versions=versions(),
        )

    def _load_finished(self, units: Sequence[Unit]) -> dict[str, Visualizations]:
        """The visualizations that the folder holds already, by the name of their unit."""
        assert self.out is not None
        if not is_saved(self.out):
            return {}
        saved = load_visualizations(self.out)
        rows = {(each.target, each.seed, each.restart, each.member): row for row, each in enumerate(saved.records)}
        finished = {}
        for unit in units:
            keys = [(unit.objective.key, self.settings.seed, unit.restart, m) for m in range(unit.objective.images)]
            if all(key in rows for key in keys):
                finished[unit.name] = saved[[rows[key] for key in keys]]
        return finished


def stream_seed(seed: int, key: str, restart: int, member: int) -> int:
    """The seed of an image's random stream, on which nothing but these four values has an influence."""
    text = json.dumps([seed, key, restart, member])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _warn(units: Sequence[Unit], optimised: Optimised) -> None:
    """Warn of units that stopped, and of units without a gradient."""
    keys = [unit.objective.key for unit in units]
    if stopped := [key for key, at in zip(keys, optimised.stopped, strict=True) if at is not None]:
        warnings.warn(
            f"{len(stopped)} of {len(units)} were stopped, because their loss was not finite: {', '.join(stopped)}; "
            "their images are the last finite ones, and their records name the step",
            stacklevel=6,
        )
    steady = optimised.curves_ns.shape[1] > 1 and np.ptp(optimised.curves_ns, axis=1) == 0
    if flat := [key for key, same in zip(keys, np.broadcast_to(steady, len(keys)), strict=True) if same]:
        warnings.warn(
            f"{len(flat)} of {len(units)} had the same value at every step, since they are off for every view and have "
            f"no gradient: {', '.join(flat)}; start from an image that activates them (start='top'), or visualize the "
            "layer before the activation",
            stacklevel=6,
        )


def _group_units(units: Sequence[Unit]) -> list[list[Unit]]:
    """Units with the same number of images and the same layers, so that no forward pass goes deeper than it must."""
    groups: dict[Any, list[Unit]] = {}
    for unit in units:
        layers = tuple(sorted({str(getattr(term, "layer", "")) for term in unit.objective.terms()}))
        groups.setdefault((unit.objective.images, layers), []).append(unit)
    return list(groups.values())
