"""Run benchmarks and write what they print to docs/benchmarks.md, each with the machine and the day.

python benchmarks/run.py [--quick] [--only overhead search ...] [--out docs/benchmarks.md]

With --only, the sections of the others stay as they are.
"""

import argparse
import datetime
import importlib.metadata
import os
import platform
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
HEAD = (
    "# Benchmarks\n\nWritten by `python benchmarks/run.py`; benchmarks/README.md says what each measures and how. "
    "Times are medians, with the lowest and the highest in brackets; ratios are of turns that followed each other."
)
PACKAGES = ("conceptprobe", "torch", "timm", "numpy", "pillow", "faiss-cpu", "faiss-gpu")


@dataclass(frozen=True)
class Benchmark:
    """A script here, and what it is told for the full and for the quick run."""

    title: str
    script: str
    full: tuple[str, ...] = ()
    quick: tuple[str, ...] = ("--quick",)


BENCHMARKS = {
    "overhead": Benchmark(
        "An index beside the bare forward pass", "overhead.py", ("--images", "2000", "--rounds", "2")
    ),
    "allocator": Benchmark("A forward pass that keeps freed memory", "allocator.py"),
    "jpeg": Benchmark("An index of JPEG files", "jpeg.py", ("--images", "512", "--rounds", "2")),
    "fast_decode": Benchmark("Fast decoding: images a second", "fast_decode.py", ("--rounds", "5"), ("--rounds", "1")),
    "fast_lists": Benchmark("Fast decoding: the same lists", "fast_decode.py", ("--lists",), ("--lists",)),
    "memory": Benchmark("Memory at ten times the images", "memory.py"),
    "cost_model": Benchmark("What an index costs, as a formula", "cost_model.py"),
    "peers_mini": Benchmark(
        "Beside other tools: a small model",
        "peers.py",
        ("--cases", "mini", "--rounds", "3"),
        ("--cases", "mini", "--quick"),
    ),
    "peers_middle": Benchmark(
        "Beside other tools: a layer in the middle",
        "peers.py",
        ("--cases", "middle", "--rounds", "2"),
        ("--cases", "middle", "--quick"),
    ),
    "peers_all": Benchmark(
        "Beside other tools: all layers", "peers.py", ("--cases", "all", "--rounds", "2"), ("--cases", "all", "--quick")
    ),
    "search": Benchmark("Searching for a direction", "search.py"),
    "visualization_speed": Benchmark("Visualizing: a step, a feature, a batch", "visualization_speed.py"),
    "report": Benchmark("A large report, written and browsed", "report.py"),
}


def machine() -> str:
    """What the figures depend on, in a line."""
    cpuinfo, meminfo = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    memory = f"{int(meminfo.read_text().split()[1]) / 2**20:.0f} GiB" if meminfo.exists() else "memory unknown"
    versions = []
    for package in PACKAGES:
        try:
            versions.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    processor = ", ".join(sorted(names)) or platform.processor()
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    python = f"Python {platform.python_version()}"
    return ", ".join([f"{cores} processors ({processor})", memory, python, *versions, today])


def section(benchmark: Benchmark, quick: bool) -> str:
    """What one benchmark says, and by which command."""
    options = benchmark.quick if quick else benchmark.full
    done = subprocess.run(
        [sys.executable, HERE / benchmark.script, *options], stdout=subprocess.PIPE, text=True, check=False
    )
    said = done.stdout.strip() if done.returncode == 0 else f"Failed with exit status {done.returncode}."
    if not any(line.startswith("|") for line in said.splitlines()):
        said = f"```\n{said}\n```"
    command = " ".join(["python", f"benchmarks/{benchmark.script}", *options])
    return f"## {benchmark.title}\n\n`{command}`\n\n{said}\n\n{machine()}"


def sections(path: Path) -> dict[str, str]:
    """Those that a file has, by title."""
    if not path.exists():
        return {}
    parts = path.read_text(encoding="utf-8").split("\n## ")[1:]
    return {part.partition("\n")[0]: f"## {part.strip()}" for part in parts}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, to see that all runs; writes nothing")
    parser.add_argument("--only", nargs="+", choices=BENCHMARKS, default=list(BENCHMARKS))
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs" / "benchmarks.md")
    given = parser.parse_args()
    kept = {} if given.quick else sections(given.out)
    for name in given.only:
        print(f"{name} ...", file=sys.stderr, flush=True)
        benchmark = BENCHMARKS[name]
        kept[benchmark.title] = section(benchmark, given.quick)
        if given.quick:
            print(kept[benchmark.title], flush=True)
            continue
        parts = [kept[each.title] for each in BENCHMARKS.values() if each.title in kept]
        given.out.write_text("\n\n".join([HEAD, *parts]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
