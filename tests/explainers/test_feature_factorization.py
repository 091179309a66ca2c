"""Deep feature factorization: the factorisation against scikit-learn's, concepts that were planted, and HiResCAM."""

import pytest
import torch
from sklearn.decomposition import NMF
from torch import Tensor, nn

from medcam.errors import UsageError
from medcam.explainers import explain
from medcam.explainers._nmf import factorised
from medcam.explainers.feature_factorization import FeatureFactorization
from tests.explainers.nets import FrameWise, Linear


def low_rank(rows: int, columns: int, rank: int, noise: float, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    parts = torch.rand(rows, rank, generator=generator).square() @ torch.rand(rank, columns, generator=generator)
    return (parts + noise * torch.rand(rows, columns, generator=generator)).double()


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("rows", "columns", "patterns"), [(49, 64, 4), (216, 20, 3), (30, 30, 6)])
def test_reconstructs_as_well_as_sklearn(rows: int, columns: int, patterns: int, seed: int) -> None:
    matrix = low_rank(rows, columns, patterns, 0.3, seed)
    w, h = factorised(matrix, patterns)
    assert w.min() >= 0
    assert h.min() >= 0
    theirs = NMF(patterns, init="nndsvd", solver="cd", max_iter=1000, tol=1e-8).fit(matrix.numpy())
    assert float((matrix - w @ h).norm()) <= 1.005 * theirs.reconstruction_err_


@pytest.mark.parametrize("seed", range(3))
def test_no_pattern_can_be_bettered(seed: int) -> None:
    """The conditions of Karush, Kuhn and Tucker: no slope where there is something, none downhill where there is not."""
    matrix = low_rank(20, 12, 3, 0.3, seed)
    w, h = factorised(matrix, 3)
    for factor, slope in ((w, (w @ h - matrix) @ h.T), (h, w.T @ (w @ h - matrix))):
        unit = float((matrix @ h.T if factor is w else w.T @ matrix).max())
        assert float((slope * (factor > 0)).abs().max()) < 1e-3 * unit
        assert float(slope.min()) > -1e-3 * unit


@pytest.mark.parametrize("seed", range(3))
def test_a_matrix_a_little_different_has_patterns_a_little_different(seed: int) -> None:
    matrix = low_rank(64, 32, 4, 0.3, seed)
    noise = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(9)).double()
    for before, after in zip(factorised(matrix, 4), factorised(matrix * (1 + 1e-6 * noise), 4), strict=True):
        assert float((before - after).abs().max()) < 1e-4 * float(before.max())


def test_patterns_that_are_not_there_are_zero() -> None:
    matrix = low_rank(20, 12, 2, 0.0)
    w, h = factorised(matrix, 4)
    torch.testing.assert_close(w @ h, matrix, rtol=0, atol=1e-3)
    assert w[:, 2:].abs().max() == h[2:].abs().max() == 0
    assert factorised(torch.zeros(5, 4), 2)[0].abs().max() == 0


def test_the_order_of_channels_and_cells_does_not_matter() -> None:
    matrix = low_rank(36, 12, 3, 0.1)
    rows, columns = (torch.randperm(n, generator=torch.Generator().manual_seed(n)) for n in matrix.shape)
    w, h = factorised(matrix, 3)
    w_other, h_other = factorised(matrix[rows][:, columns], 3)
    torch.testing.assert_close(w_other, w[rows], rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(h_other, h[:, columns], rtol=1e-6, atol=1e-8)


class Two(nn.Module):
    """Bright pixels light channels 0 and 1, dark ones 2 and 3; class 0 counts the former, class 1 the latter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.act, self.fc = nn.Conv2d(1, 4, 1, bias=False), nn.ReLU(), nn.Linear(4, 2)
        with torch.no_grad():
            self.conv.weight.copy_(torch.tensor([1.0, 2.0, -1.0, -3.0]).reshape(4, 1, 1, 1))
            self.fc.weight.copy_(torch.tensor([[1.0, 1.0, 0.0, 0.0], [-0.5, 0.0, 1.0, 1.0]]))

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.act(self.conv(x)).mean((2, 3)))


def test_planted_concepts_are_parts_of_the_evidence() -> None:
    x = torch.zeros(1, 1, 8, 8)
    x[0, 0, 1:3, 1:3] = 1.0
    x[0, 0, 5:7, 4:8] = -1.0
    explained = explain(Two().eval(), x, FeatureFactorization(2), targets="all", layer="act")
    assert explained.parts is not None
    assert explained.parts.shape == (1, 2, 2, 8, 8)
    dark, bright = (x[0, 0] < 0).float(), (x[0, 0] > 0).float()  # 8 cells of 4 against 4 cells of 3
    expected = torch.stack([torch.stack([0 * dark, 3 * bright]), torch.stack([4 * dark, -0.5 * bright])]) / 64
    torch.testing.assert_close(explained.parts[0], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(explained.parts.sum(2), explained.evidence)
    assert "2 concepts reproduce 100% of the squared activation" in explained.notes


def test_as_many_concepts_as_needed_are_hirescam() -> None:
    """An activation of rank 2 is reproduced by two concepts, and so is its gradient times activation."""
    x = torch.rand(2, 1, 12, 12, generator=torch.Generator().manual_seed(0)) * 2 - 1
    model = Two().eval()
    ours = explain(model, x, FeatureFactorization(2), targets="all", layer="act").evidence
    torch.testing.assert_close(ours, explain(model, x, "hirescam", "all", layer="act").evidence, rtol=1e-4, atol=1e-6)


def factors(activation: Tensor, concepts: int) -> tuple[Tensor, Tensor]:
    """Of an activation (images, C, H, W): how much is in each cell (images, concepts, H, W), and channels."""
    images, channels, high, wide = activation.shape
    w, h = factorised(activation.permute(0, 2, 3, 1).reshape(-1, channels), concepts)
    return w.T.reshape(concepts, images, high, wide).transpose(0, 1).float(), h.float()


def test_frames_of_a_clip_share_their_concepts() -> None:
    """Written out cell by cell: w times the gradient along h, which behind pooling is fc / cells / frames."""
    net, clip = Linear().eval(), torch.randn(2, 1, 3, 16, 16)
    explained = explain(FrameWise(net).eval(), clip, FeatureFactorization(2), "all")
    assert explained.parts is not None
    for sample, x in enumerate(clip.transpose(1, 2)):  # (3, 1, 16, 16)
        w, h = factors(torch.relu(net.body(torch.relu(net.stem(x)))).detach(), 2)
        for target, weight in enumerate(net.fc.weight.detach()):
            expected = torch.stack([w[:, k] * float(h[k] @ weight) / (16 * 3) for k in range(2)])
            torch.testing.assert_close(explained.parts[sample, target], expected, rtol=1e-4, atol=1e-6)


def test_images_may_share_their_concepts_and_show_how_much_of_them_is_there() -> None:
    """The paper's maps; concepts of an image with little in it are those of the other."""
    net, x = Linear().eval(), torch.randn(2, 1, 16, 16)
    explained = explain(net, x, FeatureFactorization(2, parts="present", together=True), "all")
    w, h = factors(torch.relu(net.body(torch.relu(net.stem(x)))).detach(), 2)
    expected = w * h.norm(dim=1)[:, None, None]
    assert explained.parts is not None
    for target in range(3):
        torch.testing.assert_close(explained.parts[:, target], expected, rtol=1e-4, atol=1e-6)
    assert (explained.unit, explained.signed, explained.class_specific) == ("arbitrary", False, False)
    alone = explain(net, x, FeatureFactorization(2, parts="present"), "all")
    assert not torch.allclose(alone.evidence, explained.evidence, atol=1e-2)


def test_signed_activations_and_too_few_concepts_are_told() -> None:
    explained = explain(Linear().eval(), torch.randn(1, 1, 16, 16), FeatureFactorization(1), 0, layer="body")
    assert any("not non-negative" in note for note in explained.notes)


def test_settings_without_meaning_are_refused() -> None:
    with pytest.raises(UsageError, match="bad-setting"):
        FeatureFactorization(0)
    with pytest.raises(UsageError, match="bad-setting"):
        FeatureFactorization(parts="all")  # type: ignore[arg-type]
