"""The learning rate over a run, as a share of its highest value."""

import math

START = 1 / 25
"""Of a one-cycle run."""


def rate(step: int, steps: int, warm_up: float, schedule: str) -> float:
    """At a step, counted from 0.

    "one-cycle" rises along a half cosine from 1/25 and falls along another to 0 (Smith & Topin, "Super-Convergence",
    2019; AdamW's momentum stays as it is). "cosine" rises in a straight line from 0 and falls along a half cosine to 0
    (Loshchilov & Hutter, "SGDR", 2017).
    """
    rise = warm_up * steps
    if step < rise:
        done = (step + 1) / (rise + 1)
        return START + (1 - START) * (1 - math.cos(math.pi * done)) / 2 if schedule == "one-cycle" else done
    return (1 + math.cos(math.pi * min((step - rise) / max(steps - rise, 1), 1))) / 2
