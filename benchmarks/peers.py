"""The top images of the same features by other tools, side by side.

    python benchmarks/peers.py [--quick] [--rounds 5] [--cases mini middle all] [--cache DIR]

zennit-crp 0.6.0, semanticlens 0.2.1 and thingsvision 2.7.3, from PyPI, each in a process and a virtual environment of
its own, which are made in the cache folder the first time (2 GB) and take torch from this environment, so that all run
the same. Every tool gets the same torch module, the same PIL images in memory at the size of the model, the same
preprocessing, the same batch size, and k = 40, which is fixed in zennit-crp; the pooling is the mean over patches. The
tools take turns, an idle one waits for its input.

Each is used as its source says that it is fastest, see peer.py. conceptprobe runs as from its command line, which keeps
the memory that it frees; `from a script` without. Cases:

mini     all 6 `mlp.hidden` layers of `mini:supervised` over the emoji: small layers, so that bookkeeping decides
middle   block 5 of a ViT-S/16: stopping the forward there decides
all      all 12 blocks of a ViT-S/16

`same sets` is the share of features whose 40 images are exactly those of a float64 sort of the float64 mean of the
activations; `overlap` the mean share of the 40 that are among those. The two bare forwards, over pixels that are ready,
say how fast any tool could be that keeps freed memory: one that stops at the last layer, and one that does not.
"""

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

import numpy as np
import torch

from common import KEPT, print_table, spread
from peer import BATCH, CASES, Case, K, pooled_mean

ENVIRONMENTS = {
    "crp": ["zennit-crp==0.6.0", "semanticlens==0.2.1"],
    # Its own requirements ask for torchvision 0.15.2, and so for a torch of 2023, which would not be the same torch.
    "thingsvision": [
        "numpy<2", "pandas<3", "pyarrow<18", "tensorflow-cpu<2.16", "h5py", "matplotlib", "numba", "torchtyping",
        "scikit-image", "accelerate<1.10", "transformers==4.40.1",
    ],
}  # fmt: skip
TOOLS = {
    "conceptprobe": None,
    "conceptprobe, from a script": None,
    "zennit-crp": "crp",
    "zennit-crp, no backward": "crp",
    "semanticlens": "crp",
    "thingsvision": "thingsvision",
    "the whole forward": None,
    "the forward to the last layer": None,
}
KEEPING = ("conceptprobe", "the whole forward", "the forward to the last layer")  # freed memory
CACHE = Path.home() / ".cache" / "conceptprobe-benchmarks"


def environment(name: str, cache: Path) -> Path:
    """The Python of an environment that has some packages, and finds all others here."""
    folder = cache / name
    python, done = folder / "bin" / "python", folder / "complete"
    if not done.exists():
        venv.create(folder, with_pip=True, clear=True)
        where = "import sysconfig; print(sysconfig.get_path('purelib'))"
        site = subprocess.run([python, "-c", where], check=True, capture_output=True, text=True).stdout.strip()
        root = Path(__file__).parents[1]
        (Path(site) / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n{root}\n")
        pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        if name == "thingsvision":
            subprocess.run([*pip, "--no-deps", "thingsvision==2.7.3"], check=True)
        subprocess.run([*pip, *ENVIRONMENTS[name]], check=True)
        done.touch()
    return python


class Peer:
    """A tool that waits in a process of its own."""

    def __init__(self, tool: str, case: str, images: int, python: Path) -> None:
        self._process = subprocess.Popen(
            [python, Path(__file__).with_name("peer.py"), tool, case, str(images)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, **KEPT} if tool in KEEPING else None,
        )  # fmt: skip

    def run(self, lists: Path) -> float:
        """Seconds of one run; its lists are left in a file."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{lists}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a peer ended with {self._process.wait()}: {self._process.args}")
        return json.loads(line)["seconds"]

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def oracle(case: Case, images: int) -> dict[str, np.ndarray]:
    """The rows of a float64 sort for every layer, int64 [f,k]: value descending, then row ascending."""
    model, pixels_nchw, kept = case.model(), case.pixels(images), {path: [] for path in case.paths}
    handles = [
        model.module.get_submodule(path).register_forward_hook(
            lambda _module, _input, acts, path=path: kept[path].append(pooled_mean(acts.double()))
        )
        for path in case.paths
    ]
    with torch.inference_mode():
        for batch in pixels_nchw.split(BATCH):
            model.module(batch)
    for handle in handles:
        handle.remove()
    return {
        path: np.stack([np.lexsort((np.arange(images), -column))[:K] for column in torch.cat(values).numpy().T])
        for path, values in kept.items()
    }


def agreement(lists: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> dict[str, str]:
    """Share of features with exactly the expected set, and mean share of the expected that is there."""
    if not lists:
        return {"same sets": "", "overlap": ""}
    shares = np.array(
        [
            len({*own.tolist()} & {*right.tolist()}) / K
            for path, rows in expected.items()
            for own, right in zip(lists[path], rows, strict=True)
        ]
    )
    return {"same sets": f"{(shares == 1).mean():.3f}", "overlap": f"{shares.mean():.4f}"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, to see that it runs; its figures mean little"
    )
    parser.add_argument("--rounds", type=int, help="5; with --quick 1")
    parser.add_argument("--cache", type=Path, default=CACHE, help="where the environments of the other tools lie")
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    given = parser.parse_args()
    rounds = given.rounds or (1 if given.quick else 5)
    pythons = {name: environment(name, given.cache) for name in ENVIRONMENTS}
    for name in given.cases:
        case = CASES[name]
        images = case.quick if given.quick else case.images
        expected = oracle(case, images)
        with tempfile.TemporaryDirectory() as folder:
            peers = {
                tool: Peer(tool, name, images, pythons[where] if where else Path(sys.executable))
                for tool, where in TOOLS.items()
            }
            seconds: dict[str, list[float]] = {tool: [] for tool in TOOLS}
            for number in range(rounds + 1):
                for tool in list(TOOLS) if number % 2 else reversed(TOOLS):
                    took = peers[tool].run(Path(folder) / f"{tool}.npz")
                    if number:  # the first turn warms up
                        seconds[tool].append(took)
            for peer in peers.values():
                peer.end()
            lists = {tool: dict(np.load(Path(folder) / f"{tool}.npz")) for tool in TOOLS}
        ours = np.array(seconds["conceptprobe"])
        print(f"{name}: {case.spec}, {', '.join(case.paths[:1] + case.paths[1:][-1:])}, {images:,} images, "
              f"{torch.get_num_threads()} threads\n")  # fmt: skip
        print_table(
            [
                {
                    "tool": tool,
                    "seconds": spread(np.array(own)),
                    "times conceptprobe": spread(np.array(own) / ours),
                    **agreement(lists[tool], expected),
                }
                for tool, own in seconds.items()
            ]
        )


if __name__ == "__main__":
    main()
