import gc
import os
import signal
import subprocess
import sys
import threading
import time
import weakref

import pytest
from program import ROOT

from saltjax.system import signals
from saltjax.system.signals import Pause, Stopped

NAMES = ("SIGTERM", "SIGINT", "SIGHUP")


def wait(seconds=10.0):
    """Returns after that time, unless a signal raises Stopped."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(0.001)


# The first imports of the command line, its last ones, and the compiled libraries in between.
@pytest.mark.parametrize(
    "module", ["saltjax.__main__", "absl", "rich", "numpy", "jaxlib._jax", "optax"]
)
def test_ctrl_c_during_an_import_ends_the_program(module, tmp_path):
    code = f"""
import os, runpy, signal, sys

class Interrupt:
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt)
sys.argv = ["launch.py", "--config=quickstart", "--workdir={tmp_path}/run"]
runpy.run_path("launch.py", run_name="__main__")
"""
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "Stopped by SIGINT.\n"


@pytest.mark.parametrize("module", ["saltjax", "saltjax.benchmark"])
def test_ctrl_c_ends_a_module_from_its_first_import_on(module):
    code = (
        "import os, runpy, signal, sys\n"
        "class Interrupt:\n"
        "    def find_spec(name, path=None, target=None):\n"
        "        if name == 'absl': os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.meta_path.insert(0, Interrupt)\n"
        f"runpy.run_module({module!r}, run_name='__main__')"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (130, "Stopped by SIGINT.\n")


def run(work, every_minutes=0.0):
    with Pause(every_minutes) as pause:
        work(pause)


@pytest.mark.usefixtures("hangup")
@pytest.mark.parametrize("name", NAMES)
def test_a_signal_is_raised_at_once_or_after_a_save(name):
    signum = signal.Signals[name]
    handler = signal.getsignal(signum)
    reached = []

    def signal_at_once(pause):
        os.kill(os.getpid(), signum)
        wait()

    def signal_before_a_save(pause):
        with pause.deferred():
            assert not pause.due()
            pause.saved()
            os.kill(os.getpid(), signum)
            wait(0.05)
            assert pause.due()
            reached.append("save")
            pause.saved()
            reached.append("after the save")

    def signal_without_a_save(pause):
        with pause.deferred():
            os.kill(os.getpid(), signum)
            wait(0.05)
            reached.append("end")
        reached.append("after the end")

    for work in (signal_at_once, signal_before_a_save, signal_without_a_save):
        with pytest.raises(Stopped, match=f"^{name}$") as stopped:
            run(work, every_minutes=1e6)
        assert stopped.value.signum == signum
    assert reached == ["save", "end"]
    assert signal.getsignal(signum) is handler


def test_no_library_that_catches_exceptions_catches_a_stop():
    assert not issubclass(Stopped, Exception)
    # asyncio, below orbax, passes on only this one and SystemExit.
    assert issubclass(Stopped, KeyboardInterrupt)


def kill_self(*_):
    os.kill(os.getpid(), signal.SIGTERM)
    wait(0.05)


def collect_garbage():
    gc.callbacks.append(kill_self)
    try:
        gc.collect()
    finally:
        gc.callbacks.remove(kill_self)


def drop_a_weak_reference():
    target = {0}.__class__()
    reference = weakref.ref(target, kill_self)
    del target
    assert reference() is None


@pytest.mark.parametrize("callback", [collect_garbage, drop_a_weak_reference])
def test_a_signal_within_a_callback_stops_the_program_nevertheless(callback):
    hook = sys.unraisablehook

    def work(pause):
        callback()
        wait()

    with pytest.raises(Stopped, match="SIGTERM"):
        run(work)
    assert sys.unraisablehook is hook


def test_other_errors_in_callbacks_are_shown(monkeypatch):
    shown = []
    monkeypatch.setattr(sys, "unraisablehook", lambda u: shown.append(u.exc_value))
    error = ZeroDivisionError()

    def fail(_):
        raise error

    with Pause(0):
        target = set()
        reference = weakref.ref(target, fail)
        del target
        assert reference() is None
    assert shown == [error]


def test_a_stop_that_a_library_turns_into_another_error_is_a_stop():
    def work(pause):
        try:
            kill_self()
        except BaseException:
            raise ImportError("cannot initialize the extension") from None

    with pytest.raises(Stopped, match="SIGTERM"):
        run(work)


def test_errors_of_a_run_that_is_to_stop_are_reported():
    def work(pause):
        with pause.deferred():
            kill_self()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(work)


def test_a_second_signal_ends_the_program_at_once():
    code = (
        "import os, signal, sys\n"
        "from saltjax.system import signals\n"
        "signals.end_at_once()\n"
        "with signals.Pause(0) as pause, pause.deferred():\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    print('goes on', flush=True)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, check=False, cwd=ROOT, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "Stopped by SIGINT.\n"


def test_nohup_keeps_the_program_running_without_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        signals.end_at_once()
        with Pause(0) as pause:
            os.kill(os.getpid(), signal.SIGHUP)
            wait(0.05)
            pause.check()
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("requested_first", [True, False])
def test_a_signal_that_another_process_got_too_counts_once(requested_first):
    def stop(pause):
        with pause.deferred():
            if requested_first:
                pause.request(signal.SIGTERM)
            os.kill(os.getpid(), signal.SIGTERM)
            pause.request(signal.SIGTERM)
            assert pause.due()
            passed.append(True)

    passed = []
    with Pause(60.0) as pause:
        with pytest.raises(Stopped):
            stop(pause)
        with pytest.raises(Stopped):
            pause.saved()
    assert passed


def test_a_signal_that_another_process_got_is_raised_in_the_main_thread():
    with Pause(60.0) as pause:
        threading.Timer(0.1, pause.request, [signal.SIGTERM]).start()
        with pytest.raises(Stopped):
            wait()
