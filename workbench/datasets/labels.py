"""Clean words that name a class or a group, and report words that are merged or look alike."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

#: What programs write for a missing value, in lower case.
MISSING = frozenset({"", "nan", "n/a", "na", "#n/a", "<na>", "null", "none", "nat", "(null)"})
#: Characters without a width that str.strip does not remove: the byte order mark and joiners.
_UNSEEN = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u2060"))


def tidy(word: str) -> str:
    """Remove surrounding blanks and compose Unicode (NFC), so that words that look the same are equal."""
    if word.isascii():
        return word.strip()
    return unicodedata.normalize("NFC", word.translate(_UNSEEN)).strip()


def is_missing(word: str) -> bool:
    """Whether the word means that the value is missing."""
    return word.strip().lower() in MISSING


def merged(what: str, words: Iterable[str]) -> list[str]:
    """Return at most one note, which names words that differ only in blanks or Unicode form and are taken as one."""
    forms: dict[str, set[str]] = {}
    for word in set(words):
        forms.setdefault(tidy(word), set()).add(word)
    several = [sorted(spellings) for _, spellings in sorted(forms.items()) if len(spellings) > 1]
    if not several:
        return []
    shown = ", ".join(" and ".join(map(ascii, spellings)) for spellings in several[:5])
    return [f"{what} that differ in blanks or Unicode form only are taken as one: {shown}"]


def look_alike(what: str, words: Iterable[str]) -> list[str]:
    """Return at most one note, which names words that are kept separate and differ only in case or number format."""
    forms: dict[object, set[str]] = {}
    for word in set(words) - {""}:
        is_number = re.fullmatch(r"[+-]?\d{1,15}(\.\d*)?", word)
        forms.setdefault(float(word) if is_number else word.casefold(), set()).add(word)
    several = sorted(sorted(spellings) for spellings in forms.values() if len(spellings) > 1)
    if not several:
        return []
    shown = ", ".join(" and ".join(map(repr, spellings)) for spellings in several[:5])
    return [f"{what} that may be meant to be one are kept apart: {shown}"]


def fold_number(text: str) -> int | None:
    """Return the number of a fold written as "3", "3.0" (as pandas does), "fold3" or "cv-03"; None without a number."""
    match = re.fullmatch(r"(\d{1,9})(?:\.0*)?|(?=.*[^\W\d]).*?(?<!\d)(\d{1,9})", text.strip(), re.DOTALL)
    return None if match is None else int(match[1] or match[2])
