"""Compiling LaTeX in a test."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

__all__ = ["compile_latex", "document"]


def document(body: str, *packages: str) -> str:
    """Return an article of a body that needs packages."""
    used = "".join(f"\\usepackage{{{package}}}\n" for package in packages)
    return f"\\documentclass{{article}}\n{used}\\begin{{document}}\n{body}\n\\end{{document}}\n"


def compile_latex(document: str, tmp_path: Path) -> str:
    """Compile a whole document with pdfLaTeX and return its log; skip the test where it is absent.

    Anything that LaTeX calls an error fails the test, as does a document without a page.
    """
    if (pdflatex := shutil.which("pdflatex")) is None:
        pytest.skip("needs pdflatex: apt-get install texlive-latex-recommended")
    source = tmp_path / "document.tex"
    source.write_text(document, encoding="utf-8")
    command = [pdflatex, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape"]
    done = subprocess.run(
        [*command, source.name], cwd=tmp_path, capture_output=True, timeout=60, check=False
    )
    log = done.stdout.decode("utf-8", "replace")
    wrong = [line for line in log.splitlines() if line.startswith("!")]
    assert done.returncode == 0 and not wrong, "\n".join(wrong) or log[-2000:]
    assert source.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
    return log
