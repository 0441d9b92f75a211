"""What several probes of the same models and images would otherwise make again."""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Any, TypeVar

Made = TypeVar("Made")

LIMIT = 2**30
"""Bytes that are kept at most."""


class Memory:
    """Keeps values by key, up to a number of bytes; what was used longest ago goes first.

    A value is the same object for all who ask for it, so nobody may change it.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit, self._total = limit, 0
        self._kept: OrderedDict[Hashable, tuple[Any, int]] = OrderedDict()

    def get(self, key: Hashable, make: Callable[[], Made], size: Callable[[Made], int] = lambda value: 0) -> Made:
        """The value of a key, made where it is not kept.

        Args:
            key: All that the value depends on. Models and heads in it count by identity.
            size: Bytes of a value; one that is larger than all that may be kept is not.
        """
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key][0]
        value = make()
        taken = size(value)
        if taken <= self._limit:
            self._kept[key] = (value, taken)
            self._total += taken
        while self._total > self._limit:
            _, (_, freed) = self._kept.popitem(last=False)
            self._total -= freed
        return value
