"""Methods for transformers: a small vision transformer, trained here in seconds to tell whether noise holds a disc.

python -m docs.gallery.transformers FOLDER
"""

import sys
from pathlib import Path

import torch
from torch import Tensor, nn

from docs.gallery.sheet import Subject, family_sheet
from medcam.grid import Grid
from medcam.models.vit import ViT

SIZE, STEPS = 64, 120


def discs(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (B, 1, H, W) of smooth noise, every other one with a disc in it, and masks (B, H, W) of the discs."""
    generator = torch.Generator().manual_seed(seed)
    noise = 2 * nn.functional.avg_pool2d(torch.randn(count, 1, SIZE, SIZE, generator=generator), 3, 1, 1)
    centres = torch.randint(10, SIZE - 10, (count, 2, 1, 1), generator=generator)
    radii = torch.randint(4, 8, (count, 1, 1), generator=generator)
    place = torch.arange(SIZE)
    distance = (place[:, None] - centres[:, 0]) ** 2 + (place - centres[:, 1]) ** 2  # (B, H, W)
    masks = (distance <= radii**2) & (torch.arange(count)[:, None, None] % 2 == 1)
    return noise + 1.5 * masks[:, None], masks


def trained(steps: int = STEPS) -> nn.Module:
    """A transformer of three blocks with a class token, the same every time."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        model = ViT(2, 1, 1, size=SIZE, patch=8, width=48, depth=3, heads=3, pooling="cls", convolutional_stem=True)
    optimiser = torch.optim.AdamW(model.parameters(), 2e-3)
    for step in range(steps):
        x, masks = discs(32, step)
        loss = nn.functional.binary_cross_entropy_with_logits(model(x)[:, 0], masks.flatten(1).any(1).float())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model.eval()


def main(folder: Path) -> list[Path]:
    """Write the sheet: attention's own methods, and Grad-CAM's relatives at the layer that they find."""
    x, masks = discs(2, 10_000)
    subject = Subject(trained(), x[1:], Grid.plane((SIZE, SIZE)), masks[1].numpy(), layer="auto", target=1)
    files = [folder / "transformers_attention.png", folder / "transformers_gradients.png"]
    family_sheet(("transformer",), subject, files[0])
    family_sheet(("gradient", "activation"), subject, files[1])
    return files


if __name__ == "__main__":
    main(Path(sys.argv[1]))
