"""Facial Action Units (FACS): names, benchmark label sets, and the grammar of the releases' AU strings.

The grammar covers the notations of CASME, CASME II, SAMM, CAS(ME)3, 4DME and MMEW: ``"4+R14"``, ``"L12 + 61"``,
``"7B"``, ``"10A/B"``, ``"A/L12"``, ``"T18"``, ``"ref(L10)+A12B"``, ``"AUR1+2+ L4+45"``, ``"AU4(k)+12(offset)"``,
``"20L"``, ``"R14A or 17A"``, ``"R14+17+soft focus"``, ``"?"`` and plain integers.
"""

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real

NAMES = {
    1: "Inner Brow Raiser", 2: "Outer Brow Raiser", 4: "Brow Lowerer", 5: "Upper Lid Raiser", 6: "Cheek Raiser",
    7: "Lid Tightener", 8: "Lips Toward Each Other", 9: "Nose Wrinkler", 10: "Upper Lip Raiser",
    11: "Nasolabial Deepener", 12: "Lip Corner Puller", 13: "Sharp Lip Puller", 14: "Dimpler",
    15: "Lip Corner Depressor", 16: "Lower Lip Depressor", 17: "Chin Raiser", 18: "Lip Pucker", 19: "Tongue Show",
    20: "Lip Stretcher", 21: "Neck Tightener", 22: "Lip Funneler", 23: "Lip Tightener", 24: "Lip Pressor",
    25: "Lips Part", 26: "Jaw Drop", 27: "Mouth Stretch", 28: "Lip Suck", 29: "Jaw Thrust", 30: "Jaw Sideways",
    31: "Jaw Clencher", 32: "Lip Bite", 33: "Cheek Blow", 34: "Cheek Puff", 35: "Cheek Suck", 36: "Tongue Bulge",
    37: "Lip Wipe", 38: "Nostril Dilator", 39: "Nostril Compressor", 41: "Lid Droop", 42: "Slit", 43: "Eyes Closed",
    44: "Squint", 45: "Blink", 46: "Wink", 51: "Head Turn Left", 52: "Head Turn Right", 53: "Head Up",
    54: "Head Down", 55: "Head Tilt Left", 56: "Head Tilt Right", 57: "Head Forward", 58: "Head Back",
    61: "Eyes Turn Left", 62: "Eyes Turn Right", 63: "Eyes Up", 64: "Eyes Down", 65: "Walleye", 66: "Cross-eye",
}  # fmt: skip

BENCHMARK = {"casme2": (1, 2, 4, 7, 12, 14, 15, 17), "samm": (2, 4, 7, 12)}
"""The AUs that the paper scores on each release (paper 4.1, Tables 1 and 2)."""
CD6ME = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17)
"""The AUs of the field's protocol over six releases (Varanka et al. 2024)."""

_UNIT = re.compile(
    r"(?:AU)?\s*(?P<prefix>[LRATB](?:/[LRATB])?)?\s*(?P<number>\d{1,2})\s*"
    r"(?P<intensity>[A-E](?:/[A-E])?)?(?P<suffix>[LR])?\s*(?P<mark>\((?:k|offset)\))?",
    re.IGNORECASE,
)
_REFERENCE = re.compile(r"(?:AU)?\s*ref\s*\((?P<inner>[^()]*)\)", re.IGNORECASE)
_OR = re.compile(r"\s+or\s+|(?<=\d)or(?=[LR\d])", re.IGNORECASE)
_WORDS = re.compile(r"[^\W\d_]{3,}(?:\s+[^\W\d_]+)*")


@dataclass(frozen=True)
class ActionUnit:
    """One AU as a coder wrote it."""

    number: int
    side: str = ""  # L, R; A asymmetric; T top, B bottom; "A/L" and the like as written
    intensity: str = ""  # A (trace) to E (maximum), "A/B" between two; empty where the release codes none
    referenced: bool = False  # "ref(x)": named by the coder, not scored as shown
    held: bool = False  # "(k)": already there before the onset
    at_offset: bool = False  # "(offset)": shown at the offset only
    alternative: int = 0  # "R14A or 17A": 0 for the first reading, 1 for the second


def parse_aus(text: object) -> tuple[ActionUnit, ...]:
    """The AUs of one annotation cell, in the order written.

    Args:
        text: a string, an integer as spreadsheets give for a single AU, or None or NaN for an empty cell.

    Returns:
        The AUs; none for "?", an empty cell, or free text alone.

    Raises:
        ValueError: quoting the part that is outside the grammar, or a number that FACS does not have.
    """
    if text is None or (isinstance(text, Real) and text != text):
        return ()
    if isinstance(text, Real) and not isinstance(text, bool) and float(text).is_integer():
        text = str(round(float(text)))
    if not isinstance(text, str):
        raise ValueError(f"AU annotation {text!r}: expected text such as '4+R14' or a whole number")
    units = []
    for alternative, parts in enumerate(_readings(text)):
        for part in parts:
            if part in ("", "?"):
                continue
            reference = _REFERENCE.fullmatch(part)
            unit = _UNIT.fullmatch(reference["inner"].strip() if reference else part)
            if unit is None:
                if _is_remark(part):
                    continue
                raise ValueError(f"AU annotation {text!r}: cannot read {part!r}")
            number, prefix, suffix = int(unit["number"]), unit["prefix"] or "", unit["suffix"] or ""
            if number not in NAMES:
                raise ValueError(f"AU annotation {text!r}: FACS has no AU {number}")
            if prefix and suffix:
                raise ValueError(f"AU annotation {text!r}: {part!r} names a side twice")
            mark = (unit["mark"] or "").lower()
            units.append(
                ActionUnit(
                    number=number,
                    side=(prefix or suffix).upper(),
                    intensity=(unit["intensity"] or "").upper(),
                    referenced=reference is not None,
                    held=mark == "(k)",
                    at_offset=mark == "(offset)",
                    alternative=alternative,
                )
            )
    return tuple(units)


def remarks(text: object) -> list[str]:
    """The words in an annotation cell that ``parse_aus`` passes over: ["soft focus"] in "R14+17+soft focus"."""
    return [part for parts in _readings(text) for part in parts if _is_remark(part)] if isinstance(text, str) else []


def _readings(text: str) -> list[list[str]]:
    """The parts of a cell, one list for each reading that its "or" offers."""
    plain = unicodedata.normalize("NFKC", text).strip()  # full-width commas, plus signs and brackets are typed too
    return [[part.strip() for part in re.split(r"[+,]", reading)] for reading in _OR.split(plain)]


def _is_remark(part: str) -> bool:
    is_unit = _REFERENCE.fullmatch(part) or _UNIT.fullmatch(part) or part.lower().startswith(("ref", "au"))
    return not is_unit and _WORDS.fullmatch(part) is not None


def au_columns(table: Iterable[str]) -> list[str]:
    """The label columns AU1.. of a table, or of any column names, in numerical order."""
    return sorted((c for c in table if re.fullmatch(r"AU\d+", str(c))), key=lambda c: int(c[2:]))
