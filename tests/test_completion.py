"""Completion in bash, typed at a terminal."""

import os
import pathlib
import pty
import select
import shutil
import subprocess
import time

import forked
import pytest

from saltjax import completion

pytestmark = pytest.mark.skipif(not shutil.which("bash"), reason="without bash")


@pytest.fixture(scope="module")
def script(tmp_path_factory):
    """A directory with the script and some files."""
    folder = tmp_path_factory.mktemp("completion")
    (folder / "script").write_text(completion.bash())
    (folder / "runs/strided").mkdir(parents=True)
    (folder / "own.py").touch()
    for name in ("a cube.sgy", "wild*.sgy", "wild1.sgy", "q'\".sgy"):
        (folder / name).touch()
    (folder / "d$HOME$(touch x)").mkdir()
    return folder


class Terminal:
    """An interactive bash in the directory of the script, which it has read."""

    def __init__(self, folder: pathlib.Path):
        self.file, child = pty.openpty()
        command = ["bash", "--norc", "--noprofile", "-i"]
        env = os.environ | {"TERM": "dumb", "INPUTRC": "/dev/null", "PS1": "next> "}
        streams = dict.fromkeys(("stdin", "stdout", "stderr"), child)
        self.bash = subprocess.Popen(
            command, cwd=folder, env=env, start_new_session=True, **streams
        )
        os.close(child)
        self.line = folder / "line"
        # Ctrl-G writes the line as it is.
        write = 'printf %s "$READLINE_LINE" >part; mv part line'
        self.type(f". ./script; bind -x '\"\\C-g\": {write}'; echo do''ne\n")
        # Before its prompt bash does not read keys, and the terminal would.
        printed = ""
        while "next> " not in printed.partition("\ndone")[2]:
            assert select.select([self.file], [], [], 60)[0], printed
            printed += os.read(self.file, 65536).decode()

    def type(self, text: str) -> None:
        os.write(self.file, text.encode())

    def complete(self, line: str) -> str:
        """Returns the line after a press of the tab key; then deletes it."""
        self.type(f"{line}\t\x07\x15")
        for _ in range(1200):
            while select.select([self.file], [], [], 0)[0]:
                os.read(self.file, 65536)
            if self.line.exists():
                found = self.line.read_text()
                self.line.unlink()
                return found
            time.sleep(0.05)
        raise TimeoutError(line)

    def close(self) -> None:
        self.type("exit\n")
        self.bash.wait(60)
        os.close(self.file)


@pytest.fixture(scope="module")
def terminal(script):
    terminal = Terminal(script)
    yield terminal
    terminal.close()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("saltjax --mode=pre", "--mode=predict "),
        ("saltjax --wor", "--workdir="),
        ("saltjax --conf", "--config"),
        ("saltjax --config=uns", "--config=uns"),
        ("saltjax --config=qui", "--config=quickstart "),
        ("saltjax --config=ow", "--config=own.py "),
        ("saltjax --config=unet --config.train.ep", "--config.train.epochs="),
        ("saltjax --config.model.down", "--config.model.downsample="),
        ("saltjax --config.model.downsample=str", "--config.model.downsample=strided "),
        ("saltjax --config.model.skip=F", "--config.model.skip=False "),
        ("saltjax --mode=predict --inp", "--input="),
        ("saltjax --mode=predict --input=a", r"--input=a\ cube.sgy "),
        (r"saltjax --mode=predict --input=a\ c", r"--input=a\ cube.sgy "),
        ("saltjax --mode=predict --input='a c", "--input='a cube.sgy' "),
        ("saltjax --mode=predict --input=w", "--input=wild"),
        (r"saltjax --mode=predict --input=wild\*", r"--input=wild\*.sgy "),
        ("saltjax --mode=predict --input=d", r"--input=d\$HOME\$\(touch\ x\)/"),
        ("saltjax --mode=predict --input=q", r"--input=q\'\".sgy "),
        ("saltjax --config=unet --config.data.dir=ru", "--config.data.dir=runs/"),
        ("saltjax --mode=predict --not", "--notta "),
        ("saltjax --mode=predict --engine=op", "--engine=openvino "),
        ("saltjax --mode=report --inp", "--inp"),
        ("saltjax --mode=evaluate --workdir=ru", "--workdir=runs/"),
        ("saltjax --mode export --out", "--output="),
        ("saltjax --mode=export --workdir=runs/s", "--workdir=runs/strided/"),
    ],
)
def test_the_last_word_is_completed(terminal, line, expected):
    assert terminal.complete(line) == line.rpartition(" -")[0] + " " + expected


def test_the_script_has_no_error(script):
    done = subprocess.run(
        ["bash", "-euc", ". ./script; complete -p saltjax"],
        cwd=script,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (
        0,
        "complete -o default -F _saltjax saltjax\n",
    )


def test_the_command_prints_the_script():
    done = forked.launch("--completion=bash")
    assert (done.returncode, done.stdout, done.stderr) == (
        0,
        completion.bash() + "\n",
        "",
    )
