"""The highest rate that something carries."""

from __future__ import annotations

from collections.abc import Callable


def highest_rate(carries: Callable[[float], bool], start: float, ceiling: float, precision: float = 0.05, attempts: int = 2) -> float:
    """Doubles from `start` until a rate is not carried, then halves the distance until it is within `precision` of the result.

    A rate is too high when it fails `attempts` times: one hiccup of a busy machine is none of the path. 0: not even a hundredth of `start`.
    """
    def tried(rate: float) -> bool:
        return any(carries(rate) for _ in range(attempts))

    good, bad, rate = 0.0, ceiling, start
    while rate < ceiling:
        if not tried(rate):
            bad = rate
            break
        good, rate = rate, rate * 2
    while bad - good > precision * max(good, start / 100):
        middle = (good + bad) / 2
        if tried(middle):
            good = middle
        else:
            bad = middle
    return good
