"""Cines: pooled and attended over their own frames."""

import math

import pytest
import torch
from torch import nn

from medcam.explainers import explain
from medcam.models._attention import GatedAttention
from medcam.models.resnet import ResNet
from medcam.models.video import Video


class Brightness(nn.Module):
    """The mean of a frame as its one logit."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean((1, 2, 3))[:, None]


def encoder(**more: object) -> ResNet:
    torch.manual_seed(0)
    return ResNet(2, 1, 2, (4, 8), (1, 1), (1, 2), **more).eval()


def test_a_cine_is_pooled_over_its_own_frames_only() -> None:
    cine = torch.zeros(2, 1, 3, 4, 4)
    cine[0, :, 1] = 6.0
    cine[1, :, 2, 0, 0] = 16.0
    torch.testing.assert_close(Video(Brightness(), "mean")(cine)[:, 0], torch.tensor([2.0, 1 / 3]))
    torch.testing.assert_close(Video(Brightness(), "max")(cine)[:, 0], torch.tensor([6.0, 1.0]))
    video = Video(encoder(), "attention").eval()
    torch.testing.assert_close(video(cine), torch.cat([video(cine[:1]), video(cine[1:])]))
    assert not torch.allclose(video(cine)[0], video(cine)[1])


def test_gated_attention_is_equation_9() -> None:
    """Slowly, as the paper writes it: a_k = exp(w . (tanh(V h_k) * sigm(U h_k))) / sum_j of the same."""
    torch.manual_seed(0)
    attention = GatedAttention(3, 2)
    bag = torch.randn(1, 4, 3)
    scores = []
    for h in bag[0].tolist():
        inner = 0.0
        for row in range(2):
            v = sum(a * b for a, b in zip(attention.value.weight[row].tolist(), h, strict=True))
            u = sum(a * b for a, b in zip(attention.gate.weight[row].tolist(), h, strict=True))
            v, u = v + attention.value.bias[row].item(), u + attention.gate.bias[row].item()
            inner += attention.weight.weight[0, row].item() * math.tanh(v) / (1 + math.exp(-u))
        scores.append(math.exp(inner))
    assert attention(bag)[0].tolist() == pytest.approx([score / sum(scores) for score in scores], rel=1e-5)


def test_attention_over_frames_is_a_head_on_the_attended_features() -> None:
    """Ilse et al.: the classifier sees sum_k a_k h_k; that is what weighing the frames' logits comes to."""
    video = Video(encoder(), "attention").eval()
    cine = torch.rand(2, 1, 5, 32, 32)
    with torch.no_grad():
        frames = torch.stack([video.encoder.embed(cine[:, :, t]) for t in range(5)], dim=1)  # (B, T, F)
        weights = video.attention(frames)
        features = (weights[..., None] * frames).sum(1)
        wanted = features @ video.encoder.head.map.weight.flatten(1).T + video.encoder.head.bias
        torch.testing.assert_close(video(cine), wanted)
        logits, again = video.attended(cine)
        torch.testing.assert_close(again, weights)
        torch.testing.assert_close(logits, video.frames(cine))


def test_the_number_of_equal_frames_does_not_change_the_score() -> None:
    frame = torch.rand(1, 1, 1, 32, 32)
    for pooling in ("mean", "max", "log-mean-exp", "attention"):
        video = Video(encoder(), pooling).eval()
        torch.testing.assert_close(video(frame), video(frame.repeat(1, 1, 7, 1, 1)))


def test_the_evidence_of_each_frame_has_its_time_and_adds_up_to_the_logit() -> None:
    """A bright spot in one frame of a cine: the map is hot in that frame, at that place."""
    video = Video(encoder(), "attention").eval()
    cine = torch.zeros(1, 1, 6, 64, 64)
    cine[0, 0, 4, 38:44, 22:28] = 1.0
    with torch.no_grad():
        maps = video.encoder.feature_map(cine[0].transpose(0, 1))
        spot = maps[4].flatten(1) - maps[0].flatten(1)
        video.encoder.head.map.weight[1] = spot[:, spot.norm(dim=0).argmax()].reshape(-1, 1, 1)
    assert explain(video, cine, targets=1).layer == "encoder.stages"  # from where attention is reached too
    explained = explain(video, cine, targets=1, layer="encoder.head.map")
    assert explained.alignment.how == "composed"
    bias = video.encoder.head.bias[1].detach()
    torch.testing.assert_close(explained.evidence.sum((2, 3, 4))[0, 0], explained.scores[0, 0] - bias)
    heat = explained.evidence[0, 0] - explained.evidence[0, 0, 0]
    frame, *cell = (int(i) for i in torch.unravel_index(heat.argmax(), heat.shape))
    offset, stride = explained.alignment.offset, explained.alignment.stride
    row, column = (offset[1 + axis] + stride[1 + axis] * cell[axis] for axis in (0, 1))
    assert frame == 4
    assert abs(row - 40.5) <= stride[1] / 2
    assert abs(column - 24.5) <= stride[2] / 2


def test_attention_needs_an_encoder_with_a_feature_map() -> None:
    with pytest.raises(ValueError, match="Brightness lacks"):
        Video(Brightness(), "attention")
