"""CF-CAM against slow references of both modes, and on planted clusters of channels."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from scipy.stats import spearmanr
from sklearn.cluster import DBSCAN
from torch import Tensor, nn

from medcam.errors import UsageError
from medcam.explainers import explain
from medcam.explainers._gaussian import smoothed
from medcam.explainers._ranks import rank_correlation
from medcam.explainers.cfcam import CFCAM
from tests.explainers.nets import CONVOLUTION, Linear
from tests.explainers.slow import seen


class Wide(nn.Module):
    """Enough channels to be clustered, and a head whose gradient differs from cell to cell."""

    def __init__(self, axes: int = 2, channels: int = 40) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.conv = CONVOLUTION[axes](1, channels, 3, 2, 1)
        self.head = CONVOLUTION[axes](channels, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(self.head(torch.relu(self.conv(x)))).flatten(2).sum(2)


def clusters(features: NDArray[np.float64]) -> NDArray[np.int64]:
    apart = [np.linalg.norm(a - b) for i, a in enumerate(features) for j, b in enumerate(features) if i != j]
    reach = max(float(np.percentile(apart, 25)), 1e-5)
    return DBSCAN(eps=reach * (1 + 1e-12), min_samples=max(2, len(features) // 20)).fit(features).labels_


def linear(activation: NDArray[np.float64], gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    """The default, in loops."""
    norms = np.array([np.linalg.norm(channel) for channel in activation])
    alive = [k for k in range(len(norms)) if norms[k] > 0]
    threshold = np.percentile(norms[alive], 75)
    strong = [k for k in alive if norms[k] >= threshold]
    rest = [k for k in alive if norms[k] < threshold]
    labels = clusters(np.stack([activation[k].ravel() / norms[k] for k in rest]))
    total = sum((gradient[k] * activation[k] for k in strong), np.zeros_like(activation[0]))
    for label in set(labels.tolist()) - {-1}:
        members = [k for k, own in zip(rest, labels, strict=True) if own == label]
        shared = gaussian_filter(np.mean([gradient[k] for k in members], axis=0), 1.0, mode="reflect")
        for k in members:
            total = total + shared * activation[k]
    return total


def reference(activation: NDArray[np.float64], gradient: NDArray[np.float64]) -> NDArray[np.float64]:
    """As the note describes the authors' code, in loops."""
    norms = np.array([np.linalg.norm(channel) for channel in activation])
    rest = [k for k in range(len(norms)) if norms[k] < np.percentile(norms, 75)]
    labels = dict(zip(rest, clusters(np.stack([activation[k].ravel() for k in rest])), strict=True))
    weights = {}
    for k in range(len(norms)):
        if labels.get(k) == -1:
            continue
        if k not in labels:
            weights[k] = gradient[k].mean()
            continue
        mean = np.mean([gradient[j] for j in rest if labels[j] == labels[k]], axis=0)
        away = np.zeros_like(mean)
        for axis, size in enumerate(mean.shape):
            line = (np.arange(size) - size / 2) ** 2.0  # the code's middle is half a cell off
            away = away + line.reshape([-1 if other == axis else 1 for other in range(mean.ndim)])
        kernel = np.exp(-away / 50) * np.exp(-((mean - mean.mean()) ** 2) / 0.02)
        kernel = kernel / (kernel.sum() + 1e-6)
        filtered = torch.nn.functional.conv2d(
            torch.tensor(mean)[None, None], torch.tensor(kernel)[None, None], padding="same"
        )
        weights[k] = float(filtered.mean())
    total = sum(np.exp(w) for w in weights.values())
    return np.maximum(sum(np.exp(w) / total * activation[k] for k, w in weights.items()), 0)


@pytest.mark.parametrize("axes", [2, 3])
def test_linear_mode_equals_the_slow_reference(axes: int) -> None:
    model, x = Wide(axes).eval(), torch.randn(2, 1, *[14] * axes, generator=torch.Generator().manual_seed(1))
    ours = explain(model, x, "cfcam", targets=1, layer="conv").evidence
    for sample in range(2):
        activation, gradient = (t.double().numpy() for t in seen(model, "conv", x[sample : sample + 1], 1))
        expected = torch.from_numpy(linear(activation, gradient)).float()
        torch.testing.assert_close(ours[sample, 0], expected, rtol=1e-4, atol=1e-6)


def test_reference_mode_equals_the_slow_reference() -> None:
    model, x = Wide().eval(), torch.randn(2, 1, 14, 14, generator=torch.Generator().manual_seed(1))
    ours = explain(model, x, CFCAM("reference"), targets=1, layer="conv").evidence
    for sample in range(2):
        activation, gradient = (t.double().numpy() for t in seen(model, "conv", x[sample : sample + 1], 1))
        expected = torch.from_numpy(reference(activation, gradient)).float()
        torch.testing.assert_close(ours[sample, 0], expected, rtol=1e-4, atol=1e-6)


class Planted(nn.Module):
    """Gives the activation it was made with, whatever the image, times the image's mean."""

    def __init__(self, activation: Tensor, weight: Tensor) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.register_buffer("activation", activation)
        self.register_buffer("weight", weight)

    def forward(self, x: Tensor) -> Tensor:
        space = x[:, :, :: x.shape[2] // 6, :: x.shape[3] // 6][:, :, :6, :6]
        a = self.layer(self.activation + 0 * space)
        return a.mean((2, 3)) @ self.weight.T


def test_planted_clusters_are_found_and_outliers_are_left_out() -> None:
    """Three templates of twelve channels each, two of no kin, and thirteen strong ones."""
    generator = torch.Generator().manual_seed(0)
    kin = []
    for _ in range(3):
        template = torch.rand(6, 6, generator=generator)
        kin += [template * (0.5 + 0.01 * i) + 0.01 * torch.rand(6, 6, generator=generator) for i in range(12)]
    odd = [1.5 * torch.eye(6), 1.5 * torch.eye(6).flip(0)]
    strong = [20 * torch.rand(6, 6, generator=generator) for _ in range(13)]
    activation = torch.stack([*kin, *odd, *strong])
    weight = torch.randn(2, len(activation), generator=generator)
    model = Planted(activation, weight).eval()
    explained = explain(model, torch.rand(1, 1, 12, 12), "cfcam", targets=1, layer="layer")
    said = "3 clusters of channels; 4% of channels are noise and left out, 96% are kept"
    assert said in explained.notes
    shared = weight[1].clone()
    for cluster in range(3):  # with mean pooling gradients are flat: filters change nothing, sharing is a mean
        shared[12 * cluster : 12 * cluster + 12] = shared[12 * cluster : 12 * cluster + 12].mean()
    shared[36:38] = 0
    expected = torch.einsum("k,khw->hw", shared, activation) / 36
    torch.testing.assert_close(explained.evidence[0, 0], expected, rtol=1e-4, atol=1e-5)


def test_the_softmax_of_the_reference_hardly_knows_classes() -> None:
    """The note's warning: maps of two classes and the mean of the kept channels are the same but for a factor."""
    model, x = Linear(classes=2).eval(), torch.randn(1, 1, 64, 64)
    told = explain(model, x, CFCAM("reference"), targets="all", layer="act")
    assert torch.corrcoef(told.evidence[0].flatten(1))[0, 1] > 0.999
    assert any("hardly depends on the target" in note for note in told.notes)
    maps = explain(model, x, "cfcam", targets="all", layer="act").evidence[0].flatten(1)
    assert torch.corrcoef(maps)[0, 1] < 0.99


@pytest.mark.parametrize("shape", [(7, 7), (3, 12), (2, 5, 9), (1, 4)])
def test_the_filter_is_scipys_and_keeps_the_mean(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    expected = torch.from_numpy(gaussian_filter(values.double().numpy(), 1.0, mode="reflect")).float()
    torch.testing.assert_close(smoothed(values, 1.0), expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(smoothed(values, 1.0).mean(), values.mean())


@pytest.mark.parametrize("mode", ["linear", "reference"])
def test_class_sensitivity_is_told_beside_every_map(mode: str) -> None:
    """Spearman's correlation of the maps of the highest and the lowest logit, whatever is explained."""
    model, x = Wide().eval(), torch.randn(3, 1, 14, 14, generator=torch.Generator().manual_seed(1))
    method = CFCAM(mode)  # type: ignore[arg-type]
    every = explain(model, x, method, targets="all", layer="conv")
    alike = [
        spearmanr(maps[logits.argmax()].flatten().numpy(), maps[logits.argmin()].flatten().numpy()).statistic
        for maps, logits in zip(every.evidence, model(x), strict=True)
    ]
    said = f"maps of the most and the least likely class correlate by ranks with {max(alike):.3f} at most"
    assert said in every.notes
    assert said in explain(model, x, method, targets=1, layer="conv").notes
    assert (max(alike) > 0.99) == (mode == "reference")
    alone = explain(model, x[:1], method, targets=1, layer="conv").notes
    assert f"maps of the most and the least likely class correlate by ranks with {alike[0]:.3f}" in alone


def test_of_one_logit_there_is_no_other_class() -> None:
    told = explain(Linear(classes=1).eval(), torch.randn(1, 1, 16, 16), "cfcam", 1)
    assert not any("correlate" in note for note in told.notes)


def test_ranks_are_scipys_ties_and_all() -> None:
    one, other = torch.tensor([3.0, 1, 1, 2, 5, 5, 5, -1]), torch.tensor([1.0, 1, 4, 4, 0, 2, 3, 3])
    assert rank_correlation(one, other) == pytest.approx(spearmanr(one.numpy(), other.numpy()).statistic)
    assert rank_correlation(one, torch.ones(8)) is None


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="bad-setting"):
        CFCAM("bilateral")  # type: ignore[arg-type]
