"""Many units, chunk by chunk: optimised, scored, recorded and saved."""

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
    """One objective with a random stream of its own.

    Attributes:
        restart: Number of the stream.
        start_chw: The image to start from, or None for noise.
    """

    objective: Objective
    restart: int
    start_chw: Tensor | None

    @property
    def name(self) -> str:
        return f"{self.objective.key} restart {self.restart}"


@dataclasses.dataclass(frozen=True)
class Job:
    """All that decides what is made, but for the units; see `visualize`.

    Attributes:
        start: What tells the start images from others, or None for noise.
    """

    model: VisionModel
    settings: VisualizationSettings
    index: Index | None
    out: Path | None
    start: str | None

    def run(self, units: Sequence[Unit], progress: bool) -> Visualizations:
        """All units, those that `out` holds already as they are there."""
        made: dict[str, Visualizations] = {}
        unique = {unit.name: unit for unit in units}
        chunks = Chunks()
        with ExitStack() as stack:
            if self.out is not None:
                stack.enter_context(resumed(self.out, self._shared))
                made = self._finished(units)
            pending = [unit for name, unit in unique.items() if name not in made]
            meter = Meter(len(unique), len(made), self.settings.steps)
            stack.enter_context(meter.shown(progress))
            for group in _alike(pending):
                images = group[0].objective.images
                size = self.settings.batch or default_units(
                    self.model.device, self.settings.views, images, self.model.image_size
                )
                for chunk, optimised in chunks.run(group, size, lambda some: self._optimise(some, meter)):
                    made.update(self._keep(chunk, optimised))
                    meter.finish(len(chunk))
        return join_visualizations([made[unit.name] for unit in units])

    @property
    def _shared(self) -> dict[str, Any]:
        """What all images of a folder share: everything that decides an image beside its objective and restart."""
        return {
            "model": self._about_model,
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
    def _about_model(self) -> dict[str, Any]:
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

    def _keep(self, units: Sequence[Unit], optimised: Optimised) -> Iterator[tuple[str, Visualizations]]:
        """Each unit's images with their records, saved where there is a folder."""
        members = units[0].objective.images
        levels = np.rint(optimised.images_nghwc * 255).astype(np.uint8)
        images_nhwc = levels.reshape(-1, *levels.shape[2:])
        activations, natural = self._score(units, images_nhwc)
        records: Sequence[VisualizationRecord] = [
            self._record(unit, member, optimised.curves_ns[n], optimised.stopped[n], activations[at], natural[at])
            for n, unit in enumerate(units)
            for member in range(members)
            for at in [n * members + member]
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
        """The activation of each finished image, and how it lies among natural ones."""
        members = units[0].objective.images
        measured = [plain_feature(unit.objective) or unit.objective for unit in units]
        activations = measure(self.model, images_nhwc, measured)
        natural: list[Natural | None] = [None] * len(images_nhwc)
        if self.index is None:
            return activations, natural
        places: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for at in range(len(images_nhwc)):
            own = single_feature(units[at // members].objective)
            if own is not None:
                places.setdefault((own[0].layer, own[1]), []).append((at, own[0].index))
        for (layer, pooling), pairs in places.items():
            at_m, features_m = [at for at, _ in pairs], [number for _, number in pairs]
            activations[at_m], found = compare(self.model, images_nhwc[at_m], layer, pooling, features_m, self.index)
            for at, one in zip(at_m, found, strict=True):
                natural[at] = one
        return activations, natural

    def _record(
        self, unit: Unit, member: int, curve_s: np.ndarray, stopped: int | None, activation: float,
        natural: Natural | None,
    ) -> VisualizationRecord:  # fmt: skip
        own = single_feature(unit.objective)
        return VisualizationRecord(
            target=unit.objective.key,
            layer=None if own is None else own[0].layer,
            feature=None if own is None else own[0].index,
            pooling=None if own is None else own[1],
            seed=self.settings.seed,
            restart=unit.restart,
            member=member,
            preset=self._preset,
            steps=self.settings.steps,
            views=self.settings.views,
            size=self.settings.size,
            model=self._about_model,
            activation=float(activation),
            natural=natural,
            curve=tuple(curve_s.tolist()),
            stopped=stopped,
            versions=versions(),
        )

    def _finished(self, units: Sequence[Unit]) -> dict[str, Visualizations]:
        """What the folder holds already, by the names of the units."""
        assert self.out is not None
        if not is_saved(self.out):
            return {}
        there = load_visualizations(self.out)
        places = {(own.target, own.seed, own.restart, own.member): row for row, own in enumerate(there.records)}
        found = {}
        for unit in units:
            keys = [(unit.objective.key, self.settings.seed, unit.restart, m) for m in range(unit.objective.images)]
            if all(key in places for key in keys):
                found[unit.name] = there[[places[key] for key in keys]]
        return found


def stream_seed(seed: int, key: str, restart: int, member: int) -> int:
    """What an image's random stream is seeded with: of everything that it may depend on, and nothing else."""
    text = json.dumps([seed, key, restart, member])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def _warn(units: Sequence[Unit], optimised: Optimised) -> None:
    """Name the units whose images are not what was asked for."""
    keys = [unit.objective.key for unit in units]
    if stopped := [key for key, at in zip(keys, optimised.stopped, strict=True) if at is not None]:
        warnings.warn(
            f"{len(stopped)} of {len(units)} were stopped, because their loss was not finite: {', '.join(stopped)}; "
            "their images are the last good ones, and their records say at which step",
            stacklevel=6,
        )
    steady = optimised.curves_ns.shape[1] > 1 and np.ptp(optimised.curves_ns, axis=1) == 0
    if flat := [key for key, same in zip(keys, np.broadcast_to(steady, len(keys)), strict=True) if same]:
        warnings.warn(
            f"{len(flat)} of {len(units)} had the same value at every step, since they are off for every view and give "
            f"no gradient: {', '.join(flat)}; start from an image that they see something in (start='top'), or "
            "visualize the layer before the activation",
            stacklevel=6,
        )


def _alike(units: Sequence[Unit]) -> list[list[Unit]]:
    """Units of as many images that look at the same layers: together no one's forward goes deeper than it must."""
    groups: dict[Any, list[Unit]] = {}
    for unit in units:
        layers = tuple(sorted({str(getattr(term, "layer", "")) for term in unit.objective.terms()}))
        groups.setdefault((unit.objective.images, layers), []).append(unit)
    return list(groups.values())
