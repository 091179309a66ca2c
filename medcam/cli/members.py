"""medcam list: the members of a shelf."""

from typing import Annotated

import typer

from medcam.cli._terminal import show


def list_members(
    what: Annotated[str, typer.Argument(help="pipelines, methods, models, protocols, reports, readers, transforms")],
) -> None:
    """List the members of a shelf; each is one file."""
    from medcam.errors import UsageError
    from medcam.plugins import near
    from medcam.tables import member_table, shelves

    if what not in shelves():
        raise UsageError("unknown-shelf", f"There is nothing called {what!r} to list. {near(what, sorted(shelves()))}")
    show(member_table(what))
