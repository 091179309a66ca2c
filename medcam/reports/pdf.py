"""One PDF (A4) per case, with the disclaimer and the page number on every page and no patient in its header."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from medcam.findings import Case
from medcam.reports._blocks import Block, Rows, Table, Words
from medcam.reports._content import Content, content
from medcam.reports._drawing import Drawing
from medcam.reports._figures import drawings
from medcam.reports._pdf_canvas import FAINT, MARGIN, PAGE, RULE, pages, paint
from medcam.reports._typefaces import BOLD, PLAIN, markup
from medcam.reports.base import DISCLAIMER, Context, Report

INK, SOFT, NOTICE = "#1d2733", "#f4f6f8", "#fdf6e7"
TONES = {"flagged": "#b42318", "refer": "#b7791f", "demonstration": "#6b3fa0", "quiet": "#7b8794"}
WIDTH = PAGE[0] - 2 * MARGIN
"""Of the text, in points."""
BESIDE = 3
"""How many short rows stand beside each other."""


class PDF(Report):
    """Pages for a file or a printer; the words are those of the web page."""

    name = "pdf"
    suffix = ".pdf"

    def write(self, case: Case, context: Context, folder: Path) -> list[Path]:
        from reportlab.platypus import SimpleDocTemplate

        said = content(case, context)
        path = folder / f"{case.key}{self.suffix}"
        document = SimpleDocTemplate(
            str(path),
            pagesize=PAGE,
            leftMargin=MARGIN - 6,  # the frame pads its content by 6 points
            rightMargin=MARGIN - 6,
            topMargin=MARGIN + 6,
            bottomMargin=MARGIN + 6,
            title=f"{said.title} - {DISCLAIMER}",
            author="medcam-toolkit",
            subject=f"Case {case.key}",
            invariant=1,
        )
        document.build(list(_story(said, drawings(case, context))), canvasmaker=pages(f"Case {case.key}"))
        return [path]


def _story(said: Content, figures: list[Drawing]) -> Iterator[Any]:
    from reportlab.platypus import CondPageBreak, HRFlowable, KeepTogether

    yield _head(said)
    for section in said.sections:
        waiting = iter(figures)
        parts = [part for block in section.blocks for part in _parts(block, waiting)]
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
        from reportlab.platypus import KeepTogether

        rows = _short(block) if block.short else _rows(block)
        return [KeepTogether([_words(block.title, before=4), rows])] if block.title else [rows]
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
    """Columns at least as wide as their longest word, and what is left shared out as their longest cells ask for."""
    from reportlab.pdfbase.pdfmetrics import stringWidth

    def points(words: str) -> float:
        return min(float(stringWidth(words, BOLD, 8)), 260.0) + 13

    columns = list(zip(block.head, *block.rows, strict=True))
    least = [max(points(word) for cell in column for word in cell.split() or [""]) for column in columns]
    wants = [max(max(points(cell) for cell in column) - low, 1.0) for column, low in zip(columns, least, strict=True)]
    left = max(WIDTH - sum(least), 0.0)
    wide = [low + left * want / sum(wants) for low, want in zip(least, wants, strict=True)]
    return tuple(WIDTH * width / sum(wide) for width in wide)


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
    from reportlab.platypus import Flowable, KeepTogether, Spacer

    scale = WIDTH / drawing.width

    class Figure(Flowable):  # type: ignore[misc]  # reportlab has no types
        def wrap(self, width: float, height: float) -> tuple[float, float]:
            return WIDTH, drawing.height * scale

        def draw(self) -> None:
            self.canv.translate(0, drawing.height * scale)
            self.canv.scale(scale, scale)
            for mark in drawing.marks:
                paint(self.canv, mark)

    return KeepTogether([Figure(), _words(caption, face=BOLD, before=2), Spacer(1, 6)])
