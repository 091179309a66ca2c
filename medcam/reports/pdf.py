"""One PDF (A4) per case, with the disclaimer and the page number on every page and no patient in its header."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medcam.findings import Case
from medcam.reports import _typefaces
from medcam.reports._blocks import Block, Rows, Table, Words
from medcam.reports._content import Content, content
from medcam.reports._drawing import Box, Drawing, Image, Line
from medcam.reports._pictures import shared_drawings
from medcam.reports._typefaces import BOLD, PLAIN, markup
from medcam.reports.base import DISCLAIMER, Context, Report

INK, FAINT, RULE, SOFT, NOTICE = "#1d2733", "#5b6875", "#d9dfe5", "#f4f6f8", "#fdf6e7"
TONES = {"flagged": "#b42318", "refer": "#b7791f", "demonstration": "#6b3fa0", "quiet": "#7b8794"}
PAGE, MARGIN, TOP, BOTTOM = (595.28, 841.89), 48.0, 54.0, 54.0
"""In points."""
WIDTH = PAGE[0] - 2 * MARGIN
BESIDE = 3
"""How many short rows stand beside each other."""


class PDF(Report):
    """Pages for a file or a printer; the words are those of the web page."""

    name = "pdf"
    suffix = ".pdf"

    def write(self, case: Case, context: Context, folder: Path) -> list[Path]:
        from reportlab.platypus import SimpleDocTemplate

        said = content(case, context)
        drawings = shared_drawings(case, context)
        path = folder / f"{case.key}{self.suffix}"
        document = SimpleDocTemplate(
            str(path),
            pagesize=PAGE,
            leftMargin=MARGIN - 6,  # the frame pads its content by 6 points
            rightMargin=MARGIN - 6,
            topMargin=TOP,
            bottomMargin=BOTTOM,
            title=f"{said.title} - {DISCLAIMER}",
            author="medcam-toolkit",
            subject=f"Case {case.key}",
            invariant=1,
        )
        document.build(list(_story(said, drawings)), canvasmaker=_pages(f"Case {case.key}"))
        return [path]


def _story(said: Content, drawings: list[Drawing]) -> Iterator[Any]:
    from reportlab.platypus import CondPageBreak, HRFlowable, KeepTogether

    yield _head(said)
    for section in said.sections:
        figures = iter(drawings)
        parts = [part for block in section.blocks for part in _parts(block, figures)]
        heading = [
            _words(section.title, 11, face=BOLD, before=12),
            HRFlowable("100%", 0.6, color=RULE, spaceBefore=2, spaceAfter=5),
        ]
        yield CondPageBreak(90)
        yield KeepTogether([*heading, *parts[:1]])
        yield from parts[1:]


def _head(said: Content) -> Any:
    """Title and review status on the left, the decision on the right."""
    left = [
        _words(said.title, 18, face=BOLD),
        _words(said.question, 10, colour=FAINT, before=2),
        _words(said.reviewed, 10, face=BOLD, before=6),
    ]
    right = [_words(said.decision, 15, face=BOLD), _words(said.score, 8, colour=FAINT, before=2)]
    style = [
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
        ("LEFTPADDING", (0, 0), (0, 0), 0),
        ("BACKGROUND", (1, 0), (1, 0), SOFT),
        ("LINEBEFORE", (1, 0), (1, 0), 4, TONES[said.tone]),
        ("LEFTPADDING", (1, 0), (1, 0), 12),
        ("BOTTOMPADDING", (0, 0), (-1, -1), 8),
        ("TOPPADDING", (1, 0), (1, 0), 6),
    ]
    return _table([[left, right]], (WIDTH - 185, 185), style)


def _parts(block: Block, figures: Iterator[Drawing]) -> list[Any]:
    if isinstance(block, Rows):
        return [_short(block) if block.short else _rows(block)]
    if isinstance(block, Table):
        return [_grid(block)]
    if isinstance(block, Words):
        return [_warning(line) if block.tone == "warning" else _words(line, before=4) for line in block.lines]
    return [_figure(drawing, caption) for drawing, caption in zip(figures, block.captions, strict=True)]


def _rows(block: Rows) -> Any:
    cells = [[_words(name, colour=FAINT), _words(value)] for name, value in block.rows]
    return _table(cells, (118, WIDTH - 118), [("LEFTPADDING", (0, 0), (0, -1), 0), *_tight(2)])


def _short(block: Rows) -> Any:
    lines = []
    for first in range(0, len(block.rows), BESIDE):
        line: list[Any] = []
        for name, value in block.rows[first : first + BESIDE]:
            line += [_words(name, 8, colour=FAINT), _words(value, 8, right=True), ""]
        lines.append(line + [""] * (3 * BESIDE - len(line)))
    pair, gap = WIDTH / BESIDE, 14
    rules = [("LINEBELOW", (3 * n, 0), (3 * n + 1, -1), 0.4, RULE) for n in range(BESIDE)]
    flush = [("LEFTPADDING", (0, 0), (-1, -1), 0), ("RIGHTPADDING", (0, 0), (-1, -1), 0)]
    return _table(lines, (pair * 0.6 - gap, pair * 0.4, gap) * BESIDE, [*rules, *flush, *_tight(2)])


def _grid(block: Table) -> Any:
    cells = [[_words(cell, 8, face=BOLD, colour=FAINT) for cell in block.head]]
    cells += [[_words(cell, 8) for cell in row] for row in block.rows]
    style = [
        ("LINEBELOW", (0, 0), (-1, 0), 0.8, INK),
        ("LINEBELOW", (0, 1), (-1, -1), 0.4, RULE),
        ("LEFTPADDING", (0, 0), (0, -1), 0),
        *_tight(3),
    ]
    return _table(cells, _widths(block), style, heads=1)


def _widths(block: Table) -> tuple[float, ...]:
    """Columns as wide as their longest cell asks for, within reason."""
    wants = [min(max(len(cell) for cell in column), 48) + 3 for column in zip(block.head, *block.rows, strict=True)]
    return tuple(WIDTH * want / sum(wants) for want in wants)


def _warning(line: str) -> Any:
    style = [("BACKGROUND", (0, 0), (-1, -1), NOTICE), ("LINEBEFORE", (0, 0), (0, -1), 3, TONES["refer"]), *_tight(5)]
    return _table([[_words(line, face=BOLD)]], (WIDTH,), [*style, ("LEFTPADDING", (0, 0), (-1, -1), 10)], space=5)


def _tight(points: float) -> list[Any]:
    every = (0, 0), (-1, -1)
    return [("VALIGN", *every, "TOP"), ("TOPPADDING", *every, points), ("BOTTOMPADDING", *every, points)]


def _table(cells: list[Any], widths: tuple[float, ...], style: list[Any], heads: int = 0, space: float = 3) -> Any:
    from reportlab.platypus import Table as Flow

    return Flow(cells, widths, repeatRows=heads, style=style, spaceBefore=space, spaceAfter=space, hAlign="LEFT")


def _words(
    words: str, size: float = 9, *, face: str = PLAIN, colour: str = INK, before: float = 0, right: bool = False
) -> Any:
    from reportlab.lib.styles import ParagraphStyle
    from reportlab.platypus import Paragraph

    style = ParagraphStyle(
        "words", fontName=face, fontSize=size, leading=size * 1.28, textColor=colour, spaceBefore=before,
        alignment=2 if right else 0, splitLongWords=1,
    )  # fmt: skip
    return Paragraph(markup(words, face), style)


def _figure(drawing: Drawing, caption: str) -> Any:
    from reportlab.platypus import Flowable, KeepTogether

    scale = WIDTH / drawing.width

    class Figure(Flowable):  # type: ignore[misc]  # reportlab has no types
        def wrap(self, width: float, height: float) -> tuple[float, float]:
            return WIDTH, drawing.height * scale

        def draw(self) -> None:
            self.canv.translate(0, drawing.height * scale)
            self.canv.scale(scale, scale)
            for mark in drawing.marks:
                _paint(self.canv, mark)

    return KeepTogether([Figure(), _words(caption, face=BOLD, before=2)])


def _paint(canvas: Any, mark: Any) -> None:
    """One mark; the canvas has its origin at the drawing's upper left corner, and y upwards."""
    from reportlab.lib.utils import ImageReader

    if isinstance(mark, Image):
        picture = ImageReader(io.BytesIO(mark.jpeg()))
        canvas.drawImage(picture, mark.x, -mark.y - mark.height, mark.width, mark.height)
    elif isinstance(mark, Box):
        canvas.setStrokeColor(mark.colour)
        canvas.setFillColor(mark.colour)
        canvas.setLineWidth(mark.line)
        canvas.rect(mark.x, -mark.y - mark.height, mark.width, mark.height, stroke=not mark.filled, fill=mark.filled)
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
        _write(canvas, mark.x, -mark.y, mark.words, mark.size, mark.anchor)


def _write(canvas: Any, x: float, y: float, words: str, size: float, anchor: str = "start") -> None:
    pieces = _typefaces.runs(words)
    wide = sum(canvas.stringWidth(piece, face, size) for face, piece in pieces)
    x -= {"start": 0.0, "middle": wide / 2, "end": wide}[anchor]
    for face, piece in pieces:
        canvas.setFont(face, size)
        canvas.drawString(x, y, piece)
        x += canvas.stringWidth(piece, face, size)


def _pages(title: str) -> Any:
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
            _write(self, MARGIN, PAGE[1] - 34, "AI finding report, medcam-toolkit", 8)
            _write(self, right, PAGE[1] - 34, title, 8, "end")
            _write(self, MARGIN, 30, DISCLAIMER, 8)
            _write(self, right, 30, f"Page {number} of {total}", 8, "end")

    return Pages
