"""The choice of the device."""

import torch

from conceptprobe.errors import ConceptProbeError


class DeviceError(ConceptProbeError):
    """The requested device does not exist on this machine."""


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """The device of a name; `auto` is the first CUDA device, else Apple's MPS, else the CPU.

    Raises:
        DeviceError: The name is not a device, or this machine has no such device.
    """
    if str(device) == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        chosen = torch.device(device)
    except RuntimeError as error:
        raise DeviceError(f"{device!r} is not a device: use auto, cpu, cuda, cuda:N or mps") from error
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise DeviceError(f"{device!r}: this machine has {torch.cuda.device_count()} CUDA devices; use auto or cpu")
    if chosen.type == "mps" and not torch.backends.mps.is_available():
        raise DeviceError(f"{device!r}: this machine has no MPS device; use auto or cpu")
    return chosen
