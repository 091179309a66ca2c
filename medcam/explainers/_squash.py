"""A Tanh at the end of a model is left out: behind it large logits have no gradient (as MONAI's ViT comes).

It is monotonous and treats every output alone, so that the order of the outputs stays what it was.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from medcam.explainers._trace import Trace


def squash_note(trace: Trace) -> str:
    """What the reader must know, "" where no Tanh ends the model."""
    return f"{trace.tanh} (Tanh) is left out: outputs and scores are the values before it" if trace.tanh else ""


@contextmanager
def unsquashed(model: nn.Module, trace: Trace) -> Iterator[None]:
    """Within, the model gives what it gives before its Tanh."""
    if not trace.tanh:
        yield
        return
    module = model.get_submodule(trace.tanh)
    own = vars(module).get("forward")
    module.forward = _passed_on
    try:
        yield
    finally:
        if own is None:
            del module.forward  # the class's own is seen again
        else:
            module.forward = own


def _passed_on(x: Tensor) -> Tensor:
    return x
