"""Eigen-CAM against numpy's singular value decomposition, and maps that are known."""

import numpy as np
import pytest
import torch
from torch import nn

from medcam.explainers import explain
from medcam.explainers._principal import principal
from medcam.explainers.eigencam import EigenCAM
from tests.explainers.nets import FrameWise, Linear
from tests.explainers.slow import seen


class Painted(nn.Module):
    """Gives the input's channels on: what is fed in is the activation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.same = nn.Identity()
        self.fc = nn.Linear(channels, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.same(x).flatten(2).mean(2))


@pytest.mark.parametrize("centre", [False, True])
@pytest.mark.parametrize("shape", [(3, 8, 8), (40, 3, 4), (6, 4, 5, 3)])
def test_equals_numpy_up_to_sign(shape: tuple[int, ...], centre: bool) -> None:
    torch.manual_seed(0)
    features = torch.randn(2, *shape)
    maps, share = principal(features, centre)
    for ours, part, explained in zip(maps, features, share, strict=True):
        matrix = part.flatten(1).T.double().numpy()
        matrix = matrix - matrix.mean(axis=0) if centre else matrix
        _, s, vt = np.linalg.svd(matrix, full_matrices=False)
        theirs = matrix @ vt[0]
        theirs = theirs * np.sign(theirs @ ours.flatten().double().numpy())
        np.testing.assert_allclose(ours.flatten().numpy(), theirs, rtol=1e-4, atol=1e-5)
        assert explained.item() == pytest.approx(s[0] ** 2 / (s**2).sum(), rel=1e-5)


def test_a_rank_one_activation_gives_its_map() -> None:
    """A_k = s_k M: the map is ||s|| M uncentred, ||s|| (M - mean M) centred."""
    torch.manual_seed(0)
    strength, hill = torch.rand(5), torch.rand(6, 7)
    x = (strength[:, None, None] * hill)[None]
    model = Painted(5).eval()
    raw = explain(model, x, "eigencam", targets=0, layer="same").evidence[0, 0]
    torch.testing.assert_close(raw, strength.norm() * hill, rtol=1e-4, atol=1e-5)
    centred = explain(model, x, EigenCAM(centre=True), targets=0, layer="same").evidence[0, 0]
    torch.testing.assert_close(centred, strength.norm() * (hill - hill.mean()), rtol=1e-4, atol=1e-5)


def test_a_planted_blob_is_never_upside_down() -> None:
    """A singular vector's sign is chance; of 100 signed activations with a blob, all maps are hot in the blob."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(100, 6, 8, 8, generator=generator) * 0.2
    x[:, :, 2:4, 5:7] += torch.where(torch.rand(100, 6, 1, 1, generator=generator) < 0.5, -3.0, 3.0)
    maps = explain(Painted(6).eval(), x, "eigencam", targets=0, layer="same").evidence[:, 0]
    inside = maps[:, 2:4, 5:7].mean((1, 2))
    assert (inside > maps.flatten(1).mean(1)).all()


def test_all_targets_share_the_map_and_no_gradient_is_taken() -> None:
    model, x = Linear().eval(), torch.randn(2, 1, 16, 16)
    explained = explain(model, x, "eigencam", targets="all", layer="act")
    assert not explained.class_specific
    torch.testing.assert_close(explained.evidence[:, 0], explained.evidence[:, 2])
    assert explained.evidence.min() >= 0  # activations are, so the first singular vector is (Perron-Frobenius)
    activation = seen(model, "act", x[:1], 0)[0]
    expected, _ = principal(activation[None], centre=False)
    torch.testing.assert_close(explained.evidence[0, 0], expected[0].abs(), rtol=1e-4, atol=1e-6)


def test_a_cine_has_one_component_for_all_its_frames() -> None:
    """The same frame twice as strong is twice as hot: frames are not decomposed on their own."""
    model = FrameWise(Painted(3)).eval()
    frame = torch.rand(3, 6, 6)
    clip = torch.stack([frame, 2 * frame, 0.5 * frame], dim=1)[None]
    maps = explain(model, clip, "eigencam", targets=0, layer="image.same").evidence[0, 0]
    torch.testing.assert_close(maps[1], 2 * maps[0], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(maps[2], 0.5 * maps[0], rtol=1e-4, atol=1e-5)


def test_a_component_among_equals_is_said_to_be_one() -> None:
    noise = torch.randn(1, 64, 12, 12, generator=torch.Generator().manual_seed(1))
    assert any("one of several" in note for note in explain(Painted(64).eval(), noise, "eigencam", layer="same").notes)
    plain = torch.rand(1, 64, 1, 1) * torch.rand(1, 1, 12, 12)
    assert not any(
        "one of several" in note for note in explain(Painted(64).eval(), plain, "eigencam", layer="same").notes
    )
