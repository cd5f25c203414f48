"""The parts of LaTeX tables, and a text of several."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

__all__ = [
    "DAGGER",
    "escape",
    "fitted",
    "floating",
    "long",
    "marked",
    "tables_text",
    "table_row",
    "tabular",
]

#: :data:`osadbench.report.texts.ODD` in LaTeX.
DAGGER = r"$^\dagger$"
_MARKS = {"best": r"\textbf{%s}", "second": r"\underline{%s}", "": "%s"}
_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"\,$\pm$\,",
    # Else a row that starts with a bracket would be read as an option of the rule above it.
    "[": "{[}",
    "]": "{]}",
    **{c: f"\\{c}" for c in "&%$#_{}"},
}
#: LaTeX gives up where more tables than these wait for a page of their own.
_FLOATS = 18
#: Characters beside each other and lines that a page holds, with gaps between columns of so many
#: characters; in smaller letters each gap takes the room of one.
_NORMAL, _WIDE_GAP, _NORMAL_LINES, _SCRIPTSIZE = 68, 2.4, 36, 80
#: Letters of western Europe, without those that LaTeX's own fonts lack.
_LATIN = frozenset(one for one in map(chr, range(0xC0, 0x100)) if one.isalpha()) - set("ÐðÞþ")


def tables_text(
    tables: Sequence[str], version: str, notes: Iterable[str] = (), *, packages: str = "booktabs"
) -> str:
    """Return tables as one text, below a comment that says what the document needs.

    Args:
        tables: The tables, LaTeX already.
        version: Version of osadbench that prints them.
        notes: What stands below the last table as comments, each one line.
        packages: Names of packages, with commas between them.
    """
    blocks = [f"% osadbench {version}; needs \\usepackage{{{packages}}}"]
    for start in range(0, len(tables), _FLOATS):
        blocks += [r"\clearpage"] * bool(start)
        blocks += tables[start : start + _FLOATS]
    return "\n\n".join([*blocks, *(f"% {note}" for note in notes)]) + "\n"


def floating(caption: str, body: str, below: Iterable[str] = ()) -> str:
    """Return a ``table`` environment; caption, body and the lines below it are LaTeX already."""
    head = [r"\begin{table}", r"\centering", f"\\caption{{{caption}}}", body]
    return "\n".join([*head, *_small(below), r"\end{table}"])


def long(
    caption: str,
    heads: Sequence[str],
    lines: Iterable[str],
    below: Iterable[str] = (),
    *,
    names: int = 1,
) -> str:
    """Return a ``longtable``, which goes on from page to page; arguments as those of the others."""
    heading, body = table_row(map(escape, heads)), list(lines)
    head = [r"\toprule", heading, r"\midrule"]
    return "\n".join(
        [
            f"{{{_smaller(_widths(heading, body))}%",
            f"\\begin{{longtable}}{{{_columns(heads, names)}}}",
            f"\\caption{{{caption}}} \\\\",
            *head,
            r"\endfirsthead",
            *head,
            r"\endhead",
            r"\bottomrule",
            r"\endfoot",
            *body,
            r"\end{longtable}",
            *_small(below),
            "}",
        ]
    )


def tabular(heads: Sequence[str], lines: Iterable[str], *, names: int = 1) -> str:
    """Return a table of columns of names and, right of them, columns of numbers.

    Args:
        heads: Heads of the columns, as plain text.
        lines: The rows, as :func:`table_row` makes them.
        names: How many columns hold names.
    """
    heading, body = table_row(map(escape, heads)), list(lines)
    text = "\n".join(
        [
            f"\\begin{{tabular}}{{{_columns(heads, names)}}}",
            r"\toprule",
            heading,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
        ]
    )
    return fitted(text, _widths(heading, body))


def fitted(tabular: str, widths: Sequence[int]) -> str:
    """Return a table as it is if it fits on a page, else in smaller letters.

    What is wider even so stands out on both sides alike.

    Args:
        tabular: The table.
        widths: How many characters wide each of its columns is.
    """
    smaller = _smaller(widths, tabular.count("\n"))
    if not smaller:
        return tabular
    return f"\\makebox[\\textwidth]{{%\n{{{smaller}%\n{tabular}}}}}"


def _smaller(widths: Sequence[int], lines: int = 0) -> str:
    """Return what makes letters as small as a table needs, nothing where it fits as it is."""
    letters, gaps = sum(widths), len(widths)
    if letters + _WIDE_GAP * gaps <= _NORMAL and lines <= _NORMAL_LINES:
        return ""
    size = r"\scriptsize" if letters + gaps <= _SCRIPTSIZE else r"\tiny"
    return rf"{size}\setlength{{\tabcolsep}}{{2pt}}"


def _widths(heading: str, body: Sequence[str]) -> list[int]:
    columns = zip(*(map(_printed, one.split(" & ")) for one in (heading, *body)), strict=True)
    return [max(map(len, column)) for column in columns]


def _printed(text: str) -> str:
    """Return about what is seen of LaTeX text."""
    return re.sub(r"\\(\w+|,)|[\\{}$]", "", text)


def _columns(heads: Sequence[str], names: int) -> str:
    return "l" * names + "r" * (len(heads) - names)


def _small(lines: Iterable[str]) -> list[str]:
    """Return lines as small paragraphs, and nothing of none."""
    paragraphs = [f"{one}\\par" for one in lines]
    return [r"\par\footnotesize\raggedright", *paragraphs] if paragraphs else []


def table_row(cells: Iterable[str]) -> str:
    """Return a row of cells, LaTeX already."""
    return f"{' & '.join(cells)} \\\\"


def marked(number: str, mark: str) -> str:
    """Return a number, in LaTeX, in bold for the mark ``"best"``, underlined for ``"second"``."""
    return _MARKS[mark] % number


def escape(text: str) -> str:
    """Return text as LaTeX prints it; unknown characters become their code points."""
    # Two hyphens would become a dash; one before a number is a minus sign.
    whole = re.sub("-(?=-)", "-{}", "".join(map(_character, text)))
    return re.sub(r"(?<!\S)-(?=\d)", "$-$", whole)


def _character(one: str) -> str:
    """Return a character for pdfLaTeX, whose own fonts have Latin letters only."""
    if one in _SPECIAL:
        return _SPECIAL[one]
    return one if " " <= one <= "~" or one in _LATIN else f"{{[}}U+{ord(one):04X}{{]}}"
