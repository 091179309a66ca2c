"""From many logits to one: over the cells of a map, the frames of a cine, the tiles of a slide."""

import math

import torch

POOLINGS = ("mean", "max", "log-mean-exp", "log-sum-exp")


def pool(logits: torch.Tensor, how: str, dims: tuple[int, ...], sharpness: float = 1.0) -> torch.Tensor:
    """Pool over `dims`.

    Args:
        logits: any shape.
        how: "mean"; "max"; "log-mean-exp", between the two whatever the number of parts; "log-sum-exp", which grows
            with the number of positive parts, as the odds of "at least one of them" do (Pinheiro & Collobert, 2015).
        dims: axes to pool away.
        sharpness: of the two smooth poolings; the greater, the nearer to "max", and the less many weak parts add up.

    Raises:
        ValueError: there is no such pooling.
    """
    if how == "mean":
        return logits.mean(dims)
    if how == "max":
        return logits.amax(dims)
    if how == "log-sum-exp":
        return torch.logsumexp(sharpness * logits, dims) / sharpness
    if how == "log-mean-exp":
        parts = math.prod(logits.shape[dim] for dim in dims)
        return (torch.logsumexp(sharpness * logits, dims) - math.log(parts)) / sharpness
    raise ValueError(f"there is no pooling {how!r}: it is one of {', '.join(POOLINGS)}")


def of_series(output: torch.Tensor, head: str, how: str) -> torch.Tensor:
    """Logits (K,) of a series from the output (B, K) for its parts; of a single part they are its own.

    Of a softmax the logarithms of the probabilities are pooled, because its logits mean nothing but to each other.
    """
    if len(output) == 1:
        return output[0]
    return pool(output.log_softmax(1) if head == "softmax" else output, how, (0,))
