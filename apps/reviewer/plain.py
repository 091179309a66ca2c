"""Words from headers, models and readers, made harmless: Markdown in them could load a picture from the outside."""

import re

_MARKS = re.compile(r"([\\`*_{}\[\]()<>#+\-.!|~$:&])")


def plain(text: str) -> str:
    """The text with every mark of Markdown escaped, to be shown as it is."""
    return _MARKS.sub(r"\\\1", text)
