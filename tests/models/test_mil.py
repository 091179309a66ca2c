"""Bags of patches: exact invariances, and evidence that adds up."""

import pytest
import torch
from torch import nn

from medcam.explainers import explain
from medcam.models.mil import MIL
from medcam.models.resnet import ResNet


def network(**more: int) -> MIL:
    torch.manual_seed(0)
    mil = MIL(ResNet(2, 3, 2, (4, 8), (1, 1), (1, 2)), 16, **more).eval()
    nn.init.normal_(mil.attention.weight.weight, std=3)  # so that it does attend
    return mil.requires_grad_(False)


CHANCE = torch.Generator().manual_seed(1)
BAG = torch.rand(1, 6, 3, 32, 32, generator=CHANCE) * torch.rand(6, 3, 1, 1, generator=CHANCE)


def test_the_order_of_the_patches_says_nothing() -> None:
    mil = network()
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    logits, weights = mil.attended(BAG)
    again, permuted = mil.attended(BAG[:, order])
    torch.testing.assert_close(permuted, weights[:, order])
    torch.testing.assert_close(again, logits[:, order])
    torch.testing.assert_close(mil(BAG[:, order]), mil(BAG))
    assert float(weights.max() / weights.min()) > 1.2


def test_a_patch_that_is_there_twice_weighs_twice() -> None:
    """Softmax: both copies have the weight w / (1 + w), the others shrink by 1 + w; all twice changes nothing."""
    mil = network()
    logits, weights = mil.attended(BAG)
    _, more = mil.attended(torch.cat([BAG, BAG[:, 2:3]], dim=1))
    twice = weights[0, 2]
    torch.testing.assert_close(more[0, :6], weights[0] / (1 + twice))
    torch.testing.assert_close(more[0, 6], twice / (1 + twice))
    wanted = (mil(BAG)[0] + twice * logits[0, 2]) / (1 + twice)
    torch.testing.assert_close(mil(torch.cat([BAG, BAG[:, 2:3]], dim=1))[0], wanted)
    torch.testing.assert_close(mil(torch.cat([BAG, BAG], dim=1)), mil(BAG))


def test_a_bag_of_one_patch_is_that_patch() -> None:
    mil = network()
    torch.testing.assert_close(mil(BAG[:, :1]), mil.encoder(BAG[0, :1]))


def test_bags_do_not_see_each_other_and_one_bag_needs_no_axis_of_its_own() -> None:
    mil = network()
    two = torch.cat([BAG, BAG.flip(-1) * 0.5])
    torch.testing.assert_close(mil(two), torch.cat([mil(BAG), mil(two[1:])]))
    torch.testing.assert_close(mil(BAG[0]), mil(BAG))


def test_a_large_bag_is_looked_at_in_turns() -> None:
    turns = network(at_once=4)
    calls: list[int] = []
    turns.encoder.stem.register_forward_hook(lambda module, args, output: calls.append(len(output)))
    torch.testing.assert_close(turns(BAG), network()(BAG))
    assert calls == [4, 2]
    turns.train()(BAG)
    assert calls == [4, 2, 6]  # batch normalisation sees the whole bag


def test_the_patches_evidence_adds_up_to_the_bag_s_logit() -> None:
    mil = network()
    explained = explain(mil.encoder, BAG[0], targets=1)
    _, weights = mil.attended(BAG)
    evidence = explained.evidence[:, 0] * weights[0, :, None, None]  # (N, h, w)
    torch.testing.assert_close(evidence.sum(), mil(BAG)[0, 1] - mil.encoder.head.bias[1])


def test_it_learns_which_patch_matters() -> None:
    """One bright patch among dark ones makes a bag positive; the bag alone is labelled, the patch is found."""
    torch.manual_seed(0)
    mil = MIL(ResNet(2, 1, 1, (4, 8), (1, 1), (1, 2)), 16)
    optimiser = torch.optim.Adam(mil.parameters(), 0.01)
    for _ in range(40):
        bags = 0.3 * torch.rand(8, 5, 1, 16, 16)
        labels = torch.arange(8) % 2
        bags[labels == 1, torch.randint(5, (4,))] += 0.7
        loss = nn.functional.binary_cross_entropy_with_logits(mil(bags)[:, 0], labels.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    mil.eval()
    bags = 0.3 * torch.rand(10, 5, 1, 16, 16)
    bags[5:, 3] += 0.7
    with torch.no_grad():
        logits, weights = mil.attended(bags)
        assert bool(mil(bags)[5:, 0].min() > mil(bags)[:5, 0].max())
    assert bool(((logits[5:, :, 0] * weights[5:]).argmax(1) == 3).all())


def test_an_encoder_without_a_feature_map_is_refused() -> None:
    with pytest.raises(ValueError, match="Flatten lacks"):
        MIL(nn.Flatten())
