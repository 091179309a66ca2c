"""Ablation-CAM by zeroing channels in whole forward passes, and in closed form."""

import pytest
import torch
from torch import Tensor, nn

from medcam.errors import UsageError
from medcam.explainers import explain
from medcam.explainers.ablationcam import AblationCAM
from tests.explainers.nets import Flat, FrameWise, Linear, Skip
from tests.explainers.slow import seen


def by_the_paper(model: nn.Module, layer: str, image: Tensor, target: int) -> Tensor:
    """Equations 4 and 5 without the division, one whole forward pass for each channel of one image (1, C, *space)."""
    activation = seen(model, layer, image, target)[0]
    score = model(image)[0, target].item()
    total = torch.zeros(activation.shape[1:])
    for channel in range(len(activation)):

        def cut(module: nn.Module, args: object, output: Tensor, channel: int = channel) -> Tensor:
            output = output.clone()
            output[:, channel] = 0
            return output

        handle = model.get_submodule(layer).register_forward_hook(cut)
        total += (score - model(image)[0, target].item()) * activation[channel]
        handle.remove()
    return total


@pytest.mark.parametrize(
    ("model", "layer"), [(Linear(2), "act"), (Linear(3), "act"), (Flat(2), "conv"), (Flat(3), "conv"), (Skip(), "low")]
)
def test_equals_the_paper(model: nn.Module, layer: str) -> None:
    axes = 3 if any(isinstance(module, nn.Conv3d) for module in model.modules()) else 2
    x = torch.randn(2, 1, *[16] * axes)
    ours = explain(model.eval(), x, "ablationcam", targets="all", layer=layer, budget=4).evidence
    for sample in range(2):
        for target in range(ours.shape[1]):
            expected = by_the_paper(model, layer, x[sample : sample + 1], target)
            torch.testing.assert_close(ours[sample, target], expected, rtol=1e-3, atol=1e-5)


def test_closed_form_behind_average_pooling() -> None:
    """sum_k w_k mean(A_k) A_k; divided by |y| if asked for."""
    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)
    activation = seen(model, "act", x, 1)[0]
    weight = model.fc.weight[1].detach() * activation.mean((1, 2))
    expected = torch.einsum("k,kij->ij", weight, activation)
    plain = explain(model, x, "ablationcam", targets=1, layer="act")
    torch.testing.assert_close(plain.evidence[0, 0], expected, rtol=1e-4, atol=1e-6)
    relative = explain(model, x, AblationCAM(relative=True), targets=1, layer="act").evidence[0, 0]
    torch.testing.assert_close(relative, expected / plain.scores[0, 0].abs(), rtol=1e-4, atol=1e-6)


def test_a_negative_score_does_not_turn_the_map_over() -> None:
    model, x = Linear(classes=2).eval(), torch.randn(1, 1, 16, 16)
    with torch.no_grad():
        model.fc.weight[1] = model.fc.weight[0]
        model.fc.bias.copy_(torch.tensor([100.0, -100.0]))
    evidence = explain(model, x, AblationCAM(relative=True), targets="all", layer="act").evidence[0]
    torch.testing.assert_close(evidence[0], evidence[1], rtol=1e-2, atol=1e-6)


def test_only_the_channels_with_the_most_energy() -> None:
    model, x = Linear().eval(), torch.randn(2, 1, 16, 16)
    explained = explain(model, x, AblationCAM(channels=2), targets=0, layer="act")
    for sample in range(2):
        image = x[sample : sample + 1]
        activation = seen(model, "act", image, 0)[0]
        energy = activation.square().sum((1, 2))
        best = energy.topk(2).indices
        weight = torch.zeros(6)
        weight[best] = (model.fc.weight[0].detach() * activation.mean((1, 2)))[best]
        expected = torch.einsum("k,kij->ij", weight, activation)
        torch.testing.assert_close(explained.evidence[sample, 0], expected, rtol=1e-4, atol=1e-6)
    assert any(note.startswith("2 of 6 channels, with ") for note in explained.notes)


class TimeFirst(FrameWise):
    """Frames are folded before the samples: a replay takes all samples or none."""

    def forward(self, x: Tensor) -> Tensor:
        batch, time = x.shape[0], x.shape[2]
        frames = x.permute(2, 0, 1, 3, 4).reshape(time * batch, x.shape[1], *x.shape[3:])
        return self.image(frames).reshape(time, batch, -1).mean(0)


@pytest.mark.parametrize("kind", [FrameWise, TimeFirst])
def test_a_channel_is_cut_in_all_frames_of_a_clip(kind: type[FrameWise]) -> None:
    image = Linear().eval()
    model, clip = kind(image).eval(), torch.randn(2, 1, 3, 16, 16)
    explained = explain(model, clip, "ablationcam", targets=1, layer="image.act")
    for sample in range(2):
        frames = torch.stack([seen(image, "act", clip[sample, None, :, t], 1)[0] for t in range(3)], dim=1)  # (C, T, s)
        weight = image.fc.weight[1].detach() * frames.mean((1, 2, 3))
        expected = torch.einsum("k,ktij->tij", weight, frames)
        torch.testing.assert_close(explained.evidence[sample, 0], expected, rtol=1e-3, atol=1e-6)


class Tokens(nn.Module):
    """Cells become tokens (B, cells, C)."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.patches = nn.Conv2d(1, 5, 4, stride=4)
        self.mix = nn.Linear(5, 6)
        self.fc = nn.Linear(6, 2)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.mix(self.patches(x).flatten(2).transpose(1, 2))
        return self.fc(torch.tanh(tokens).mean(1))


def test_channels_last_in_tokens() -> None:
    model, x = Tokens().eval(), torch.randn(2, 1, 16, 12)
    ours = explain(model, x, "ablationcam", targets=1, layer="mix").evidence
    for sample in range(2):
        tokens = model.mix(model.patches(x[sample : sample + 1]).flatten(2).transpose(1, 2)).detach()
        score = model.fc(torch.tanh(tokens).mean(1))[0, 1]
        total = torch.zeros(12)
        for channel in range(6):
            without = tokens.clone()
            without[..., channel] = 0
            total += ((score - model.fc(torch.tanh(without).mean(1))[0, 1]) * tokens[0, :, channel]).detach()
        torch.testing.assert_close(ours[sample, 0], total.reshape(4, 3), rtol=1e-3, atol=1e-6)


def test_at_several_layers_each_is_cut_itself() -> None:
    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)
    alone = [explain(model, x, "ablationcam", targets=1, layer=layer).evidence for layer in ("body", "act")]
    fused = explain(model, x, "ablationcam", targets=1, layer=["body", "act"], fuse="mean").evidence
    expected = sum(map_ / map_.abs().max() for map_ in alone) / 2
    torch.testing.assert_close(fused, expected, rtol=1e-3, atol=1e-6)


def test_a_score_of_zero_has_no_relative_drop() -> None:
    model, x = Linear().eval(), torch.randn(1, 1, 16, 16)
    explained = explain(model, x, AblationCAM(relative=True), targets=lambda output: output[:, 0] * 0)
    assert (explained.evidence == 0).all()
    assert any("exactly zero" in note for note in explained.notes)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(UsageError, match="bad-setting"):
        AblationCAM(channels=0)
