"""What the machine is good at: where to train, and in which precision."""

from typing import Literal

import torch

from medcam.errors import UsageError
from medcam.training.settings import Precision

Resolved = Literal["32", "bf16-mixed", "16-mixed"]


def accelerator(devices: int) -> str:
    """Graphics cards if there are any.

    Raises:
        UsageError: "devices", there are fewer cards than asked for.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if 0 < cards < devices:
        raise UsageError("devices", f"There are {cards} graphics cards, not {devices}; ask for fewer devices.")
    return "cuda" if cards else "cpu"


def resolved(precision: Precision, device: str) -> Resolved:
    """The precision to train in; validation and the kept weights are always in 32 bits.

    "auto" takes 16 bits where the processor has instructions for them. On a CPU with AVX-512 BF16 a ResNet-18,
    DenseNet-121 or small ViT then takes 0.56 to 0.6 of the time, EfficientNet-B0 0.85.

    Raises:
        UsageError: "precision", float16 on a processor that cannot.
    """
    if precision == "16-mixed" and device == "cpu":
        raise UsageError("precision", 'A CPU does not train in float16; choose precision "auto", "bf16-mixed" or "32".')
    if precision != "auto":
        return precision
    if device == "cuda":
        return "bf16-mixed" if torch.cuda.is_bf16_supported(including_emulation=False) else "16-mixed"
    able = torch.cpu.get_capabilities()
    return "bf16-mixed" if able.get("avx512_bf16") or able.get("amx_bf16") else "32"
