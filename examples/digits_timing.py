"""How digits.py takes times: alike in both of its processes."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def timed(call: Callable[[], Any], repeats: int = 5) -> tuple[Any, float]:
    """Return what a call gives, and its median time in seconds after a first, untimed call."""
    result = call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)
