import pytest
import torch

from conceptprobe.device import DeviceError, resolve_device


def test_auto_is_what_the_machine_has() -> None:
    assert resolve_device().type == ("cuda" if torch.cuda.is_available() else resolve_device("auto").type)
    assert resolve_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("name", ["toaster", "cuda:99", ""])
def test_a_device_that_is_not_there_is_refused(name: str) -> None:
    with pytest.raises(DeviceError, match="use auto"):
        resolve_device(name)
