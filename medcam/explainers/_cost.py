"""What a method costs, in passes: numbers, where only its settings decide them, or so many for each of something."""

from dataclasses import dataclass, replace
from typing import Literal

Thing = Literal["channel", "block", "window"]


@dataclass(frozen=True)
class Each:
    """`always` so many passes, and one for each thing that the layer, the network or the image has.

    Channels that are dead or the same everywhere are left out, so that it may be fewer.
    """

    what: Thing
    always: int = 0

    def of(self, things: int) -> int:
        """How many passes where there are so many things."""
        return self.always + things

    def __str__(self) -> str:
        return f"{self.always} + one for each {self.what}" if self.always else f"one for each {self.what}"


Cost = int | Each


def again(cost: Cost, times: int) -> Cost:
    """The cost of asking at several layers, each with things of its own."""
    return cost * times if isinstance(cost, int) else replace(cost, always=cost.always * times)


def more(cost: Cost, passes: int) -> Cost:
    """So many passes on top, or off."""
    return cost + passes if isinstance(cost, int) else replace(cost, always=cost.always + passes)


def few(cost: Cost, most: int) -> bool:
    """Whether it is no more than so many passes, whatever the network."""
    return isinstance(cost, int) and cost <= most
