"""The timer of digits.py, for both of its processes."""

import statistics
import time
from collections.abc import Callable
from typing import Any


def timed(call: Callable[[], Any], repeats: int = 5) -> tuple[Any, float]:
    """Return the result of a call and its median time in seconds, after an untimed call."""
    result = call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)
