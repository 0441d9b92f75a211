"""Private names of torch: each test says what to do when a new torch has others."""

import pytest
import torch
from torch import Tensor, nn

from conceptprobe.models.torch_internals import compiled_in_place, has_forward_hooks, new_hooks_removed

CHANGED = f"torch {torch.__version__} keeps this elsewhere: change conceptprobe/models/torch_internals.py"


@pytest.mark.parametrize("name", ["_forward_hooks", "_forward_pre_hooks", "_compiled_call_impl"])
def test_torch_has_the_name(name: str) -> None:
    assert hasattr(nn.Module(), name), f"nn.Module has no {name}. {CHANGED}"


@pytest.mark.parametrize("register", ["register_forward_hook", "register_forward_pre_hook"])
@pytest.mark.parametrize("options", [{}, {"with_kwargs": True}, {"prepend": True}])
def test_every_kind_of_forward_hook_is_seen(register: str, options: dict[str, bool]) -> None:
    module = nn.Sequential(nn.Identity())
    assert not has_forward_hooks(module), CHANGED
    handle = getattr(module, register)(lambda *args: None, **options)
    assert has_forward_hooks(module), f"{register} is not seen. {CHANGED}"
    assert not has_forward_hooks(module[0]), CHANGED
    handle.remove()
    assert not has_forward_hooks(module), CHANGED


def test_new_hooks_are_removed_and_earlier_ones_stay() -> None:
    module, calls = nn.Sequential(nn.Identity()), []

    def note(name: str) -> None:
        module[0].register_forward_hook(lambda *args: calls.append(name))

    note("earlier")
    with new_hooks_removed(module):
        note("new")
        module(torch.zeros(1))
    assert calls == ["earlier", "new"]
    module(torch.zeros(1))
    assert calls[2:] == ["earlier"], CHANGED


def test_a_compiled_module_is_called_as_before_afterwards() -> None:
    class Twice(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            compiling.append(torch.compiler.is_compiling())
            return 2 * x

    compiling: list[bool] = []
    module = Twice()
    original = torch.compile
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "compile", lambda call, **options: original(call, backend="eager"))
        with compiled_in_place([module]):
            assert module._compiled_call_impl is not None, f"Module.compile sets no _compiled_call_impl. {CHANGED}"
            assert module(torch.ones(1)) == 2
    assert module._compiled_call_impl is None, CHANGED
    compiling.clear()
    assert module(torch.ones(1)) == 2
    assert compiling == [False], f"the module is still compiled. {CHANGED}"
