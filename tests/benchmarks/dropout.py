"""Monte-Carlo dropout by tail replay: 20 passes, with scores and maps of each, against one plain forward pass.

ResNet18 with dropout before its last layer, a batch of 8 at 224 x 224. The trunk runs once, the tail 20 times; the
forward pass to which it is compared runs under `inference_mode`. The first row is this toolkit's network, explained at
its class map; the second MONAI's, whose dropout and linear layer stand behind the pooling, explained at the last stage.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from medcam.explainers import explain
from medcam.models.resnet import PRESETS, ResNet
from medcam.uncertainty.dropout import Dropout
from tests.benchmarks.measure import Row, interleaved, ratios, seconds, spread

PASSES = 20
SIZE = 224
BATCH = 8


def run(folder: Path, rounds: int, quick: bool) -> list[Row]:
    """Both networks."""
    from monai.networks.nets import resnet18

    torch.manual_seed(0)
    own = ResNet(spatial_dims=2, in_channels=1, out_channels=1, dropout=0.3, **PRESETS["resnet18"])
    foreign = resnet18(spatial_dims=2, n_input_channels=1, num_classes=1)
    foreign.fc = nn.Sequential(nn.Dropout(0.3), foreign.fc)
    x = torch.randn(2 if quick else BATCH, 1, SIZE, SIZE)
    return [
        compare("ResNet18", own.eval(), x, "auto", rounds),
        compare("MONAI's ResNet18", foreign.eval(), x, "layer4", rounds),
    ]


def compare(name: str, model: nn.Module, x: Tensor, layer: str, rounds: int) -> Row:
    """The passes against the forward pass.

    Raises:
        RuntimeError: there were other than 20 passes, or all were equal.
    """
    explained = explain(model, x, targets=1, layer=layer)
    disturbance = Dropout(PASSES)

    def forward() -> None:
        with torch.inference_mode():
            model(x)

    def passes() -> None:
        found = disturbance.spread(model, explained)[0]
        if len(found.logits) != PASSES or found.cells.shape[0] != PASSES or found.uncertainty.score_sd == 0:
            raise RuntimeError(f"{len(found.logits)} passes, or nothing was dropped")

    forward(), passes()
    costs = interleaved({"forward": forward, "passes": passes}, rounds)
    value = spread(ratios(seconds(costs["passes"]), seconds(costs["forward"])))
    shape = " x ".join(map(str, x.shape))
    what = f"{PASSES} passes of Monte-Carlo dropout, {name}, {shape}, in forwards"
    return Row(what, value, "at most 1.25", f"{spread(seconds(costs['forward']), 3)} s forward")
