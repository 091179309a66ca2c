"""Small changes of a training batch, so that a score hardly moves when a picture is shifted, scaled or noisier."""

import torch
from torch.nn import functional


def augment(
    images: torch.Tensor, masks: torch.Tensor, flips: tuple[int, ...], random: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Shift (up to 6 % of an axis), zoom (10 %), rotate in the plane (8 degrees), mirror, and change gain and noise.

    Args:
        images: (B, C, *space) in [0, 1]; a cine comes as its frames.
        masks: (B, 1, *space), moved along.
        flips: axes of space, counted from 0, that may be mirrored.
        random: where the chance comes from; one batch, one draw per image.
    """
    batch, axes = images.shape[0], images.ndim - 2

    def draw(*shape: int) -> torch.Tensor:
        return torch.rand(shape, generator=random) * 2 - 1

    turn, zoom = draw(batch) * 0.14, 1 + draw(batch) * 0.1
    matrix = torch.zeros(batch, axes, axes + 1)  # output to input, last axis first, as grid_sample counts
    matrix[:, range(axes), range(axes)] = zoom[:, None]
    matrix[:, 0, 0], matrix[:, 1, 1] = zoom * turn.cos(), zoom * turn.cos()
    height, width = images.shape[-2:]  # rotate pixels, not the unit square
    matrix[:, 0, 1], matrix[:, 1, 0] = -zoom * turn.sin() * height / width, zoom * turn.sin() * width / height
    matrix[:, :, axes] = draw(batch, axes) * 0.12
    for axis in flips:
        mirrored = draw(batch) < 0
        matrix[mirrored, axes - 1 - axis] *= -1
    grid = functional.affine_grid(matrix, [batch, 1, *images.shape[2:]], align_corners=False)
    images = functional.grid_sample(images, grid, padding_mode="border", align_corners=False)
    masks = functional.grid_sample(masks, grid, padding_mode="zeros", align_corners=False)
    one = (batch, *[1] * (axes + 1))
    images = images * (1 + 0.15 * draw(*one)) + 0.06 * draw(*one)
    images = images + 0.03 * draw(*one).abs() * torch.randn(images.shape, generator=random)
    return images.clamp(0, 1), masks
