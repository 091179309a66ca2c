"""Small changes of a training batch, so that a score hardly moves when a picture is shifted, scaled or noisier."""

from dataclasses import dataclass

import torch
from torch.nn import functional

from medcam.record import Record


@dataclass(frozen=True)
class Changes(Record):
    """How much an image may be changed, each evenly from none to this much in either direction."""

    shift: float = 0.06
    """Share of each axis."""
    zoom: float = 0.1
    """Share of the size."""
    turn: float = 0.14
    """Radians, in the plane of the last two axes: 8 degrees."""
    gain: float = 0.15
    offset: float = 0.06
    """Of the brightness, for images in [0, 1]."""
    noise: float = 0.03
    """Standard deviation, of images in [0, 1]."""


USUAL = Changes()


def augment(
    images: torch.Tensor, masks: torch.Tensor, flips: tuple[int, ...], random: torch.Generator, moved: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift, zoom, rotate in the plane, mirror, and change gain and noise, as much as is usual.

    Args:
        images: (B, C, *space) in [0, 1]; a cine comes as its frames.
        masks: (B, 1, *space), moved along.
        flips: axes of space, counted from 0, that may be mirrored.
        random: where the chance comes from; one batch, one draw per image.
        moved: share of the images that are shifted, zoomed and rotated. The others keep their grid, mirrored or not:
            interpolation blurs a lesion of a few voxels.
    """
    strength = 1.0 if moved == 1 else (torch.rand(len(images), generator=random) < moved).float()
    grid = _places(images, flips, random, strength, USUAL)
    masks = functional.grid_sample(masks, grid, padding_mode="zeros", align_corners=False)
    return _changed(images, grid, random, 1.0, USUAL), masks


def augment_images(
    images: torch.Tensor,
    flips: tuple[int, ...],
    random: torch.Generator,
    strength: float = 1.0,
    changes: Changes = USUAL,
) -> torch.Tensor:
    """The same for images without masks, on any device, with every change but mirroring scaled by `strength`."""
    return _changed(images, _places(images, flips, random, strength, changes), random, strength, changes)


def _draw(random: torch.Generator, *shape: int) -> torch.Tensor:
    """Evenly from -1 to 1."""
    return torch.rand(shape, generator=random) * 2 - 1


def _places(
    images: torch.Tensor,
    flips: tuple[int, ...],
    random: torch.Generator,
    strength: float | torch.Tensor,
    changes: Changes,
) -> torch.Tensor:
    """Where each cell of the moved images (B, C, *space) comes from: (B, *space, axes), as grid_sample wants it.

    `strength` is one for all images or one for each (B,).
    """
    batch, axes = images.shape[0], images.ndim - 2
    turn = _draw(random, batch) * changes.turn * strength
    zoom = 1 + _draw(random, batch) * changes.zoom * strength
    matrix = torch.zeros(batch, axes, axes + 1)  # output to input, last axis first, as grid_sample counts
    matrix[:, range(axes), range(axes)] = zoom[:, None]
    matrix[:, 0, 0], matrix[:, 1, 1] = zoom * turn.cos(), zoom * turn.cos()
    height, width = images.shape[-2:]  # rotate pixels, not the unit square
    matrix[:, 0, 1], matrix[:, 1, 0] = -zoom * turn.sin() * height / width, zoom * turn.sin() * width / height
    matrix[:, :, axes] = (_draw(random, batch, axes).T * 2 * changes.shift * strength).T  # an axis is 2 long
    for axis in flips:
        mirrored = _draw(random, batch) < 0
        matrix[mirrored, axes - 1 - axis] *= -1
    return functional.affine_grid(matrix.to(images.device), [batch, 1, *images.shape[2:]], align_corners=False)


def _changed(
    images: torch.Tensor, grid: torch.Tensor, random: torch.Generator, strength: float, changes: Changes
) -> torch.Tensor:
    """Images moved to `grid`, their border repeated, with another gain, offset and noise."""
    images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    one = (len(images), *[1] * (images.ndim - 1))
    gain, offset = _draw(random, *one) * changes.gain * strength, _draw(random, *one) * changes.offset * strength
    spread = _draw(random, *one).abs() * changes.noise * strength
    noise = random  # of the images' own device, where drawing many numbers is quick
    if images.device.type != "cpu":
        noise = torch.Generator(images.device).manual_seed(int(torch.randint(1 << 31, (1,), generator=random)))
    shaken = spread.to(images) * torch.randn(images.shape, generator=noise, device=images.device)
    return (images * (1 + gain.to(images)) + offset.to(images) + shaken).clamp(0, 1)
