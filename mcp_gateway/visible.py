"""Text in which nothing hides: what servers say of themselves is read by models, and looked at by people."""

from __future__ import annotations

import unicodedata

_PLAIN = {"\n", "\t", " "}
_HIDDEN = {"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"}
"""Categories of characters that nobody sees: controls, formats, unassigned and private ones, separators."""
_BLANK = {0x34F, 0x115F, 0x1160, 0x17B4, 0x17B5, *range(0x180B, 0x1810), 0x2800, 0x3164, *range(0xFE00, 0xFE10), 0xFFA0,
          *range(0xE0100, 0xE01F0)}  # fmt: skip
"""Letters without a form, and variation selectors, which can spell whole texts behind one character."""
_BASIC = 0xFFFF
_SEEN = 10_000


class _Shown(dict[int, str]):
    """Each character as it is shown, found out once."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        shown = char
        if char not in _PLAIN and (code in _BLANK or unicodedata.category(char) in _HIDDEN):
            shown = f"\\u{code:04x}" if code <= _BASIC else f"\\U{code:08x}"
        if len(self) < _SEEN:
            self[code] = shown
        return shown


_shown = _Shown()


def visible(text: str) -> str:
    """The text with an escape in place of each character that is not seen, except blanks and the ends of lines."""
    if text.isascii() and text.isprintable():
        return text
    return text.replace("\r\n", "\n").translate(_shown)


def one_line(text: str, chars: int) -> str:
    """The same on one line, of so many characters at the most; what is left out is shown as `…`."""
    line = visible(" ".join(text[: 4 * chars].split()))
    return line if len(line) <= chars and len(text) <= 4 * chars else line[: chars - 1] + "…"
