"""Laws of the file and terminal sinks beyond the contract of every sink."""

import io
import json

import pytest

from detector.errors import EdgeError
from detector.local.file_sink import FileSink, StdoutSink

ALERT = {"alert_id": "a-1", "rule_id": "bulk", "severity": "high", "state": "opened", "group": {"session": "s"}}


def test_half_a_line_of_a_crash_does_not_swallow_the_next_alert(tmp_path):
    """After a torn write the next alert stands on a line of its own."""
    path = tmp_path / "alerts.jsonl"
    path.write_bytes(b'{"alert_id": "a-0", "ru')
    FileSink(path).send(ALERT)
    assert json.loads(path.read_bytes().splitlines()[1]) == ALERT


def test_a_rotated_file_is_begun_anew(tmp_path):
    """When logrotate moves the file, the next alert goes to the name, not to the moved file."""
    path = tmp_path / "alerts.jsonl"
    sink = FileSink(path)
    sink.send(ALERT)
    path.rename(tmp_path / "alerts.1")
    sink.send(ALERT)
    assert len(path.read_text().splitlines()) == len((tmp_path / "alerts.1").read_text().splitlines()) == 1


@pytest.mark.parametrize("as_json", [True, False])
def test_the_terminal_gets_one_printable_line_an_alert(as_json):
    """Whatever a session is called, one alert is one line, and no character of it acts on the terminal."""
    stream = io.StringIO()
    hostile = ALERT | {"group": {"session": "a\n\x1b[2J\u202e"}, "title": "t\r", "explanation": "e\x00"}
    StdoutSink(as_json=as_json, stream=stream).send(hostile)
    line, rest = stream.getvalue().split("\n", 1)
    assert line.isprintable()
    assert rest == ""
    assert not as_json or json.loads(line) == hostile


def test_standard_output_is_found_when_it_is_written(capsys):
    """Without a stream the alert goes to stdout as it is at that moment."""
    StdoutSink().send(ALERT)
    assert "[HIGH] opened: bulk - session s" in capsys.readouterr().out


def test_a_reader_that_has_gone_is_an_edge_error():
    """A closed pipe is told, not raised as itself."""

    class Closed(io.StringIO):
        def write(self, text):
            raise BrokenPipeError(32, "Broken pipe")

    with pytest.raises(EdgeError):
        StdoutSink(stream=Closed()).send(ALERT)
