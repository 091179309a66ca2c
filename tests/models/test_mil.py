"""Bags of patches: exact invariances, and evidence that adds up."""

from functools import partial

import pytest
import torch
from torch import nn

from medcam.errors import ModelError
from medcam.explainers import explain
from medcam.models._attention import AT_ONCE, Attending
from medcam.models._completed import Completed
from medcam.models.mil import MIL
from medcam.models.resnet import ResNet
from medcam.uncertainty.dropout import Dropout, dropping


def network() -> MIL:
    torch.manual_seed(0)
    mil = MIL(ResNet(2, 3, 2, (4, 8), (1, 1), (1, 2)), 16).eval()
    nn.init.normal_(mil.attention.weight.weight, std=3)  # so that it does attend
    return mil.requires_grad_(False)


def attending(mil: MIL) -> Attending:
    halves = Attending.of(mil)
    assert halves is not None
    return halves


CHANCE = torch.Generator().manual_seed(1)
BAG = torch.rand(1, 3, 6, 32, 32, generator=CHANCE) * torch.rand(3, 6, 1, 1, generator=CHANCE)
"""(B, C, N, H, W)"""


def images(bag: torch.Tensor) -> torch.Tensor:
    """The patches (N, C, H, W) of one bag."""
    return bag[0].transpose(0, 1)


def test_the_order_of_the_patches_says_nothing() -> None:
    mil = network()
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    logits, weights = mil.attended(BAG)
    again, permuted = mil.attended(BAG[:, :, order])
    torch.testing.assert_close(permuted, weights[:, order])
    torch.testing.assert_close(again, logits[:, order])
    torch.testing.assert_close(mil(BAG[:, :, order]), mil(BAG))
    assert float(weights.max() / weights.min()) > 1.2


def test_a_patch_that_is_there_twice_weighs_twice() -> None:
    """Softmax: both copies have the weight w / (1 + w), the others shrink by 1 + w; all twice changes nothing."""
    mil = network()
    logits, weights = mil.attended(BAG)
    more_patches = torch.cat([BAG, BAG[:, :, 2:3]], dim=2)
    _, more = mil.attended(more_patches)
    twice = weights[0, 2]
    torch.testing.assert_close(more[0, :6], weights[0] / (1 + twice))
    torch.testing.assert_close(more[0, 6], twice / (1 + twice))
    wanted = (mil(BAG)[0] + twice * logits[0, 2]) / (1 + twice)
    torch.testing.assert_close(mil(more_patches)[0], wanted)
    torch.testing.assert_close(mil(torch.cat([BAG, BAG], dim=2)), mil(BAG))


def test_a_bag_of_one_patch_is_that_patch() -> None:
    mil = network()
    torch.testing.assert_close(mil(BAG[:, :, :1]), mil.encoder(images(BAG)[:1]))


def test_bags_do_not_see_each_other() -> None:
    mil = network()
    two = torch.cat([BAG, BAG.flip(-1) * 0.5])
    torch.testing.assert_close(mil(two), torch.cat([mil(BAG), mil(two[1:])]))


def test_a_bag_in_a_batch_of_other_sizes_is_the_bag_alone() -> None:
    """Nothing is filled up: neither how many the others are nor how many are looked at together changes a number."""
    mil = network()
    halves, patches = attending(mil), images(BAG)
    several = halves.look(torch.cat([patches[:2], patches, patches[3:4]]), [2, 6, 1])
    for at_once in (1, 4, None):
        turns = halves.look(torch.cat([patches[:2], patches, patches[3:4]]), [2, 6, 1], at_once)
        torch.testing.assert_close(turns.output, several.output)
    for row, alone in enumerate((patches[:2], patches, patches[3:4])):
        torch.testing.assert_close(several.output[row], mil(alone.transpose(0, 1)[None])[0])
    torch.testing.assert_close(several.weights[2:8], mil.attended(BAG)[1][0])
    assert [round(float(part.sum()), 5) for part in several.weights.split([2, 6, 1])] == [1, 1, 1]


def test_the_head_sees_the_attended_features() -> None:
    mil = network()
    seen = attending(mil).look(images(BAG), [2, 4])
    wanted = seen.embedded @ mil.encoder.head.map.weight.flatten(1).T + mil.encoder.head.bias
    torch.testing.assert_close(seen.output, wanted)


def test_a_few_images_again_among_the_others_are_the_whole_bag() -> None:
    mil = network()
    looked, again = attending(mil).look(images(BAG), [6]), torch.tensor([4, 1])
    few = Completed(attending(mil), looked, again)
    torch.testing.assert_close(few(BAG[:, :, again]), mil(BAG))
    changed = BAG.clone()
    changed[:, :, again] = BAG[:, :, again].flip(-1) * 0.3
    torch.testing.assert_close(few(changed[:, :, again]), mil(changed))
    both = torch.cat([BAG, changed])
    torch.testing.assert_close(few(both[:, :, again]), mil(both))


def test_dropout_is_replayed_in_a_bag_and_among_the_others_as_it_runs_in_the_whole_network() -> None:
    torch.manual_seed(0)
    mil = MIL(ResNet(2, 3, 1, (4, 8), (1, 1), (1, 2), dropout=0.4), 8).eval()
    few = Completed(attending(mil), attending(mil).look(images(BAG), [6]), torch.tensor([1, 2, 5]))
    for net, bag in ((mil, torch.cat([BAG, BAG.flip(-1)])), (few.eval(), BAG[:, :, [1, 2, 5]])):
        explained = explain(net, bag, targets=lambda output: output[:, 0], layer="encoder.head.map")
        spreads = Dropout(3).spread(net, explained)
        for seed in range(3):
            with torch.no_grad(), dropping(net, [seed]):
                wanted = net(bag)[:, 0].tolist()
            assert [spread.logits[f"pass {seed + 1}"] for spread in spreads] == pytest.approx(wanted, abs=1e-6)


def test_a_large_bag_is_looked_at_in_turns() -> None:
    mil = network()
    calls: list[int] = []
    mil.encoder.stem.register_forward_hook(lambda module, args, output: calls.append(len(output)))
    attending(mil).look(images(BAG), [6], 4)
    assert calls == [4, 2]
    attending(mil.train()).look(images(BAG), [6])
    assert calls == [4, 2, 6]  # batch normalisation sees the whole batch


def test_a_bag_is_explained_patch_by_patch_and_all_of_it_adds_up_to_the_logit() -> None:
    """At the class map a patch's evidence is what it is alone, times its weight, whatever the explainer's route."""
    mil = network()
    explained = explain(mil, BAG, "hirescam", targets=1, layer="encoder.head.map")
    assert explained.alignment.how == "composed"
    maps = explained.evidence[0, 0]  # (N, h, w)
    torch.testing.assert_close(maps.sum(), mil(BAG)[0, 1] - mil.encoder.head.bias[1])
    alone = explain(mil.encoder, images(BAG), "hirescam", targets=1).evidence[:, 0]
    torch.testing.assert_close(maps, alone * mil.attended(BAG)[1][0, :, None, None])
    order = torch.tensor([4, 0, 5, 2, 1, 3])
    moved = explain(mil, BAG[:, :, order], "hirescam", targets=1, layer="encoder.head.map")
    torch.testing.assert_close(moved.evidence[0, 0], maps[order])


def test_a_bag_of_many_patches_has_a_map_for_each() -> None:
    bag = torch.rand(1, 3, AT_ONCE + 6, 16, 16, generator=torch.Generator().manual_seed(2))
    explained = explain(network(), bag)
    assert explained.evidence.shape[2] == AT_ONCE + 6
    assert explained.alignment.how == "composed"


def test_patches_without_a_bag_are_no_input() -> None:
    for ask in (network(), partial(explain, network())):
        with pytest.raises(ModelError, match=r"takes bags .* not \(.*3, 32, 32\)") as refused:
            ask(images(BAG))
        assert refused.value.code == "bag-input"


def test_it_learns_which_patch_matters() -> None:
    """One bright patch among dark ones makes a bag positive; the bag alone is labelled, the patch is found."""
    torch.manual_seed(0)
    mil = MIL(ResNet(2, 1, 1, (4, 8), (1, 1), (1, 2)), 16)
    optimiser = torch.optim.Adam(mil.parameters(), 0.01)
    for _ in range(40):
        bags = 0.3 * torch.rand(8, 1, 5, 16, 16)
        labels = torch.arange(8) % 2
        bags[labels == 1, :, torch.randint(5, (4,))] += 0.7
        loss = nn.functional.binary_cross_entropy_with_logits(mil(bags)[:, 0], labels.float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    mil.eval()
    bags = 0.3 * torch.rand(10, 1, 5, 16, 16)
    bags[5:, :, 3] += 0.7
    with torch.no_grad():
        logits, weights = mil.attended(bags)
        assert bool(mil(bags)[5:, 0].min() > mil(bags)[:5, 0].max())
    assert bool(((logits[5:, :, 0] * weights[5:]).argmax(1) == 3).all())


def test_an_encoder_without_a_feature_map_is_refused() -> None:
    with pytest.raises(ValueError, match="Flatten lacks"):
        MIL(nn.Flatten())


def test_an_encoder_whose_head_does_not_average_is_refused() -> None:
    """The weighted logits would no longer be those of the weighted features."""
    with pytest.raises(ValueError, match="head that averages, not one with pooling 'max'"):
        MIL(ResNet(2, 3, 2, (4, 8), (1, 1), (1, 2), pooling="max"))
