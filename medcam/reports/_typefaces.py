"""Words in PDF: Helvetica, and for characters that it lacks another face, so that no name is shown as black boxes."""

import functools
import importlib.util
from itertools import groupby
from pathlib import Path
from xml.sax.saxutils import escape

PLAIN, BOLD = "Helvetica", "Helvetica-Bold"
_WIDE = "DejaVuSans"
_JAPANESE, _KOREAN = "HeiseiKakuGo-W5", "HYGothic-Medium"


def runs(words: str, face: str = PLAIN) -> list[tuple[str, str]]:
    """The words in pieces of (typeface, piece); a character that no face has is written as its code point."""
    pieces = [(_face_of(character, face), character) for character in words]
    spelt = [(face, f"[U+{ord(c):04X}]") if found is None else (found, c) for found, c in pieces]
    return [(name, "".join(c for _, c in group)) for name, group in groupby(spelt, key=lambda piece: piece[0])]


def markup(words: str, face: str = PLAIN) -> str:
    """The words for a ReportLab paragraph, escaped."""
    return "".join(
        escape(piece) if name == face else f'<font name="{name}">{escape(piece)}</font>'
        for name, piece in runs(words, face)
    )


@functools.lru_cache(maxsize=4096)
def _face_of(character: str, face: str) -> str | None:
    if not character.isprintable():
        return None
    try:
        character.encode("cp1252")
    except UnicodeEncodeError:
        pass
    else:
        return face
    if ord(character) in _wide_glyphs():
        return _WIDE
    code = ord(character)
    if 0x3000 <= code <= 0x30FF or 0x4E00 <= code <= 0x9FFF:
        return _reader_supplied(_JAPANESE)
    if 0xAC00 <= code <= 0xD7A3:
        return _reader_supplied(_KOREAN)
    return None


def wide_file() -> Path | None:
    """The TrueType file of the face that Matplotlib brings along."""
    found = importlib.util.find_spec("matplotlib")
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"


@functools.cache
def _wide_glyphs() -> frozenset[int]:
    """Code points of that face; registers it."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.ttfonts import TTFont

    path = wide_file()
    if path is None:
        return frozenset()
    font = TTFont(_WIDE, str(path))
    pdfmetrics.registerFont(font)
    return frozenset(font.face.charToGlyph)


@functools.cache
def _reader_supplied(name: str) -> str:
    """A face that PDF readers bring along for East Asian scripts."""
    from reportlab.pdfbase import pdfmetrics
    from reportlab.pdfbase.cidfonts import UnicodeCIDFont

    pdfmetrics.registerFont(UnicodeCIDFont(name))
    return name
