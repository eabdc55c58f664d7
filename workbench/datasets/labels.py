"""Words that name a class or a group: as clean as they can be made without guessing, and what is said of the rest."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

#: What programs write where there is nothing, in lower case.
MISSING = frozenset({"", "nan", "n/a", "na", "#n/a", "<na>", "null", "none", "nat", "(null)"})
#: Signs without a width that stripping leaves: a file's mark, joiners.
_UNSEEN = dict.fromkeys(map(ord, "\ufeff\u200b\u200c\u200d\u2060"))


def tidy(word: str) -> str:
    """Without blanks around it, in Unicode's composed form (NFC): what looks the same is the same."""
    if word.isascii():
        return word.strip()
    return unicodedata.normalize("NFC", word.translate(_UNSEEN)).strip()


def is_missing(word: str) -> bool:
    """Does the word say that there is nothing?"""
    return word.strip().lower() in MISSING


def merged(what: str, words: Iterable[str]) -> list[str]:
    """At most one note: words that differed in blanks or Unicode form alone and were taken as one."""
    forms: dict[str, set[str]] = {}
    for word in set(words):
        forms.setdefault(tidy(word), set()).add(word)
    several = [sorted(spellings) for _, spellings in sorted(forms.items()) if len(spellings) > 1]
    if not several:
        return []
    shown = ", ".join(" and ".join(map(ascii, spellings)) for spellings in several[:5])
    return [f"{what} that differ in blanks or Unicode form only are taken as one: {shown}"]


def look_alike(what: str, words: Iterable[str]) -> list[str]:
    """At most one note: words that may be meant to be one (case, the way a number is written), and are kept apart."""
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
    """Number of a fold: 3, "3.0" as pandas writes it, "fold3", "cv-03"; None where there is none."""
    match = re.fullmatch(r"(\d{1,9})(?:\.0*)?|(?=.*[^\W\d]).*?(?<!\d)(\d{1,9})", text.strip(), re.DOTALL)
    return None if match is None else int(match[1] or match[2])
