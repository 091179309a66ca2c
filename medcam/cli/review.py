"""medcam review: the reviewer in the browser."""

from typing import Annotated

import typer

from medcam.cli._options import Results, Source


def review(
    results: Results,
    port: Annotated[int, typer.Option(help="On this machine only; nothing is reachable from outside.")] = 8501,
    source: Source = None,
    hidden_first_read: Annotated[
        bool,
        typer.Option(help="For reader studies: show nothing of the AI before the reader has answered."),
    ] = False,
) -> None:
    """Open the reviewer in the browser: worklist, heatmaps beside originals, verdicts."""
    from medcam.review.server import serve

    raise typer.Exit(serve(results, port, source, hidden=hidden_first_read))
