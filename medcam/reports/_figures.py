"""The figures of a report in their order, and their captions: key images, then the curve of a cine's frames."""

from medcam.findings import Case, KeyImage
from medcam.reports._drawing import Drawing
from medcam.reports._picture_words import plane_words
from medcam.reports._pictures import DISPLAY, figure, read_plane
from medcam.reports._timeline import caption as timeline_caption
from medcam.reports._timeline import timeline
from medcam.reports.base import Context


def drawings(case: Case, context: Context) -> list[Drawing]:
    """One figure per caption, made once for all reports on the case."""
    if "drawings" not in context.shared:
        folder, curve = context.results.path(case.key), timeline(case)
        pictures = [figure(case, picture, read_plane(folder / picture.file), DISPLAY) for picture in case.key_images]
        context.shared["drawings"] = pictures + ([] if curve is None else [curve])
    made: list[Drawing] = context.shared["drawings"]
    return made


def captions(case: Case) -> tuple[str, ...]:
    """One caption per figure."""
    pictures = tuple(_caption(case, picture) for picture in case.key_images)
    return pictures if timeline(case) is None else (*pictures, timeline_caption(case))


def _caption(case: Case, picture: KeyImage) -> str:
    """Which plane it is, in case the screening's own words do not say so."""
    given = f"{picture.caption[:1].upper()}{picture.caption[1:]}".rstrip(".")
    plane, _, when = plane_words(case, picture).partition(", ")
    if plane.lower() not in given.lower():
        given = f"{plane}. {given}" if given else plane
    return f"{given} ({when})." if when else f"{given}."
