"""Marks of a drawing on a ReportLab canvas, and words in whichever typeface has them."""

import io
from typing import Any

from medcam.reports._drawing import Box, Image, Line, Mark
from medcam.reports._typefaces import runs


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
