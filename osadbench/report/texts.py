"""Numbers, counts and paragraphs as they are printed, and text as Markdown prints it."""

from __future__ import annotations

import re
import textwrap

__all__ = [
    "DIGITS",
    "NO_RESULT",
    "ODD",
    "ODD_LEGEND",
    "bare_p_text",
    "counted",
    "effect_text",
    "escape_markdown",
    "mean_text",
    "p_text",
    "wrapped",
]

#: Digits that means are printed to, marked by and compared by, as in the papers.
DIGITS = 3
#: Stands where there is no number.
NO_RESULT = "-"
#: Stands beside a number that is made otherwise than its neighbours.
ODD = "†"
ODD_LEGEND = f"{ODD}: made otherwise than most of the table"
_WIDTH = 100
_SPECIAL = str.maketrans({c: f"\\{c}" for c in "\\`*_[]<>|#"})


def mean_text(mean: float | None, std: float | None, plus_minus: str = "±") -> str:
    """Return ``mean±std``, the mean alone where there is no deviation, or a dash."""
    if mean is None:
        return NO_RESULT
    spread = "" if std is None else f"{plus_minus}{std:.{DIGITS}f}"
    return f"{mean:.{DIGITS}f}{spread}"


def p_text(value: float) -> str:
    """Return ``= 0.031``, or ``< 0.001`` where it is smaller."""
    return "< 0.001" if value < 0.001 else f"= {value:.3f}"


def bare_p_text(value: float) -> str:
    """Return ``0.031``, or ``< 0.001`` where it is smaller."""
    return p_text(value).removeprefix("= ")


def effect_text(value: float) -> str:
    """Return ``+0.78``, and ``+0.00`` for all that is rounded to zero."""
    return f"{value:+z.2f}"


def counted(n: int, what: str) -> str:
    """Return a number of things, such as ``1 shot`` or ``10 shots``."""
    return f"{n} {what}{'' if n == 1 else 's'}"


def wrapped(text: str, indent: str = "  ") -> str:
    """Return a text in lines of 100 columns, none of which ends within ``p = 0.5``.

    Args:
        text: One paragraph.
        indent: What the second and later lines begin with.
    """
    held = re.sub(r" (?=[=<] )|(?<= [=<]) ", "\u00a0", text)
    lines = textwrap.fill(
        held, _WIDTH, subsequent_indent=indent, break_on_hyphens=False, break_long_words=False
    )
    return lines.replace("\u00a0", " ")


def escape_markdown(text: str) -> str:
    """Return text as Markdown prints it."""
    return text.translate(_SPECIAL)
