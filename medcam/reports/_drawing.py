"""Pictures as a list of simple marks, so that a web page, a PDF and a bitmap show the very same figure.

Lengths are in the drawing's own unit, y runs downwards, text sits on its baseline, colours are "#rrggbb".
"""

import io
from dataclasses import dataclass
from typing import Literal

from medcam.display import Bytes

Anchor = Literal["start", "middle", "end"]


@dataclass(frozen=True)
class Image:
    """Pixels (H, W) or (H, W, 3) stretched over a rectangle."""

    x: float
    y: float
    width: float
    height: float
    pixels: Bytes

    def jpeg(self) -> bytes:
        """A display copy: quality 90, full colour resolution."""
        from PIL import Image as Pillow

        stream = io.BytesIO()
        Pillow.fromarray(self.pixels).save(stream, "JPEG", quality=90, subsampling=0)
        return stream.getvalue()


@dataclass(frozen=True)
class Box:
    """The outline of a rectangle."""

    x: float
    y: float
    width: float
    height: float
    colour: str
    line: float = 1.0


@dataclass(frozen=True)
class Line:
    """A path through points."""

    points: tuple[tuple[float, float], ...]
    colour: str
    line: float = 1.0


@dataclass(frozen=True)
class Text:
    """One line of words."""

    x: float
    y: float
    size: float
    words: str
    colour: str
    anchor: Anchor = "start"


Mark = Image | Box | Line | Text


@dataclass(frozen=True)
class Drawing:
    """Marks on paper, painted in order; `words` describes them to somebody who cannot see them."""

    width: float
    height: float
    paper: str
    marks: tuple[Mark, ...]
    words: str
