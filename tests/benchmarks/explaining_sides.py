"""Who explains what in the benchmarks of the explainers: networks, inputs, and each library's own way to ask for Grad-CAM."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from medcam.explainers import explain
from tests.explainers.peers.installed import peer

CLASSES = 5
TARGET = 1
BUNDLE = (
    "cam", "gradcam", "gradcam_plus_plus", "xgradcam", "hirescam", "gradcam_elementwise", "layercam", "eigencam",
    "eigengradcam",
)  # fmt: skip
"""The nine methods that look at one late layer and one gradient per class."""

INPUTS = {"plane": (8, 1, 224, 224), "volume": (1, 1, 96, 96, 96), "large volume": (1, 1, 128, 128, 128)}
QUICK = {"plane": (2, 1, 64, 64), "volume": (1, 1, 32, 32, 32)}


@dataclass(frozen=True)
class Network:
    """One of MONAI's networks and the name of its last spatial map."""

    name: str
    build: Callable[[int], nn.Module]
    layer: str
    device: str = "cpu"

    def model(self, axes: int) -> nn.Module:
        """With random weights, the same in every process."""
        torch.manual_seed(0)
        return self.build(axes).eval().to(self.device)


def _resnet18(axes: int) -> nn.Module:
    from monai.networks.nets import resnet18

    network: nn.Module = resnet18(spatial_dims=axes, n_input_channels=1, num_classes=CLASSES)
    return network


def _densenet121(axes: int) -> nn.Module:
    from monai.networks.nets import DenseNet121

    network: nn.Module = DenseNet121(axes, 1, CLASSES)
    return network


NETWORKS = (
    Network("ResNet18", _resnet18, "layer4"),
    Network("DenseNet121", _densenet121, "class_layers.relu"),
)

Side = Callable[[Tensor], object]


def forward(network: Network, axes: int) -> Side:
    """What everything is measured against: the bare forward pass under `inference_mode`."""
    model = network.model(axes)

    def run(x: Tensor) -> object:
        with torch.inference_mode():
            return model(x)

    return run


def medcam(network: Network, axes: int) -> Side:
    """Grad-CAM of one class, with the layer found by itself."""
    model = network.model(axes)
    return lambda x: explain(model, x, targets=TARGET)


def bundle(network: Network, axes: int) -> Side:
    """Nine methods, all classes."""
    model = network.model(axes)
    return lambda x: explain(model, x, list(BUNDLE), targets="all", layer=network.layer)


def optimised(network: Network, axes: int) -> Side:
    """Grad-CAM of one class on the faster copy."""
    model = network.model(axes)
    return lambda x: explain(model, x, targets=TARGET, optimise=True)


def captum(network: Network, axes: int) -> Side:
    """captum's LayerGradCam."""
    from captum.attr import LayerGradCam

    model = network.model(axes)
    cam = LayerGradCam(model, model.get_submodule(network.layer))
    return lambda x: cam.attribute(x, TARGET)


def monai(network: Network, axes: int) -> Side:
    """MONAI's GradCAM, with one class for the whole batch, which it does right."""
    from monai.visualize import GradCAM

    cam = GradCAM(network.model(axes), network.layer)
    return lambda x: cam(x, class_idx=TARGET)


def torch_cam(network: Network, axes: int) -> Side | None:
    """torch-cam's GradCAM."""
    found = peer("torchcam")
    if found is None:
        return None
    model = network.model(axes)
    cam = found.methods.GradCAM(model, network.layer)
    return lambda x: cam(TARGET, model(x))


def pytorch_grad_cam(network: Network, axes: int) -> Side | None:
    """pytorch-grad-cam's GradCAM."""
    found = peer("pytorch_grad_cam")
    if found is None:
        return None
    model = network.model(axes)
    cam = found.GradCAM(model, [model.get_submodule(network.layer)])
    target = found.utils.model_targets.ClassifierOutputTarget(TARGET)
    return lambda x: cam(x, [target] * len(x))


SIDES: dict[str, Callable[[Network, int], Side | None]] = {
    "forward": forward,
    "medcam": medcam,
    "nine methods": bundle,
    "optimised": optimised,
    "captum": captum,
    "MONAI": monai,
    "torch-cam": torch_cam,
    "pytorch-grad-cam": pytorch_grad_cam,
}


def available(network: Network, axes: int) -> dict[str, Side]:
    """The sides that are installed, each with a model of its own, because some change theirs."""
    made = {name: make(network, axes) for name, make in SIDES.items()}
    return {name: side for name, side in made.items() if side is not None}


def of_shape(shape: tuple[int, ...]) -> Tensor:
    """The same noise in every process."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def text(shape: tuple[int, ...]) -> str:
    """A shape in words."""
    return " x ".join(map(str, shape))
