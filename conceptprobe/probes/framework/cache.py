"""A cache for what several probes of the same models and images would otherwise compute again."""

from collections.abc import Callable, Hashable
from typing import Any, TypeVar, cast

from cachetools import LRUCache

Made = TypeVar("Made")

LIMIT = 2**30
"""Bytes that a cache holds at most."""


class Memory:
    """A cache of values by key, up to a number of bytes; the least recently used go first.

    Everyone who asks for a value gets the same object, which nobody may change.

    Args:
        limit: Bytes that the values may take together.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._cache: LRUCache[Hashable, tuple[Any, int]] = LRUCache(limit, getsizeof=lambda entry: entry[1])

    def get(self, key: Hashable, make: Callable[[], Made], size: Callable[[Made], int] = lambda value: 0) -> Made:
        """The value of a key, made where the cache does not hold it.

        Args:
            key: All that the value depends on. Models and heads in it are compared by identity.
            make: Makes the value.
            size: Bytes of a value; a value larger than the limit is not cached.
        """
        if key in self._cache:
            return cast(Made, self._cache[key][0])
        value = make()
        taken = size(value)
        if taken <= self._cache.maxsize:
            self._cache[key] = (value, taken)
        return value
