"""medcam explain: one image, one model, one map."""

from pathlib import Path
from typing import Annotated

import typer

from medcam.cli._terminal import say


def explain(
    file: Annotated[Path, typer.Argument(help="An image, a cine or the folder of a series.")],
    model: Annotated[str, typer.Option(help="A bundle's folder, or module:factory of your own model.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the map (.nii.gz, .png) and its description (.json).")],
    method: Annotated[str, typer.Option(help="See medcam list methods.")] = "gradcam",
    target: Annotated[
        str, typer.Option(help="predicted, all, a label of the bundle, or the number of a class.")
    ] = "predicted",
    layer: Annotated[str, typer.Option(help="A module's name; auto takes the last map before pooling.")] = "auto",
    transform: Annotated[str | None, typer.Option(help="For a model that is not a medcam bundle.")] = None,
    trust_code: Annotated[bool, typer.Option(help="Needed for module:factory and for bundles that run code.")] = False,
) -> None:
    """Explain one image with one model, on the image's own grid."""
    from medcam.explaining import explain_file

    for path in explain_file(file, model, out, method, target, layer, transform, trust_code):
        say(str(path))
