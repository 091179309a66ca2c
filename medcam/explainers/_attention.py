"""The softmax matrices of attention while a model runs: seen in the graph, also where attention is one fused operation.

Fused attention ("flash") never holds its matrix. Within `Watch` it is written out, for as long as the model runs and
for nobody else; the model itself is not touched.
"""

import inspect
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode

SOFTMAX = (torch.softmax, Tensor.softmax, functional.softmax, torch.special.softmax)
Take = Callable[[int, Tensor], Tensor]
"""Called with the how-manieth softmax it is (from 0) and what it gives; what it returns goes on in its place."""


class Watch(TorchFunctionMode):
    """Within, every softmax is shown to `take`, and attention that is one operation is made of several."""

    def __init__(self, take: Take) -> None:
        super().__init__()
        self.take, self.count = take, 0

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in SOFTMAX:
            return self.seen(func(*args, **kwargs))
        if func is functional.scaled_dot_product_attention:
            return self._attended(*args, **kwargs)
        if func is functional.multi_head_attention_forward:
            return self._multi_head(func, args, kwargs)
        return func(*args, **kwargs)

    def seen(self, matrix: Tensor) -> Tensor:
        """A softmax has run."""
        self.count += 1
        return self.take(self.count - 1, matrix)

    def _attended(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        """`scaled_dot_product_attention`: queries (..., n, d) and keys (..., m, d) to (..., n, d)."""
        if enable_gqa:
            several = query.shape[-3] // key.shape[-3]
            key, value = key.repeat_interleave(several, -3), value.repeat_interleave(several, -3)
        logits = query @ key.transpose(-2, -1) * (1 / math.sqrt(query.shape[-1]) if scale is None else scale)
        if is_causal:
            attn_mask = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).tril()
        matrix = self.seen(_masked(logits, attn_mask).softmax(-1))
        return (functional.dropout(matrix, dropout_p) if dropout_p else matrix) @ value

    def _multi_head(self, func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What `torch.nn.MultiheadAttention` calls: tokens (n, B, C), or (n, C), to the same and the matrix."""
        given = inspect.signature(func).bind(*args, **kwargs)
        given.apply_defaults()
        a = given.arguments
        odd = (a["bias_k"], a["bias_v"], a["static_k"], a["static_v"], a["add_zero_attn"] or None)
        if any(one is not None for one in odd):
            return func(*args, **kwargs)  # its matrix has columns that are no token's
        single = a["query"].ndim == 2
        inputs = [a[name][:, None] if single else a[name] for name in ("query", "key", "value")]  # (n, B, C)
        separate = a["use_separate_proj_weight"]
        weights = [a[f"{name}_proj_weight"] for name in "qkv"] if separate else a["in_proj_weight"].chunk(3)
        biases = [None] * 3 if a["in_proj_bias"] is None else a["in_proj_bias"].chunk(3)
        heads, batch = a["num_heads"], inputs[0].shape[1]
        q, k, v = (
            functional.linear(tokens.transpose(0, 1), weight, bias).unflatten(-1, (heads, -1)).transpose(1, 2)
            for tokens, weight, bias in zip(inputs, weights, biases, strict=True)
        )  # each (B, heads, n, d)
        logits = q @ k.transpose(-2, -1) / math.sqrt(q.shape[-1])  # (B, heads, n, m)
        mask, padding = a["attn_mask"], a["key_padding_mask"]
        if mask is not None:
            mask = mask.reshape(batch, heads, *mask.shape[1:]) if mask.ndim == 3 else mask
            logits = _masked(logits, ~mask if mask.dtype == torch.bool else mask)
        if padding is not None:
            padding = padding.reshape(batch, 1, 1, -1)
            logits = _masked(logits, ~padding if padding.dtype == torch.bool else padding)
        matrix = self.seen(logits.softmax(-1))
        dropped = functional.dropout(matrix, a["dropout_p"], a["training"]) if a["training"] else matrix
        mixed = (dropped @ v).transpose(1, 2).flatten(2)  # (B, n, C)
        out = functional.linear(mixed, a["out_proj_weight"], a["out_proj_bias"]).transpose(0, 1)
        told = matrix.mean(1) if a["average_attn_weights"] else matrix
        out, told = (out[:, 0], told[0]) if single else (out, told)
        return out, told if a["need_weights"] else None


def _masked(logits: Tensor, mask: Tensor | None) -> Tensor:
    """With -inf where a mask of truth values is false, or a mask of numbers added."""
    if mask is None:
        return logits
    return logits.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else logits + mask
