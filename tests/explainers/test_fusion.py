"""Several layers in one map: moved by their exact places, scaled, put together; and what may not be asked."""

import pytest
import torch
from torch import nn

from medcam.errors import ExplainError, UsageError
from medcam.explainers import explain
from medcam.explainers._alignment import Alignment
from medcam.explainers._fusion import moved
from medcam.explainers.normgrad import NormGrad
from medcam.uncertainty.augmentation import Augmentation
from tests.explainers.nets import Linear


def test_a_ramp_stays_a_ramp_on_finer_cells() -> None:
    """Cell i at 3 + 8 i holds its place; so must every cell of another grid that lies within."""
    coarse, fine = (
        Alignment((5, 4), (8.0, 8.0), (3.0, 0.0), "composed"),
        Alignment((12, 7), (2.0, 4.0), (4.0, 1.0), "composed"),
    )
    rows = 3 + 8 * torch.arange(5.0)
    columns = 8 * torch.arange(4.0)
    ramp = (rows[:, None] + 100 * columns[None])[None, None]
    out = moved(ramp, coarse, fine)[0, 0]
    at = 4 + 2 * torch.arange(12.0)[:, None] + 100 * (1 + 4 * torch.arange(7.0)[None]).clamp(max=24)
    torch.testing.assert_close(out, at)


def by_hand(model: nn.Module, x: torch.Tensor, method: object, fuse: str) -> torch.Tensor:
    """Both layers asked on their own, and put together on the stem's cells (twice as fine, in the same places)."""
    fine = explain(model, x, method, targets="all", layer="stem")  # type: ignore[call-overload]
    coarse = explain(model, x, method, targets="all", layer="act")  # type: ignore[call-overload]
    maps = []
    for part in (fine, coarse):
        evidence = part.evidence / part.evidence.abs().flatten(1).amax(1)[:, None, None, None]
        maps.append(moved(evidence, part.alignment, fine.alignment))
    if fuse == "mean":
        return (maps[0] + maps[1]) / 2
    if fuse == "product":
        return maps[0].clamp(min=0) * maps[1].clamp(min=0)
    a, b = (torch.tanh(2 * each) for each in maps)
    return torch.where(a.abs() >= b.abs(), a, b)


@pytest.mark.parametrize("fuse", ["max", "mean", "product"])
@pytest.mark.parametrize("method", ["layercam", NormGrad("scaling"), "gradcam"])
def test_equals_both_layers_put_together_by_hand(fuse: str, method: object) -> None:
    model, x = Linear().eval(), torch.randn(2, 1, 16, 16)
    fused = explain(model, x, method, targets="all", layer=["act", "stem"], fuse=fuse)  # type: ignore[call-overload]
    assert fused.grid.shape == (8, 8)
    assert fused.unit == "arbitrary"
    assert any("of 2 layers" in note for note in fused.notes)
    torch.testing.assert_close(fused.evidence, by_hand(model, x, method, fuse), rtol=1e-4, atol=1e-6)


def test_augmentation_disturbs_a_fused_map_too() -> None:
    model, x = Linear().eval(), torch.randn(1, 1, 32, 32)
    fused = explain(model, x, "layercam", targets=1, layer=["act", "stem"])
    spread = Augmentation(2).spread(model, fused)[0]
    assert spread.per_cell.shape == fused.grid.shape
    assert spread.per_cell[2:-2, 2:-2].max() > 0


def test_what_cannot_be_asked() -> None:
    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)
    with pytest.raises(UsageError, match="bad-layer"):
        explain(model, x, layer=[])
    with pytest.raises(UsageError, match="bad-setting"):
        explain(model, x, layer=["act", "stem"], fuse="sum")  # type: ignore[call-overload]
    with pytest.raises(ExplainError, match="unknown-layer"):
        explain(model, x, layer=["act", "stemm"])
    with pytest.raises(UsageError, match="same-method"):
        explain(model, x, [NormGrad("bias"), NormGrad("scaling")])
