"""`conceptprobe doctor`."""

import importlib.metadata
import platform
import sys

import typer

PACKAGES = ("conceptprobe", "torch", "torchvision", "timm", "open_clip_torch", "numpy", "pandas", "pillow", "pyarrow")
FAISS = ("faiss-cpu", "faiss-gpu")


def version(package: str) -> str | None:
    """The installed version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def doctor() -> None:
    """Check this installation.

    Printed are the versions of the packages, the device, and the embedded images and models. The exit code is 1 if
    FAISS is missing.
    """
    import torch

    from conceptprobe.device import resolve_device
    from conceptprobe.images import load_images
    from conceptprobe.models import load_model

    typer.echo(f"python           {platform.python_version()}  {sys.executable}")
    for package in PACKAGES:
        typer.echo(f"{package:<16} {version(package)}")
    faiss = [f"{name} {version(name)}" for name in FAISS if version(name)]
    typer.echo(f"faiss            {', '.join(faiss) or 'missing: pip install conceptprobe[cpu] or conceptprobe[gpu]'}")
    device = resolve_device()
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    typer.echo(f"device           {device}  ({name})")
    images = load_images("mini:emoji")
    typer.echo(f"embedded images  {len(images)}")
    for spec in ("mini:clip", "mini:supervised", "mini:distilled"):
        typer.echo(f"{spec:<16} {load_model(spec, device='cpu').fingerprint[:12]}")
    if not faiss:
        raise typer.Exit(1)
