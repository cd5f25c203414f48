from __future__ import annotations

import hashlib
import http.server
import io
import shutil
import socket
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli_tools import Cli, cli_fixture  # noqa: F401
from raw_tools import Strips, register, write_strips

from osadbench.datasets.brainmri import BrainMri
from osadbench.datasets.download import download
from osadbench.datasets.elpv import Elpv
from osadbench.datasets.fetch import fetch, how_to_get, terms
from osadbench.datasets.raw import Archive, RawDataset
from osadbench.errors import DataError


class Site(http.server.ThreadingHTTPServer):
    """Serves files by name. A file may break off after some bytes, once; ranges may be unknown."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.breaks: dict[str, int] = {}
        self.knows_ranges = True
        self.asked: list[tuple[str, str | None]] = []

    def url(self, name: str) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/files/{name}?raw=1"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: Site

    def do_GET(self) -> None:
        name = self.path.rpartition("/")[2].partition("?")[0]
        wanted = self.headers.get("Range")
        self.server.asked.append((name, wanted))
        if name not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[name]
        start = int(wanted[6:-1]) if wanted and self.server.knows_ranges else 0
        if start >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : self.server.breaks.pop(name, len(content))])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    with Site() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def strips(site: Site, tmp_path: Path) -> type[RawDataset]:
    """Return the class of a dataset that the site has in two archives."""
    whole = write_strips(tmp_path / "whole")
    archives = []
    for name, parts in {"clean.zip": ("clean",), "rest.zip": ("broken", "masks")}.items():
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            for path in sorted(p for part in parts for p in (whole / part).rglob("*.*")):
                archive.write(path, path.relative_to(whole))
        site.files[name] = (tmp_path / name).read_bytes()
        (tmp_path / name).unlink()
        archives.append(Archive(site.url(name), sha256(site.files[name])))
    shutil.rmtree(whole)
    return type("Fetchable", (Strips,), {"archives": tuple(archives), "__doc__": Strips.__doc__})


class Terminal(io.StringIO):
    """Somebody who types."""

    def isatty(self) -> bool:
        return True


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def below(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


# --- downloads ---


def test_a_download_tells_its_progress(site: Site, tmp_path: Path) -> None:
    site.files["a.bin"] = bytes(3 << 20)
    seen: list[tuple[int, int | None]] = []
    download(site.url("a.bin"), tmp_path / "a", lambda *values: seen.append(values))
    assert (tmp_path / "a").read_bytes() == site.files["a.bin"]
    assert seen[-1] == (3 << 20, 3 << 20) and seen == sorted(seen) and len(seen) >= 3


@pytest.mark.parametrize("knows_ranges", [True, False])
def test_a_download_goes_on(site: Site, tmp_path: Path, knows_ranges: bool) -> None:
    site.files["a.bin"], site.breaks["a.bin"] = bytes(range(256)) * 9, 1000
    site.knows_ranges = knows_ranges
    with pytest.raises(DataError, match="try again, which goes on where it stopped"):
        download(site.url("a.bin"), tmp_path / "a")
    assert (tmp_path / "a").stat().st_size == 1000
    download(site.url("a.bin"), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == site.files["a.bin"]
    assert site.asked == [("a.bin", None), ("a.bin", "bytes=1000-")]
    # And again, with all of it there.
    download(site.url("a.bin"), tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == site.files["a.bin"]


def test_addresses_that_answer_with_nothing(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot download .*gone\.zip\?raw=1 \(Not Found\)"):
        download(site.url("gone.zip"), tmp_path / "a")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(DataError, match="refused"):
            download(f"http://127.0.0.1:{closed.getsockname()[1]}/a", tmp_path / "a")
    with pytest.raises(DataError, match="expected an http or https address"):
        download("file:///etc/passwd", tmp_path / "a")
    assert below(tmp_path) == set()


# --- datasets ---


def test_a_dataset_is_downloaded_checked_and_unpacked(
    site: Site, strips: type[RawDataset], tmp_path: Path
) -> None:
    bars: list[str] = []

    def bar(name: str) -> Callable[[int, int | None], object]:
        return lambda done, total: bars.append(name)

    assert fetch(strips, tmp_path / "data" / "strips", bar) == tmp_path / "data" / "strips"
    assert bars == ["clean.zip", "rest.zip"]
    assert below(tmp_path / "data") == {"strips"}
    dataset = strips(tmp_path / "data" / "strips", strict_counts=True)
    assert len(dataset.manifest().records) == 13


def test_archives_may_have_a_folder_each(
    site: Site, strips: type[RawDataset], tmp_path: Path
) -> None:
    clean, rest = strips.archives
    strips.archives = (clean, rest._replace(folder="more/below"))
    fetch(strips, tmp_path / "strips")
    assert below(tmp_path / "strips" / "more" / "below") == {"broken", "masks"}


def test_what_has_come_is_not_asked_for_again(
    site: Site, strips: type[RawDataset], tmp_path: Path
) -> None:
    site.breaks["rest.zip"] = 500
    with pytest.raises(DataError, match="cannot download .*rest.zip"):
        fetch(strips, tmp_path / "strips")
    assert below(tmp_path) == {".strips.download"}
    fetch(strips, tmp_path / "strips")
    assert site.asked == [("clean.zip", None), ("rest.zip", None), ("rest.zip", "bytes=500-")]
    assert below(tmp_path) == {"strips"}


def test_another_file_than_the_one_known(
    site: Site, strips: type[RawDataset], tmp_path: Path
) -> None:
    good, site.files["rest.zip"] = site.files["rest.zip"], b"another"
    with pytest.raises(DataError, match="rest.zip.raw=1 is another file than this version knows"):
        fetch(strips, tmp_path / "strips")
    assert not (tmp_path / "strips").exists()
    site.files["rest.zip"] = good
    fetch(strips, tmp_path / "strips")


def test_a_part_that_was_damaged_on_the_way(
    site: Site, strips: type[RawDataset], tmp_path: Path
) -> None:
    part = tmp_path / ".strips.download" / "clean.zip.part"
    part.parent.mkdir()
    part.write_bytes(b"rubbish")
    with pytest.raises(DataError, match="is another file"):
        fetch(strips, tmp_path / "strips")
    fetch(strips, tmp_path / "strips")


@pytest.mark.parametrize(
    ("name", "text"),
    [("../evil.png", "leads out of the folder"), ("odd/a.png", "hold something else: no strips")],
)
def test_archives_of_something_else(
    site: Site, strips: type[RawDataset], tmp_path: Path, name: str, text: str
) -> None:
    with zipfile.ZipFile(tmp_path / "odd.zip", "w") as archive:
        archive.writestr(name, b"1")
    content = site.files["odd.zip"] = (tmp_path / "odd.zip").read_bytes()
    (tmp_path / "odd.zip").unlink()
    strips.archives = (Archive(site.url("odd.zip"), sha256(content)),)
    with pytest.raises(DataError, match=text):
        fetch(strips, tmp_path / "strips")
    assert below(tmp_path) == {".strips.download"}


def test_a_folder_that_is_taken(site: Site, strips: type[RawDataset], tmp_path: Path) -> None:
    (tmp_path / "strips").mkdir()
    (tmp_path / "strips" / "mine.txt").write_text("kept")
    with pytest.raises(DataError, match="is taken, and holds no strips: empty it"):
        fetch(strips, tmp_path / "strips")
    assert below(tmp_path) == {"strips"} and site.asked == []
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"cannot write .*\(Not a directory\)"):
        fetch(strips, tmp_path / "file" / "strips")


def test_what_a_user_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OSADBENCH_DATA_DIR", raising=False)
    assert terms(Strips).splitlines()[0] == "licence: made-up licence 1.0"
    assert how_to_get(Elpv).splitlines() == [
        f"layout: {Elpv.layout}",
        f"download: {Elpv.download}",
        "place: elpv below the folder OSADBENCH_DATA_DIR, or a folder given by --data-root",
    ]
    monkeypatch.setenv("OSADBENCH_DATA_DIR", "/x")
    told = how_to_get(BrainMri).splitlines()
    assert told[-1] == f"place: {Path('/x/brainmri')}, or a folder given by --data-root"
    kaggle = "https://www.kaggle.com/datasets/navoneel/brain-mri-images-for-brain-tumor-detection"
    assert told[1] == f"download: get {kaggle} and unpack it"
    assert how_to_get(BrainMri, Path("mine")).splitlines()[-1] == "place: mine"


# --- the command ---


def test_fetching_by_the_command(
    cli: Cli, strips: type[RawDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, strips)
    monkeypatch.setenv("OSADBENCH_DATA_DIR", "data")
    result = cli("data", "fetch", "strips", "--yes")
    assert result.code == 0, result.err
    assert "licence: made-up licence 1.0\n" in result.out
    assert result.out.endswith("strips is here: data/strips\n")
    again = cli("data", "fetch", "strips", "--offline")
    assert (again.code, again.out) == (0, "strips is here: data/strips\n")


def test_a_licence_that_nobody_has_accepted(
    cli: Cli, site: Site, strips: type[RawDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, strips)
    words = ["data", "fetch", "strips", "--data-root", "here"]
    monkeypatch.setattr("sys.stdin", io.StringIO())
    result = cli(*words)
    assert result.code == 3 and "licence: made-up" in result.out
    assert result.err == (
        "error: the licence of strips has not been accepted: read the terms above and add --yes\n"
    )
    monkeypatch.setattr("sys.stdin", Terminal("n\n"))
    result = cli(*words)
    assert (result.code, result.err) == (
        3,
        "error: the licence of strips was not accepted: nothing was downloaded\n",
    )
    assert "Do you accept the licence? [y/N]" in result.out
    assert site.asked == [] and not Path("here").exists()
    monkeypatch.setattr("sys.stdin", Terminal("y\n"))
    assert cli(*words).out.endswith("strips is here: here\n")


@pytest.mark.parametrize("how", ["option", "variable"])
def test_without_a_network(
    cli: Cli, site: Site, strips: type[RawDataset], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    register(monkeypatch, strips)
    if how == "variable":
        monkeypatch.setenv("OSADBENCH_OFFLINE", "1")
    result = cli(
        *["data", "fetch", "strips", "--yes", "--data-root", "here"],
        *(["--offline"] if how == "option" else []),
    )
    assert result.code == 3 and site.asked == []
    assert strips.archives[0].sha256 in result.out and "place: " in result.out
    assert result.err == (
        "error: strips is not here and the network is off: get it by hand, as told above\n"
    )


def test_what_may_not_be_downloaded(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    register(monkeypatch)
    result = cli("data", "fetch", "strips", "--yes")
    assert result.code == 3
    assert result.out.splitlines()[:2] == [
        "layout: clean/NAME.jpg and broken/CLASS/NAME",
        "download: ask for strips.zip at https://example.org/strips",
    ]
    assert result.err.endswith("it may not be downloaded for you: get it by hand, as told above\n")
    assert cli("data", "fetch", "synthetic").code == 0
    assert cli("data", "fetch", "strip").code == 2


def test_a_folder_of_something_else(
    cli: Cli, site: Site, strips: type[RawDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, strips)
    monkeypatch.setenv("OSADBENCH_DATA_DIR", "data")
    Path("data/strips/KolektorSDD2").mkdir(parents=True)
    for words in ([], ["--data-root", "data/strips"]):
        result = cli("data", "fetch", "strips", "--yes", *words)
        assert (result.code, result.out) == (3, "")
        assert "data/strips holds another release: get the first one" in result.err
    assert site.asked == []


def test_a_folder_has_to_be_named(
    cli: Cli, strips: type[RawDataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    register(monkeypatch, strips)
    result = cli("data", "fetch", "strips", "--yes")
    assert result.code == 2
    assert "give --data-root DIR, or set OSADBENCH_DATA_DIR" in result.err


def test_a_linked_folder_and_what_a_killed_download_has_left(
    strips: type[RawDataset], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "place").mkdir()
    try:
        (tmp_path / "link").symlink_to(tmp_path / "place", target_is_directory=True)
    except OSError:
        pytest.skip("links are not allowed here")
    left = tmp_path / f".place.{'0' * 32}.tmp"
    left.mkdir()
    assert fetch(strips, tmp_path / "link") == tmp_path / "link"
    assert (tmp_path / "link").is_symlink() and "clean" in below(tmp_path / "place")
    assert f"{left}: left by a command that was killed" in caplog.text
