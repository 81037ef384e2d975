"""Which language a text is written in: by its script, then by telling words."""

from __future__ import annotations

import re

from workers.models.demo.chinese import CHINESE
from workers.models.demo.english import ENGLISH
from workers.models.demo.german import GERMAN
from workers.models.demo.language import Language
from workers.models.demo.spanish import SPANISH

LANGUAGES = (ENGLISH, CHINESE, GERMAN, SPANISH)
_BY_SCRIPT = ((re.compile(r"[äöüß]", re.IGNORECASE), GERMAN), (re.compile(r"[ñ¿¡áéíóú]", re.IGNORECASE), SPANISH))
_HAN = re.compile(r"[\u4e00-\u9fff]")
_WORD = re.compile(r"[^\W\d_]+(?:['’][^\W\d_]+)?")


def guess(text: str, fallback: Language = ENGLISH) -> Language:
    """The language of `text`; `fallback` where nothing tells. Pure, never raises."""
    words = _WORD.findall(text.lower())
    if len(_HAN.findall(text)) * 2 >= len(words) and _HAN.search(text):
        return CHINESE  # one Han sign is about half a word
    score = {language.code: sum(word in language.words for word in words) for language in LANGUAGES}
    for letters, language in _BY_SCRIPT:
        score[language.code] += len(letters.findall(text))
    best = max(LANGUAGES, key=lambda language: (score[language.code], language is fallback))
    return best if score[best.code] else fallback


def others(first: Language) -> tuple[Language, ...]:
    """All languages, `first` first: a guess may be wrong, and people mix."""
    return (first, *(language for language in LANGUAGES if language is not first))
