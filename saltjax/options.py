"""The modes of the command line and the flags of each: definition, refusal and --help."""

import dataclasses
import textwrap
from collections.abc import Callable
from typing import Any

from absl import flags

from saltjax.runs import settings
from saltjax.system.errors import InputError

WIDTH = 80  # columns of --help
INDENT = 24  # columns before what --help says of a flag
NETWORK = (
    "the run directory, a network file *.safetensors, or the name of a packaged network"
)
THRESHOLD = "the probability from which a pixel is salt; by default the run's"
MIN_AREA = (
    "minimum pixels of a connected component of salt: smaller ones are removed from the mask; by "
    "default the run's"
)
TTA = (
    "average the probabilities of a tile and its mirror image, or do not; by default as in the run's "
    "config"
)
ENGINE = "what computes the network: jax, the default, or openvino, faster on some CPUs"
PRECISION = (
    "of products and activations: float32 or bfloat16; by default that of training"
)


@dataclasses.dataclass(frozen=True)
class Mode:
    """A value of --mode: what it does, and the flags of a command as an example."""

    does: str
    example: str


@dataclasses.dataclass(frozen=True)
class Flag:
    """A flag.

    Attributes:
      define: the function of absl that defines it; None if `commandline.parse` does.
      default: its value where it is not given.
      value: what stands for its value in --help; "" for one that has none.
      help: what it means, by the modes that take it.
      choices: its values, where it has only these.
    """

    define: Callable[..., Any] | None
    default: Any
    value: str
    help: dict[str, str]
    choices: tuple[str, ...] = ()


MODES = {
    "train": Mode(
        "Trains a network and tests it; resumes a run that was interrupted. The default.",
        "--config=unet_strided --config.data.dir=/data/tgs/train",
    ),
    "check": Mode(
        "Reads and describes the data of a config, and lists all bad files.",
        "--mode=check --config=unet_strided --config.data.dir=/data/tgs/train",
    ),
    "evaluate": Mode(
        "Scores a finished run on its own test tiles, or on other tiles with masks.",
        "--mode=evaluate --workdir=runs/final --input=/data/tiles",
    ),
    "predict": Mode(
        "Segments images, sections and volumes.",
        "--mode=predict --workdir=runs/final --input=cube.sgy --output=salt",
    ),
    "compare": Mode(
        "Tables and a figure of all runs in a directory, with paired differences.",
        "--mode=compare --workdir=runs --reference=unet",
    ),
    "report": Mode(
        "Writes report.html, a page to look at a run with, or at all runs in a directory.",
        "--mode=report --workdir=runs/final",
    ),
    "export": Mode(
        "Writes a network as one file.",
        "--mode=export --workdir=runs/final --output=final.safetensors",
    ),
}
TABLE = {
    "config": Flag(
        None,
        None,
        "FILE",
        dict.fromkeys(
            ("train", "check"), "a config file, or the name of a packaged one"
        ),
    ),
    # Stands for all of its settings.
    "config.KEY": Flag(
        None,
        None,
        "VALUE",
        dict.fromkeys(
            ("train", "check"),
            "another value of a setting: --config.data.dir=DIR of tiles, --config.data.volume=FILE and "
            "--config.data.labels=FILE of a volume, or such as --config.train.epochs=20",
        ),
    ),
    "workdir": Flag(
        flags.DEFINE_string,
        "",
        "DIR",
        {
            "train": "the run directory; by default runs/<config>-<overrides>",
            "check": "the run directory; figures go into its directory check",
            "evaluate": f"{NETWORK}; several, as a,b,c, are averaged",
            "predict": f"{NETWORK}; several, as a,b,c, are averaged",
            "compare": "the directory that holds the runs; by default runs",
            "report": "the run directory, or one that holds runs",
            "export": NETWORK,
        },
    ),
    "overwrite": Flag(
        flags.DEFINE_boolean,
        False,
        "",
        {"train": "start again, deleting the run in the directory"},
    ),
    "distributed": Flag(
        flags.DEFINE_string,
        "",
        "ADDRESS",
        {
            "train": "train with processes on several hosts, each started by this command: auto, as SLURM, "
            "Open MPI, Kubernetes or Cloud TPU say, or HOST:PORT,COUNT,INDEX: address of process 0, "
            "number of processes, number of this one from 0"
        },
    ),
    "input": Flag(
        flags.DEFINE_string,
        "",
        "PATH",
        {
            "evaluate": "a directory with images/ and masks/; by default the run's own test tiles",
            "predict": "an image (.png, .jpg, .tif), a .npy, .sgy, .segy, .zgy, .zarr or .mdio; several, "
            "as a,b,c; a directory of them; or a pattern in quotes, as '*.sgy'",
        },
    ),
    "output": Flag(
        flags.DEFINE_string,
        "",
        "DIR",
        {
            "evaluate": "the directory to write to; by default that of the run",
            "predict": "the directory to write to",
            "compare": "the directory to write to; by default that of the runs",
            "export": "a file *.safetensors, *.onnx or *.jaxexport, or a directory for model.jaxexport",
        },
    ),
    "reference": Flag(
        flags.DEFINE_string,
        "",
        "RUN",
        dict.fromkeys(
            ("compare", "report"),
            "the run that the others are compared with, by default the one with the best validation "
            "score on the same test tiles; previous: each with the one before it by name",
        ),
    ),
    "threshold": Flag(
        flags.DEFINE_float,
        None,
        "NUMBER",
        dict.fromkeys(("evaluate", "predict"), THRESHOLD),
    ),
    "min_area": Flag(
        flags.DEFINE_integer,
        None,
        "PIXELS",
        dict.fromkeys(("evaluate", "predict"), MIN_AREA),
    ),
    "unlabelled": Flag(
        flags.DEFINE_integer,
        None,
        "VALUE",
        {
            "evaluate": "the value of pixels without a label in the masks of --input, which count in no "
            "score; by default the run's data.unlabelled"
        },
    ),
    "report": Flag(
        flags.DEFINE_boolean,
        False,
        "",
        {
            "predict": "also write NAME_report.html into --output: a page to look at sections and "
            "volumes with, and to choose the threshold on"
        },
    ),
    "bodies": Flag(
        flags.DEFINE_boolean,
        False,
        "",
        {
            "predict": "also write the salt bodies of a section or volume: NAME_bodies.csv, their "
            "number per sample, and top and base of salt as horizon points"
        },
    ),
    "min_body": Flag(
        flags.DEFINE_integer,
        None,
        "SAMPLES",
        {"predict": "minimum samples of a salt body; by default 0, for any size"},
    ),
    "header_bytes": Flag(
        flags.DEFINE_list,
        None,
        "BYTES",
        {
            "predict": "first bytes of inline and crossline numbers in the trace headers of SEG-Y, "
            "as 9,21; by default the run's"
        },
    ),
    "lines": Flag(
        flags.DEFINE_string,
        None,
        "RANGE",
        {
            "predict": "segment only these lines of volumes, START:STOP:STEP, both ends inclusive, as "
            "100:200:10: a first look"
        },
    ),
    "scale": Flag(
        flags.DEFINE_string,
        None,
        "FACTORS",
        {
            "predict": "by how much the network sees samples and traces stretched, as 2,1 for twice the "
            "samples: for data of another scale than its training data"
        },
    ),
    "scheduler": Flag(
        flags.DEFINE_string,
        None,
        "ADDRESS",
        {
            "predict": "of a Dask scheduler, whose workers segment a volume together, or its scheduler file "
            "*.json; or local:N, for N processes on this machine"
        },
    ),
    "direction": Flag(
        flags.DEFINE_enum,
        None,
        "DIRECTION",
        {
            "predict": "of the sections that a volume is segmented along: inline, crossline or both, their "
            "mean; by default the run's"
        },
        settings.CHOICES["predict.direction"],
    ),
    "normalize": Flag(
        flags.DEFINE_enum,
        None,
        "METHOD",
        {
            "predict": "how amplitudes are scaled to [0, 1]: clip, minmax, or none if they lie there; by "
            "default the run's"
        },
        settings.CHOICES["predict.normalize"],
    ),
    "tta": Flag(
        flags.DEFINE_boolean, None, "", dict.fromkeys(("evaluate", "predict"), TTA)
    ),
    "dialect": Flag(
        flags.DEFINE_enum,
        None,
        "PROGRAM",
        {
            "export": "opendtect: a file *.onnx of amplitudes for its machine-learning plug-in, and the "
            "*.h5 beside it that the plug-in opens"
        },
        ("opendtect",),
    ),
    "tile": Flag(
        flags.DEFINE_list,
        None,
        "TRACES,SAMPLES",
        {
            "export": "the size of the sections that a model for --dialect takes, as 256,512; by "
            "default that of the training tiles"
        },
    ),
    "engine": Flag(
        flags.DEFINE_enum,
        "jax",
        "ENGINE",
        dict.fromkeys(("evaluate", "predict"), ENGINE),
        settings.ENGINES,
    ),
    "precision": Flag(
        flags.DEFINE_enum,
        None,
        "TYPE",
        dict.fromkeys(("evaluate", "predict"), PRECISION),
        settings.CHOICES["train.dtype"],
    ),
}


def define() -> None:
    """Defines the flags besides --config."""
    flags.DEFINE_enum("mode", "train", list(MODES), "What to do.")
    flags.DEFINE_enum("completion", None, ["bash"], "See help_text.")
    for name, flag in TABLE.items():
        if flag.define is not None:
            choices = [list(flag.choices)] if flag.choices else []
            flag.define(name, flag.default, *choices, "See help_text.")


def can_be_denied(flag: Flag) -> bool:
    """Returns whether --noNAME means something other than that the flag is not given."""
    return flag.define is flags.DEFINE_boolean and flag.default is None


def takes(mode: str, flag: str) -> bool:
    """Returns whether a mode takes a flag."""
    return mode in TABLE[flag].help


def check(mode: str) -> None:
    """Raises InputError if a flag was given that the mode does not take."""
    for name in TABLE.keys() & set(flags.FLAGS):
        if flags.FLAGS[name].present and not takes(mode, name):
            reason = ": the settings are those of the run" if name == "config" else ""
            raise InputError(f"--mode={mode} takes no --{name}{reason}")


def help_text(program: str, modes: list[str]) -> str:
    """Returns the output of --help for these modes; `program` is what a command begins with."""
    parts = [_mode_help(mode, program) for mode in modes]
    last = (
        f"{settings.default_path()} has all settings; beside it are the packaged configs. "
        f"{program} --mode=MODE --help shows one mode. --flagfile=FILE reads flags from a file, one a "
        "line. A leading ~ is expanded in every flag and setting. --completion=bash prints a script with "
        "which bash completes the flags of the command saltjax."
    )
    lines = textwrap.wrap(last, WIDTH, break_long_words=False, break_on_hyphens=False)
    return "\n".join([*parts, *lines])


def _mode_help(mode: str, program: str) -> str:
    lines = [
        f"--mode={mode}",
        *textwrap.wrap(
            MODES[mode].does, WIDTH, initial_indent="  ", subsequent_indent="  "
        ),
        "",
        # A long example is broken as a shell allows.
        *_wrapped_command(f"{program} {MODES[mode].example}"),
        "",
    ]
    for name, flag in TABLE.items():
        if takes(mode, name):
            lines += _flag_help(name, flag, flag.help[mode])
    return "\n".join(lines) + "\n"


def _wrapped_command(command: str) -> list[str]:
    """Returns the lines of a command, none wider than --help, in the way of a shell."""
    lines = textwrap.wrap(
        command,
        WIDTH - 2,
        initial_indent="    ",
        subsequent_indent="        ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]


def _flag_help(name: str, flag: Flag, text: str) -> list[str]:
    """Returns the lines about a flag: its form in the first column, its meaning in the second."""
    form = f"--{name}={flag.value}" if flag.value else f"--{name}"
    if can_be_denied(flag):
        form = f"--[no]{name}"
    indent = " " * INDENT
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent=f"  {form:<{INDENT - 2}}",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )
