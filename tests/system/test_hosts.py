import contextlib
import os
import signal
import socket

import pytest

from saltjax.system import console, hosts, process_group, signals
from saltjax.system.errors import InputError

WRONG = """
node1
node1,2,0
node1:x,2,0
:4000,2,0
node1:4000,2,2
node1:0,2,0
node1:65536,2,0
node1:4000,2,-1
node1:4000,0,0
node1:4000,2
"""


@pytest.mark.parametrize("text", WRONG.split())
def test_other_values_are_refused(text):
    with pytest.raises(InputError, match=r"expected auto, or HOST:PORT,COUNT,INDEX"):
        hosts.connect(text)
    assert hosts.group is None


def test_a_port_that_is_taken_is_refused():
    with contextlib.closing(socket.create_server(("", 0))) as server:
        port = server.getsockname()[1]
        with pytest.raises(InputError, match=f"cannot listen on port {port} "):
            hosts.connect(f"localhost:{port},2,0")


def test_a_process_that_trains_alone_is_the_first_and_agrees_with_itself(capsys):
    assert hosts.is_first()
    assert hosts.from_first(lambda: {"a": (1, 2)}) == {"a": (1, 2)}
    assert hosts.exchange(3) == [3]
    hosts.check_same("settings", {"seed": 1})
    assert hosts.forward() is None
    assert hosts.end(2, "Error: wrong") == 2
    assert capsys.readouterr().err == "Error: wrong\n"


class Store:
    """The part of the client of JAX's coordination service that `Group` uses, in this process."""

    def __init__(self):
        self.values = {}

    def key_value_set(self, key, value):
        if key in self.values:
            raise RuntimeError(f"ALREADY_EXISTS: {key}")
        self.values[key] = value

    def key_value_dir_get(self, folder):
        return [(k, v) for k, v in self.values.items() if k.startswith(folder)]

    def blocking_key_value_get(self, key, milliseconds):
        if key not in self.values:
            raise RuntimeError("DEADLINE_EXCEEDED")
        return self.values[key]


@pytest.fixture
def pair(monkeypatch):
    """Two processes that train together, without the threads that watch for each other's end."""
    monkeypatch.setattr(process_group.threading.Thread, "start", lambda thread: None)
    monkeypatch.setattr(process_group, "LEAVE_SECONDS", 0.0)
    store = Store()
    return [process_group.Group(store, index, 2) for index in range(2)]


def test_all_get_what_process_0_computes(pair, monkeypatch):
    for turn in ("first", "second"):
        monkeypatch.setattr(hosts, "group", pair[0])
        assert hosts.from_first(lambda turn=turn: [turn]) == [turn]
        monkeypatch.setattr(hosts, "group", pair[1])
        assert hosts.from_first(lambda: pytest.fail("computed twice")) == [turn]
        assert not hosts.is_first()


def test_different_values_are_listed_by_process(pair, monkeypatch):
    pair[1].put("saltjax/v/1/1", {"seed": 7, "same": 1})
    monkeypatch.setattr(hosts, "group", pair[0])
    with pytest.raises(InputError) as caught:
        hosts.check_same("settings", {"seed": 0, "same": 1, "long": "x" * 100})
    lines = str(caught.value).splitlines()
    assert lines[0] == "the processes have different settings:"
    assert lines[1].startswith('  long: "xxx')
    assert lines[1].endswith("… in process 0, null in process 1")
    assert lines[2] == "  seed: 0 in process 0, 7 in process 1"
    assert len(lines) == 4


def test_the_first_end_counts_and_process_0_prints_it(pair, monkeypatch, capsys):
    monkeypatch.setattr(hosts, "group", pair[1])
    assert hosts.end(2, "Error: no such file") == 2
    assert capsys.readouterr().err == "process 1 of 2: Error: no such file\n"
    monkeypatch.setattr(hosts, "group", pair[0])
    assert hosts.end(1, "a lost connection") == 2
    assert capsys.readouterr().err == "process 1 of 2: Error: no such file\n"


def test_a_signal_is_handed_to_process_0(pair, monkeypatch):
    monkeypatch.setattr(hosts, "group", pair[1])
    with signals.Pause(0, hosts.forward()) as pause:
        os.kill(os.getpid(), signal.SIGTERM)
        assert pair[0].found(process_group.SIGNAL) == {str(int(signal.SIGTERM)): 1}
        assert not pause.due()
        pause.saved()
        with pause.deferred():
            pass


def test_a_muted_process_says_nothing(capsys, caplog, monkeypatch):
    monkeypatch.setattr(console, "shown", True)
    monkeypatch.setattr(console.logger, "disabled", False)
    console.mute()
    console.say("epoch 1")
    console.say("a warning", 30)
    assert capsys.readouterr() == ("", "")
    assert not caplog.records
    assert not console.shown
