"""What is drawn on a ReportLab canvas: the marks of a drawing, and the head and foot of every page."""

import io
from typing import Any

from medcam.reports._drawing import Box, Image, Line, Mark
from medcam.reports._typefaces import runs
from medcam.reports.base import DISCLAIMER

PAGE, MARGIN = (595.28, 841.89), 48.0
"""A4 and its margin, in points."""
FAINT, RULE = "#5b6875", "#d9dfe5"


def paint(canvas: Any, mark: Mark) -> None:
    """One mark; the canvas has its origin at the drawing's upper left corner, and y upwards."""
    from reportlab.lib.utils import ImageReader

    if isinstance(mark, Image):
        picture = ImageReader(io.BytesIO(mark.jpeg()))
        canvas.drawImage(picture, mark.x, -mark.y - mark.height, mark.width, mark.height)
    elif isinstance(mark, Box):
        canvas.setStrokeColor(mark.colour)
        canvas.setLineWidth(mark.line)
        canvas.rect(mark.x, -mark.y - mark.height, mark.width, mark.height)
    elif isinstance(mark, Line):
        canvas.setStrokeColor(mark.colour)
        canvas.setLineWidth(mark.line)
        path = canvas.beginPath()
        path.moveTo(mark.points[0][0], -mark.points[0][1])
        for x, y in mark.points[1:]:
            path.lineTo(x, -y)
        canvas.drawPath(path)
    else:
        canvas.setFillColor(mark.colour)
        write(canvas, mark.x, -mark.y, mark.words, mark.size, mark.anchor)


def write(canvas: Any, x: float, y: float, words: str, size: float, anchor: str = "start") -> None:
    pieces = runs(words)
    wide = sum(canvas.stringWidth(piece, face, size) for face, piece in pieces)
    x -= {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
    for face, piece in pieces:
        canvas.setFont(face, size)
        canvas.drawString(x, y, piece)
        x += canvas.stringWidth(piece, face, size)


def pages(title: str) -> Any:
    """A canvas that knows, when it writes a page's head and foot, how many pages there are."""
    from reportlab.pdfgen.canvas import Canvas

    class Pages(Canvas):  # type: ignore[misc]  # reportlab has no types
        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            self.kept: list[dict[str, Any]] = []

        def showPage(self) -> None:  # noqa: N802  # reportlab's name
            self.kept.append(dict(self.__dict__))
            self._startPage()

        def save(self) -> None:
            total = len(self.kept)
            for number, page in enumerate(self.kept, start=1):
                self.__dict__.update(page)
                self._edges(number, total)
                super().showPage()
            super().save()

        def _edges(self, number: int, total: int) -> None:
            right = PAGE[0] - MARGIN
            self.setStrokeColor(RULE)
            self.setLineWidth(0.6)
            self.line(MARGIN, PAGE[1] - 40, right, PAGE[1] - 40)
            self.line(MARGIN, 42, right, 42)
            self.setFillColor(FAINT)
            write(self, MARGIN, PAGE[1] - 34, "AI finding report, medcam-toolkit", 8)
            write(self, right, PAGE[1] - 34, title, 8, "end")
            write(self, MARGIN, 30, DISCLAIMER, 8)
            write(self, right, 30, f"Page {number} of {total}", 8, "end")

    return Pages
