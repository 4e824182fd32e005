"""The output of --help, and the flags that each mode takes."""

import re
import shlex

import forked
import pytest
from program import assert_refused

RUN = {
    "workdir",
    "output",
    "input",
    "threshold",
    "min_area",
    "[no]tta",
    "engine",
    "precision",
}
TAKEN = {
    "train": {"config", "config.KEY", "workdir", "overwrite", "distributed"},
    "check": {"config", "config.KEY", "workdir"},
    "evaluate": RUN | {"unlabelled"},
    "predict": RUN
    | {
        "header_bytes",
        "report",
        "bodies",
        "min_body",
        "direction",
        "normalize",
        "lines",
        "scale",
        "scheduler",
    },
    "compare": {"workdir", "output", "reference"},
    "report": {"workdir", "reference"},
    "export": {"workdir", "output", "dialect", "tile"},
}
# A word for each flag that is not in --config, and would be accepted by a mode that takes it.
WORDS = {
    "config": "--config=quickstart",
    "overwrite": "--overwrite",
    "input": "--input=x",
    "output": "--output=x",
    "reference": "--reference=x",
    "threshold": "--threshold=0.5",
    "min_area": "--min_area=3",
    "header_bytes": "--header_bytes=9,21",
    "scheduler": "--scheduler=local:2",
    "[no]tta": "--tta",
    "report": "--report",
    "bodies": "--bodies",
    "lines": "--lines=1:9",
    "unlabelled": "--unlabelled=128",
    "min_body": "--min_body=3",
    "direction": "--direction=both",
    "normalize": "--normalize=minmax",
    "dialect": "--dialect=opendtect",
    "tile": "--tile=64,64",
    "distributed": "--distributed=auto",
    "engine": "--engine=openvino",
    "precision": "--precision=bfloat16",
}


@pytest.fixture(scope="module")
def sections():
    """The output of --help by modes."""
    done = forked.launch("--help")
    assert done.returncode == 0, done.stderr
    first, *parts = re.split(r"^--mode=(\w+)\n", done.stdout, flags=re.MULTILINE)
    assert "salt in seismic" in first
    return dict(zip(parts[::2], parts[1::2]))


def test_every_mode_has_its_flags(sections):
    found = {
        mode: set(re.findall(r"^  --([\w.\[\]]+)", text, flags=re.MULTILINE))
        for mode, text in sections.items()
    }
    assert found == TAKEN


@pytest.mark.parametrize("mode", TAKEN)
def test_flags_of_other_modes_are_refused(mode):
    others = [word for flag, word in WORDS.items() if flag not in TAKEN[mode]]
    for word in others:
        done = forked.launch(f"--mode={mode}", word)
        name = word.lstrip("-").partition("=")[0]
        assert_refused(done, f"--mode={mode} takes no --{name}")


def test_help_fits_into_80_columns(sections):
    widths = {len(line) for text in sections.values() for line in text.splitlines()}
    assert 70 < max(widths) <= 80


def test_every_example_is_a_command_of_its_mode(sections, tmp_path):
    for mode, text in sections.items():
        _, _, rest = text.replace("\\\n", "").partition("/launch.py ")
        words = shlex.split(rest.partition("\n")[0])
        assert (f"--mode={mode}" in words) == (mode != "train")
        # Every flag is accepted; then the directories do not exist.
        done = forked.launch(*words, cwd=tmp_path)
        assert done.returncode == 2
        assert "takes no" not in done.stderr
        assert "See --help" not in done.stderr
        assert re.search(r"runs|/data|cube.sgy", done.stderr), done.stderr


def test_the_help_of_one_mode_is_a_part_of_all(sections):
    done = forked.launch("--mode=export", "--help")
    assert done.returncode == 0
    text = done.stdout.removeprefix("--mode=export\n")
    assert text == sections["export"]
