from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest
from PIL import Image

from osadbench.errors import UsageError
from osadbench.report.diagram import SUFFIXES, Diagram, as_tikz, save_diagram

#: Long and odd names, equal ranks, and bars that overlap.
CROWDED = Diagram(
    ("dra", "devnet[lr=0.0001,n_ref=1]", "mlep-img[score=<a|b>]", "100%_#~^\\{}&$", "knn"),
    (1.4, 1.4, 2.9, 4.4, 4.9),
    1.7,
)


class Drawn(NamedTuple):
    """What a TikZ document draws: polylines and nodes, in centimetres."""

    lines: list[list[tuple[float, float]]]
    texts: dict[str, tuple[str, float, float]]


def drawn(diagram: Diagram) -> Drawn:
    text = as_tikz(diagram)
    point = r"\((-?[\d.]+),(-?[\d.]+)\)"
    lines = [
        [(float(x), float(y)) for x, y in re.findall(point, line)]
        for line in text.splitlines()
        if line.startswith(r"\draw")
    ]
    nodes = re.findall(rf"anchor=([a-z ]+),.*?at {point} {{(.*)}};", text)
    return Drawn(lines, {name: (anchor, float(x), float(y)) for anchor, x, y, name in nodes})


def test_places_by_hand() -> None:
    # Ranks 1, 2, 3 on 9 cm: 4.5 cm a rank. A difference of .5 joins none.
    found = drawn(Diagram(("b", "a", "c"), (2.0, 1.0, 3.0), 0.5))
    assert [0.0, 0.0] == [y for _, y in found.lines[0]]
    assert found.texts["1"][1:] == (0.0, 0.2)
    assert found.texts["3"][1:] == (9.0, 0.2)
    assert [(0.0, 1.0), (2.25, 1.0)] in found.lines, "the critical difference, to scale"
    assert "critical difference 0.50" in found.texts
    assert found.texts["a  1.00"][0] == found.texts["b  2.00"][0] == "mid east"
    assert found.texts["3.00  c"][0] == "mid west"


def test_bars_join_what_cannot_be_told_apart() -> None:
    bars = re.findall(r"line width=2\.4pt\] \((.*?),(.*?)\) -- \((.*?),", as_tikz(CROWDED))
    starts = [(float(x) + 0.07, float(end) - 0.07) for x, _, end in bars]
    scale = 9 / 4
    expected = [(0.4 * scale, 1.9 * scale), (1.9 * scale, 3.4 * scale), (3.4 * scale, 3.9 * scale)]
    assert starts == [pytest.approx(pair, abs=2e-3) for pair in expected]
    heights = [float(y) for _, y, _ in bars]
    assert heights[0] != heights[1] != heights[2], "bars that meet are on different heights"


@pytest.mark.parametrize("count", [2, 3, 10, 17])
def test_labels_stand_apart_and_lines_do_not_cross(count: int) -> None:
    ranks = tuple(1 + (count - 1) * (index / (count - 1)) ** 0.3 for index in range(count))
    found = drawn(Diagram(tuple(f"m{i}" for i in range(count)), ranks, 1.0))
    labels = [place for name, place in found.texts.items() if "m" in name]
    for side in ("mid east", "mid west"):
        heights = sorted(y for anchor, _, y in labels if anchor == side)
        assert all(b - a > 0.45 for a, b in zip(heights, heights[1:], strict=False))
    assert len(labels) == count
    paths = [line for line in found.lines if len(line) == 3]
    for one in paths:
        for other in paths:
            (_, _), (x, y), (edge, _) = one
            across, depth = other[1]
            inside = min(x, edge) + 1e-6 < across < max(x, edge) - 1e-6
            assert not (inside and depth < y - 1e-6), "a label's line crosses another one"


def test_pictures_are_written_and_not_empty(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        save_diagram(CROWDED, tmp_path / "new" / f"figure{suffix}")
    assert (tmp_path / "new/figure.pdf").read_bytes().startswith(b"%PDF")
    with Image.open(tmp_path / "new/figure.png") as image:
        grey = image.convert("L")
        assert grey.width > 900
        dark = grey.point(lambda value: 255 * (value < 128)).getbbox()
    assert dark is not None
    left, top, right, bottom = dark
    assert min(left, top) > 5, "nothing is cut off"
    assert right < grey.width - 5
    assert bottom < grey.height - 5


def test_the_same_diagram_gives_the_same_bytes(tmp_path: Path) -> None:
    for suffix in SUFFIXES:
        pair = [tmp_path / f"{name}{suffix}" for name in ("one", "two")]
        for path in pair:
            save_diagram(CROWDED, path)
        assert pair[0].read_bytes() == pair[1].read_bytes()


def test_the_tikz_document_compiles(tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None or shutil.which("kpsewhich") is None:
        pytest.skip("needs pdflatex")
    for needed in ("standalone.cls", "tikz.sty"):
        if subprocess.run(["kpsewhich", needed], capture_output=True).returncode:
            pytest.skip(f"needs {needed}: texlive-latex-extra and texlive-pictures of Debian")
    save_diagram(CROWDED, tmp_path / "figure.tex")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "figure.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "Overfull" not in done.stdout
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"to end in .pdf, .png, .tex, got figure.jpg"):
        save_diagram(CROWDED, "figure.jpg")
    with pytest.raises(UsageError, match="expected 2 or more methods to draw, got 1"):
        save_diagram(Diagram(("dra",), (1.0,), 1.0), tmp_path / "figure.png")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match=r"cannot write .*: name another file"):
        save_diagram(CROWDED, tmp_path / "file" / "figure.tex")
