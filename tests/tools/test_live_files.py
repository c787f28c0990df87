"""Reading logs while they are written."""

from pathlib import Path

from lab.live_files import logged, whole_lines, whole_records


def test_a_half_written_line_is_not_read(tmp_path: Path) -> None:
    """A line counts once its end is there, wherever the write was cut, in mid-character too."""
    path, line = tmp_path / "log", '{"listen":"127.0.0.1:4711","agent":"é"}\n'.encode()
    for cut in range(len(line)):
        path.write_bytes(line + line[:cut])

        assert whole_lines(path) == [line.decode().rstrip("\n")]
        assert whole_records(path) == [{"listen": "127.0.0.1:4711", "agent": "é"}]
        assert logged(path, "listen") == ["127.0.0.1:4711"]

    path.write_bytes(line[:-1])
    assert (whole_lines(path), logged(path, "listen")) == ([], [])
