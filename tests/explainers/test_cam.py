"""CAM against the definition, against Grad-CAM where both hold, and refused where it does not hold."""

import pytest
import torch
from torch import nn

from medcam.errors import ExplainError
from medcam.explainers import explain
from medcam.models.resnet import ResNet
from tests.explainers.nets import Flat, FrameWise, Linear
from tests.explainers.slow import seen


@pytest.mark.parametrize("axes", [2, 3])
def test_equals_the_definition_cell_by_cell(axes: int) -> None:
    model, x = Linear(axes).eval(), torch.randn(2, 1, *[16] * axes)
    ours = explain(model, x, "cam", targets="all").evidence
    for sample in range(2):
        activation, _ = seen(model, "act", x[sample : sample + 1], 0)
        for target in range(3):
            expected = sum(w * a for w, a in zip(model.fc.weight[target].tolist(), activation, strict=True))
            torch.testing.assert_close(ours[sample, target], expected / activation[0].numel(), rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(ours.flatten(2).sum(2), model(x).detach() - model.fc.bias.detach(), rtol=1e-4, atol=1e-5)


def test_equals_gradcam_on_a_residual_network_with_a_class_map_and_own_bias() -> None:
    torch.manual_seed(0)
    model = ResNet(2, 1, 3, widths=(8, 12), blocks=(1, 1), strides=(1, 2)).eval()
    nn.init.normal_(model.head.bias)
    both = explain(model, torch.randn(2, 1, 32, 32), ["cam", "gradcam"], targets="all", layer="stages")
    torch.testing.assert_close(both["cam"].evidence, both["gradcam"].evidence, rtol=1e-4, atol=1e-6)


def test_any_target_that_is_made_of_logits() -> None:
    model, x = Linear().eval(), torch.randn(2, 1, 16, 16)

    def contrast(output: torch.Tensor) -> torch.Tensor:
        return output[:, 2] - 0.5 * output[:, 0]

    each = explain(model, x, "cam", targets="all").evidence
    torch.testing.assert_close(explain(model, x, "cam", targets=contrast).evidence[:, 0], each[:, 2] - 0.5 * each[:, 0])
    single = Linear(classes=1).eval()
    pair = explain(single, x, "cam", targets="all").evidence
    torch.testing.assert_close(pair[:, 0], -pair[:, 1])


def test_frames_of_a_clip_add_up_to_its_logit() -> None:
    model = FrameWise(Linear()).eval()
    clip = torch.randn(2, 1, 4, 16, 16)
    both = explain(model, clip, ["cam", "gradcam"], targets="all")
    torch.testing.assert_close(both["cam"].evidence, both["gradcam"].evidence, rtol=1e-4, atol=1e-6)
    total = both["cam"].evidence.flatten(2).sum(2)
    torch.testing.assert_close(total, model(clip).detach() - model.image.fc.bias.detach(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "model", [Flat(), ResNet(2, 1, 3, widths=(8,), blocks=(1,), strides=(1,), pooling="log-sum-exp")]
)
def test_another_head_is_refused(model: nn.Module) -> None:
    with pytest.raises(ExplainError, match="no-linear-head"):
        explain(
            model.eval(),
            torch.randn(1, 1, 16, 16),
            "cam",
            targets=0,
            layer="conv" if isinstance(model, Flat) else "stages",
        )
