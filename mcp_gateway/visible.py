"""Text in which nothing hides: what servers say of themselves is read by models, and looked at by people."""

from __future__ import annotations

import re
import unicodedata

_PLAIN = {"\n", "\t", " "}
_HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
"""Categories of characters that nobody sees: controls, formats, unassigned and private ones, separators."""
_BLANK = re.compile("[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]")
"""Letters without a form, and variation selectors, which can spell whole texts behind one character."""


def visible(text: str) -> str:
    """The text with an escape in place of each character that is not seen, except blanks and the ends of lines."""
    text = text.replace("\r\n", "\n")
    if text.isascii() and text.isprintable():
        return text
    hidden = {char for char in text if char not in _PLAIN and unicodedata.category(char) in _HIDDEN}
    for char in hidden.union(_BLANK.findall(text)):
        text = text.replace(char, f"\\u{ord(char):04x}" if ord(char) <= 0xFFFF else f"\\U{ord(char):08x}")  # noqa: PLR2004 - the last of four digits
    return text
