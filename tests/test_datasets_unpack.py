from __future__ import annotations

import io
import shutil
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from osadbench.datasets.unpack import Limits, extract_into
from osadbench.errors import DataError

FILES = {"a/1.png": b"first", "a/b/2.png": b"second", "3.txt": b""}
#: Limits that small archives of one repeated byte keep.
WIDE = Limits(growth=10**6)


def write_zip(path: Path, files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def write_tar(path: Path, files: dict[str, bytes], mode: str = "w") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def write_special(path: Path, kind: bytes, target: str = "") -> Path:
    """Write a tar file with one member that is no file."""
    with tarfile.open(path, "w") as archive:
        info = tarfile.TarInfo("a/special")
        info.type, info.linkname = kind, target
        archive.addfile(info)
    return path


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def unpack(archive: Path, target: Path, limits: Limits | None = None) -> Path:
    extract_into(archive, target, limits)
    return target


def refusal(archive: Path, limits: Limits | None = WIDE) -> str:
    """Return why an archive is refused, after a look at what is left beside the folder: nothing."""
    before = contents(archive.parent)
    with pytest.raises(DataError) as caught:
        unpack(archive, archive.parent / "out", limits)
    shutil.rmtree(archive.parent / "out", ignore_errors=True)
    assert contents(archive.parent) == before
    assert [path.name for path in archive.parent.iterdir()] == [archive.name]
    text = str(caught.value)
    assert "\n" not in text and str(archive) in text
    return text


WRITERS: dict[str, Callable[[Path, dict[str, bytes]], Path]] = {
    "data.zip": write_zip,
    "data.tar": write_tar,
    "data.tar.gz": lambda path, files: write_tar(path, files, "w:gz"),
    "data.tar.xz": lambda path, files: write_tar(path, files, "w:xz"),
}


@pytest.mark.parametrize("name", WRITERS)
def test_files_come_out_as_they_went_in(tmp_path: Path, name: str) -> None:
    archive = WRITERS[name](tmp_path / name, FILES)
    assert contents(unpack(archive, tmp_path / "out")) == FILES
    assert {path.name for path in tmp_path.iterdir()} == {name, "out"}


def test_the_content_tells_the_form(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "data.zip", FILES)
    assert contents(unpack(archive, tmp_path / "out")) == FILES


def test_folders_alone_and_a_leading_dot(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        for name in (".", "./empty"):
            info = tarfile.TarInfo(name)
            info.type = tarfile.DIRTYPE
            archive.addfile(info)
    out = unpack(tmp_path / "data.tar", tmp_path / "out")
    assert (out / "empty").is_dir()


@pytest.mark.parametrize("name", ["../out.txt", "a/../../out.txt", "/etc/out.txt", "a/.."])
@pytest.mark.parametrize("form", ["data.zip", "data.tar"])
def test_paths_that_lead_out(tmp_path: Path, form: str, name: str) -> None:
    (tmp_path / "in").mkdir()
    archive = WRITERS[form](tmp_path / "in" / form, {"good.png": b"1", name: b"2"})
    assert f"holds {name!r}, which leads out of the folder: do not use it" in refusal(archive)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


@pytest.mark.parametrize("name", ["a\\..\\..\\out.txt", "C:out.txt", "a\nb"])
def test_names_that_other_systems_read_otherwise(tmp_path: Path, name: str) -> None:
    archive = write_tar(tmp_path / "data.tar", {name: b"1"})
    assert "has a character that no file name should have" in refusal(archive)


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "a/other"),
        (tarfile.CHRTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ],
)
def test_links_and_devices(tmp_path: Path, kind: bytes, target: str) -> None:
    archive = write_special(tmp_path / "data.tar", kind, target)
    assert "holds 'a/special', which is a link or a device" in refusal(archive)


def test_a_link_in_a_zip_file(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "data.zip", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert "holds 'link', which is no file" in refusal(tmp_path / "data.zip")


def test_a_file_through_a_folder_that_is_a_file(tmp_path: Path) -> None:
    archive = write_tar(tmp_path / "data.tar", {"a": b"1", "a/b": b"2"})
    assert "cannot unpack" in refusal(archive)


def test_a_bomb(tmp_path: Path) -> None:
    # A thousandfold growth within bounds of size and number.
    archive = write_zip(tmp_path / "data.zip", {"a.png": bytes(3 << 20)})
    grown = 200 * archive.stat().st_size
    assert f"grows beyond {grown} bytes" in refusal(archive, None)


@pytest.mark.parametrize("form", ["data.zip", "data.tar.gz"])
def test_limits_of_size_and_number(tmp_path: Path, form: str) -> None:
    archive = WRITERS[form](tmp_path / form, {f"{index}.png": b"12345" for index in range(4)})
    assert "grows beyond 19 bytes" in refusal(archive, Limits(size=19))
    assert "holds more than 3 files" in refusal(archive, Limits(files=3))
    unpack(archive, tmp_path / "out", Limits(files=4, size=20))


def test_a_size_that_is_stated_wrong(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "data.zip", {"a.png": bytes(5 << 20)})
    data = bytearray(archive.read_bytes())
    # The size before compression, in the header of the file and in the directory at the end.
    true, false = (5 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little")
    archive.write_bytes(bytes(data).replace(true, false))
    refusal(archive, Limits(size=100))


@pytest.mark.parametrize("form", WRITERS)
def test_truncated_archives(tmp_path: Path, form: str) -> None:
    files = {f"{index}.png": bytes(range(256)) * 40 for index in range(9)}
    archive = WRITERS[form](tmp_path / form, files)
    archive.write_bytes(archive.read_bytes()[: archive.stat().st_size // 2])
    refusal(archive)


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "data.7z").write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(90))
    assert "is neither a zip nor a tar file: unpack it by hand" in refusal(tmp_path / "data.7z")
    with pytest.raises(DataError, match="cannot unpack .*No such file"):
        unpack(tmp_path / "gone.zip", tmp_path / "out")


def test_a_path_that_is_there_twice(tmp_path: Path) -> None:
    with (
        pytest.warns(UserWarning, match="Duplicate name"),
        zipfile.ZipFile(tmp_path / "data.zip", "w") as archive,
    ):
        archive.writestr("a.png", b"1")
        archive.writestr("a.png", b"2")
    with pytest.raises(DataError, match="a.png is there twice"):
        unpack(tmp_path / "data.zip", tmp_path / "out")


def test_nothing_is_replaced(tmp_path: Path) -> None:
    archive = write_zip(tmp_path / "data.zip", FILES)
    target = tmp_path / "out"
    unpack(archive, target)
    with pytest.raises(DataError, match="1.png is there twice"):
        unpack(archive, target)
    assert contents(target) == FILES
    (tmp_path / "empty").mkdir()
    assert contents(unpack(archive, tmp_path / "empty")) == FILES


def test_permissions_are_not_taken_over(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "data.tar", "w") as archive:
        info = tarfile.TarInfo("a")
        info.mode = 0o6777
        archive.addfile(info, io.BytesIO())
    mode = (unpack(tmp_path / "data.tar", tmp_path / "out") / "a").stat().st_mode
    assert not mode & 0o6111
