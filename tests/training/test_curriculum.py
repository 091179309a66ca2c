import numpy as np
import pytest
import torch

from medcam.errors import UsageError
from medcam.training.curriculum import Curriculum, low_frequencies


def wave(frequency, pixels):
    """(1, 1, pixels, pixels), a cosine along the rows' direction."""
    phase = 2 * torch.pi * frequency * torch.arange(pixels, dtype=torch.float64) / pixels
    return phase.cos().float().expand(1, 1, pixels, pixels)


def test_a_constant_stays_what_it_is():
    torch.testing.assert_close(
        low_frequencies(torch.full((2, 3, 224, 224), 3.0), (96, 96)), torch.full((2, 3, 96, 96), 3.0), rtol=0, atol=2e-6
    )


def test_low_waves_stay_and_high_ones_go():
    torch.testing.assert_close(low_frequencies(wave(5, 224), (96, 96)), wave(5, 96), rtol=0, atol=3e-6)
    assert low_frequencies(wave(60, 224), (96, 96)).abs().max() < 1e-5


@pytest.mark.parametrize(("full", "size"), [((224, 160), (96, 64)), ((15, 21), (8, 9)), ((12, 20, 18), (8, 11, 9))])
def test_in_every_number_of_axes_and_pixels(full, size):
    images = torch.rand(2, 1, *full, generator=torch.Generator().manual_seed(0))
    small = low_frequencies(images, size)
    assert small.shape[2:] == size
    torch.testing.assert_close(small.flatten(1).mean(1), images.flatten(1).mean(1))  # the mean is kept
    places = np.meshgrid(*(np.arange(n) / n for n in size), indexing="ij")
    finer = np.meshgrid(*(np.arange(n) / n for n in full), indexing="ij")
    smooth, expected = (
        torch.from_numpy(sum(np.cos(2 * np.pi * (k + 1) * x) for k, x in enumerate(at))).float()[None, None]
        for at in (finer, places)
    )
    torch.testing.assert_close(low_frequencies(smooth, size), expected, rtol=0, atol=3e-6)  # on the same places


def test_the_full_size_is_left_alone():
    images = torch.rand(1, 1, 20, 20)
    assert low_frequencies(images, (20, 20)) is images


def test_edges_ring_but_little():
    noise = torch.rand(4, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    small = low_frequencies(noise, (96, 96))
    assert small.min() > -0.2
    assert small.max() < 1.2


def test_the_papers_schedule():
    paper, full = Curriculum(), (224, 224)
    sizes = [paper.size(epoch, 300, full) for epoch in range(300)]
    assert [sizes.count((n, n)) for n in (160, 192, 224)] == [180, 60, 60]
    assert sizes == sorted(sizes)
    assert paper.cost(300, full) == pytest.approx(0.6531, abs=5e-5)
    strengths = [paper.strength(epoch, 300) * 9 for epoch in range(0, 300, 60)]
    assert strengths == pytest.approx([1, 3, 5, 7, 9])


def test_other_sizes_are_multiples_of_the_stride():
    paper = Curriculum()
    assert [paper.size(epoch, 5, (512, 512))[0] for epoch in range(5)] == [352, 352, 352, 416, 512]
    assert paper.size(0, 5, (64, 128, 144)) == (32, 64, 96)
    assert paper.size(0, 5, (24, 24)) == (24, 24)  # never more than there is


@pytest.mark.parametrize("epochs", range(1, 12))
def test_the_last_epoch_sees_whole_images(epochs):
    assert Curriculum().size(epochs - 1, epochs, (512, 512)) == (512, 512)


def test_stages_end_with_whole_images():
    for stages in (
        ((0.5, 1.0), (0.5, 0.9)),
        ((0.5, 0.9), (0.5, 1.0)),
        ((0.5,), (0.5, 1.0)),
        ((0.7, 0.3, 1.0), (0.5, 0.6, 1.0)),
    ):
        with pytest.raises(UsageError, match="end with whole images"):
            Curriculum(*stages)
