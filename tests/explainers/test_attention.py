"""Attention matrices are seen wherever attention is computed, and the model's answer stays what it was."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from medcam.errors import ExplainError
from medcam.explainers import explain
from medcam.explainers._attention import Watch
from medcam.explainers._blocks import blocks_of, tokens_read
from medcam.explainers._capture import Tap
from medcam.explainers._trace import trace
from tests.explainers.nets import Flat, FrameWise, Linear
from tests.explainers.transformers import Swin, Tokens

METHODS = ["attention_rollout", "transformer_attribution", "legrad"]


def watched(run) -> tuple[Tensor, list[Tensor]]:  # type: ignore[no-untyped-def]
    """What `run` gives, and the matrices it took on the way."""
    matrices: list[Tensor] = []

    def take(index: int, matrix: Tensor) -> Tensor:
        assert index == len(matrices)
        matrices.append(matrix)
        return matrix

    with Watch(take):
        return run(), matrices


def assert_takes_part(run, matrix_is=None) -> None:  # type: ignore[no-untyped-def]
    """The answer is the same, rows of the matrix sum to one, and the answer comes through it: zero it, and it is zero."""
    plain = run()
    out, (matrix,) = watched(run)
    torch.testing.assert_close(out, plain)
    torch.testing.assert_close(matrix.sum(-1), torch.ones(matrix.shape[:-1]))
    with Watch(lambda index, one: one * 0):
        zeroed = run()
    assert not torch.allclose(zeroed, plain)


@pytest.mark.parametrize("form", ["plain", "causal", "truth mask", "number mask", "scale", "grouped", "three axes"])
def test_one_operation_is_written_out(form: str) -> None:
    torch.manual_seed(0)
    heads = 1 if form == "grouped" else 2
    q, k, v = torch.randn(3, 2, 5, 4), torch.randn(3, heads, 5, 4), torch.randn(3, heads, 5, 4)
    options: dict[str, object] = {
        "causal": {"is_causal": True},
        "truth mask": {"attn_mask": torch.ones(5, 5).tril(1).bool()},
        "number mask": {"attn_mask": torch.randn(3, 1, 5, 5)},
        "scale": {"scale": 0.1},
        "grouped": {"enable_gqa": True},
    }.get(form, {})
    if form == "three axes":
        q, k, v = q[:, 0], k[:, 0], v[:, 0]
    assert_takes_part(lambda: functional.scaled_dot_product_attention(q, k, v, **options))


@pytest.mark.parametrize(
    "form", ["self", "truth mask", "number mask", "padding", "number padding", "per head", "cross", "no bias", "single"]
)
def test_torchs_own_module(form: str) -> None:
    torch.manual_seed(0)
    wide = {"kdim": 6, "vdim": 5} if form == "cross" else {}
    module = nn.MultiheadAttention(8, 2, bias=form != "no bias", batch_first=True, **wide).eval()
    nn.init.normal_(module.out_proj.weight)
    x = torch.randn(5, 8) if form == "single" else torch.randn(3, 5, 8)
    k, v = (torch.randn(3, 7, 6), torch.randn(3, 7, 5)) if form == "cross" else (x, x)
    hidden = torch.zeros(3, 5).bool()
    hidden[1, 3:] = True
    options: dict[str, object] = {
        "truth mask": {"attn_mask": torch.ones(5, 5).triu(2).bool()},
        "number mask": {"attn_mask": torch.randn(5, 5)},
        "padding": {"key_padding_mask": hidden},
        "number padding": {"key_padding_mask": hidden * -1e4},
        "per head": {"attn_mask": torch.randn(6, 5, 5)},
    }.get(form, {})
    assert_takes_part(lambda: module(x, k, v, need_weights=False, **options)[0])
    for average in (True, False):
        told = lambda average=average: module(x, k, v, average_attn_weights=average, **options)[1]  # noqa: E731
        torch.testing.assert_close(watched(told)[0], told())


def test_nothing_is_watched_afterwards_nor_after_an_error() -> None:
    seen: list[int] = []
    with pytest.raises(RuntimeError, match="planned"), Watch(lambda i, matrix: seen.append(i) or matrix):
        torch.randn(3).softmax(0)
        raise RuntimeError("planned")
    torch.randn(3).softmax(0)
    assert seen == [0]


@pytest.mark.parametrize("way", ["fused", "torch"])
@pytest.mark.parametrize("name", METHODS)
def test_every_way_of_attending_gives_one_map(name: str, way: str) -> None:
    plain, other = Tokens(way="matrix").eval(), Tokens(way=way).eval()
    for a, b in zip(plain.blocks, other.blocks, strict=True):
        weights = a.attn.state_dict()
        if way == "torch":
            weights = {
                "inner.in_proj_weight": weights["qkv.weight"],
                "inner.in_proj_bias": weights["qkv.bias"],
                "inner.out_proj.weight": weights["out.weight"],
                "inner.out_proj.bias": weights["out.bias"],
            }
        b.attn.load_state_dict(weights)
        b.mlp.load_state_dict(a.mlp.state_dict())
    for part in ("patch", "fc"):
        getattr(other, part).load_state_dict(getattr(plain, part).state_dict())
    with torch.no_grad():
        other.extra.copy_(plain.extra)
        other.position.copy_(plain.position)
    x = torch.randn(2, 1, 16, 24)
    one, two = explain(plain, x, name, "all"), explain(other, x, name, "all")
    torch.testing.assert_close(one.output, two.output)
    torch.testing.assert_close(one.evidence, two.evidence, rtol=1e-4, atol=1e-6)
    assert one.alignment == two.alignment
    assert one.evidence.abs().max() > 0


@pytest.mark.parametrize("flash", [False, True])
def test_monais_attention_flash_or_not(flash: bool) -> None:
    from monai.networks.nets import ViT

    torch.manual_seed(0)
    net = ViT(1, (16, 24), 4, 12, 24, 2, 2, classification=True, spatial_dims=2).eval()
    x = torch.randn(2, 1, 16, 24)
    slow = explain(net, x, METHODS, "all")
    for block in net.blocks:
        block.attn.use_flash_attention = flash
    for name, explained in explain(net, x, METHODS, "all").items():
        torch.testing.assert_close(explained.evidence, slow[name].evidence, rtol=1e-4, atol=1e-6)
    assert all(block.attn.use_flash_attention is flash for block in net.blocks)


@pytest.mark.parametrize(("extras", "reads"), [(0, "all"), (1, "first"), (1, "patches"), (5, "first"), (2, "all")])
def test_which_tokens_the_head_reads(extras: int, reads: str) -> None:
    model, x = Tokens(extras=extras, reads=reads).eval(), torch.randn(1, 1, 16, 24)
    traced = trace(model, x)
    blocks = blocks_of(traced)
    wanted = torch.ones(extras + 24, dtype=torch.bool)
    if reads == "first":
        wanted[1:] = False
    elif reads == "patches":
        wanted[:extras] = False
    assert torch.equal(tokens_read(model, traced, blocks), wanted)
    assert blocks.extras == (extras, 0)
    assert [block.output for block in blocks.blocks] == [Tap(f"blocks.{n}") for n in range(3)]
    assert str(blocks.matrices[1]) == "attention of blocks.1.attn"


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    ("model", "shape"), [(Linear(), (1, 1, 16, 16)), (Flat(), (1, 1, 16, 16)), (Swin(), (1, 1, 32, 64))]
)
def test_a_model_without_attention_among_all_patches(name: str, model: nn.Module, shape: tuple[int, ...]) -> None:
    with pytest.raises(ExplainError) as error:
        explain(model.eval(), torch.randn(shape), name)
    assert error.value.code == "no-attention"
    assert "use gradcam" in str(error.value)
    assert ("windows" in str(error.value)) == isinstance(model, Swin)


@pytest.mark.parametrize("name", METHODS)
def test_frames_of_a_clip_are_looked_at_one_by_one(name: str) -> None:
    model, clip = FrameWise(Tokens()).eval(), torch.randn(2, 1, 3, 16, 24)
    explained = explain(model, clip, name, "all")
    frames = clip.transpose(1, 2).reshape(6, 1, 16, 24)
    single = explain(model.image, frames, name, "all").evidence  # (6, K, 4, 6)
    scale = {"attention_rollout": 1.0, "legrad": 1 / 3}.get(name)
    together = single.unflatten(0, (2, 3)).transpose(1, 2)
    if scale is not None:  # the mean of three frames' scores
        torch.testing.assert_close(explained.evidence, together * scale, rtol=1e-4, atol=1e-7)
    assert explained.evidence.shape == (2, 3, 3, 4, 6)
    assert explained.alignment.stride == (1, 4, 4)
