"""Files of traces segmented: .npy, ZGY, SEG-Y and Zarr to files of probabilities and masks."""

import contextlib
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from saltjax.inference import (
    body_files,
    chosen_lines,
    masks,
    survey_files,
    survey_jobs,
    volumes,
    windows,
)
from saltjax.inference.chosen_lines import Lines
from saltjax.inference.request import Request, Scaling, scaling
from saltjax.inference.volumes import Traces
from saltjax.seismic import array_files, grid, npy, segy, segy_layout
from saltjax.system import console
from saltjax.system.errors import writing
from saltjax.system.output_directory import OutputDirectory

LIVE = "the samples of live traces"
# Types of probabilities, masks and bodies in files whose format does not prescribe them.
DTYPES = {"prob": "float32", "mask": "uint8", "bodies": "int32"}
ALL_ELSE_IS_COMPLETE = (
    "All other traces are complete in the files that were written, where the probability of these "
    "is 0; near them probabilities are those beside a dead trace"
)


def predict(
    path: pathlib.Path,
    claimed: OutputDirectory,
    wanted: Request,
    others: Sequence[pathlib.Path] = (),
) -> masks.Segmented:
    """Writes <name>_prob and <name>_mask, and salt bodies if they are wanted.

    They have the format and shape of the input: float32 and uint8; in SEG-Y every header and trace position
    of the input, and for the mask its sample format. Those of a colour image in .npy have its height and
    width. Those of Zarr are groups, see `survey_files`, and so are those of .npy if a cluster computes them.

    Args:
      path: the file.
      claimed: the directory of results.
      wanted: what is wanted.
      others: files that the caller will write too.

    Raises:
      InputError: if the input cannot be read or segmented, or results cannot be written or would replace an
        input, or a file that saltjax did not write.
    """
    direction, lines = wanted.first.direction, wanted.lines
    whole = volumes.open_traces(path, wanted.header_bytes_of_segy())
    source = chosen_lines.select(whole, direction, lines) if lines else whole
    image = whole.image() if isinstance(whole, npy.ArrayTraces) else None
    zarr = grid.is_zarr(path)
    zarr |= wanted.cluster is not None and path.suffix.lower() == ".npy"
    suffix = survey_files.SUFFIX if zarr else path.suffix
    written = [claimed.folder / f"{path.stem}_{n}{suffix}" for n in ("prob", "mask")]
    prob_path, mask_path = written
    plan = None
    if wanted.min_body is not None:
        survey = body_files.survey_of(path.name, source, whole)
        least = wanted.min_body
        plan = body_files.plan(claimed.folder, path.stem, suffix, survey, least)
        written += plan.paths
    claimed.check([*written, *others], inputs=wanted.inputs)
    if isinstance(source, segy.SegyTraces):
        say_lines(source, direction, lines)
    scaled = None
    if image is None:
        scaled = scaling(volumes.sample_of(whole), wanted)
    earlier = body_files.possible_paths(claimed.folder, path.stem, suffix)
    if zarr:
        places = survey_files.places(claimed.folder, path.stem)
        damaged, share = survey_jobs.segment(
            path, source, scaled, claimed, wanted, places
        )
        claimed.discard(earlier)
    else:
        damaged, share = _write(path, source, image, scaled, claimed, wanted, earlier)
    masks.say_share(share, LIVE, wanted.chosen)
    bodies = None
    if plan:
        bodies = body_files.write(
            plan,
            claimed,
            _reopen(mask_path, source),
            _reopen(prob_path, source),
            lambda part: (survey_files.create_bodies if zarr else _create)(
                part, source, "bodies"
            ),
        )
    say_written(written)
    if isinstance(source, segy.SegyTraces):
        _say_format(source.layout.format)
    limits = None if scaled is None else (scaled.normalize, scaled.limits)
    return masks.Segmented(prob_path, share, source, limits, damaged, bodies)


def _write(
    path: pathlib.Path,
    source: Traces,
    image: np.ndarray | None,
    scaled: Scaling | None,
    claimed: OutputDirectory,
    wanted: Request,
    earlier: Sequence[pathlib.Path],
) -> tuple[dict[int, str], float]:
    """Writes probabilities and mask in the input's format; deletes the bodies of an `earlier` mask.

    Returns:
      The messages on damaged traces, see `volumes.segment`, and the share of salt.
    """
    prob_path, mask_path = (
        claimed.folder / f"{path.stem}_{n}{path.suffix}" for n in ("prob", "mask")
    )
    first, shape = wanted.first, None if image is None else image.shape[:2]
    damaged: dict[int, str] = {}
    places = survey_files.places(claimed.folder, path.stem, hidden=True)
    with (
        claimed.write(prob_path) as prob_part,
        claimed.write(mask_path) as mask_part,
    ):
        with (
            # Both take their room on the disk before anything is computed.
            _create(mask_part, source, "mask", shape) as sink,
            writing(prob_path),
            _create(prob_part, source, "prob", shape) as probs,
        ):
            if wanted.cluster:
                damaged, share = survey_jobs.segment(
                    path, source, scaled, claimed, wanted, places
                )
                along = survey_files.directions(source, first.direction)[0]
                survey_files.convert(source, along, places, probs, sink)
            else:
                if scaled:
                    damaged = volumes.segment(
                        source,
                        probs,
                        wanted.models,
                        scaled.normalize,
                        first.direction,
                        limits=scaled.limits,
                    )
                else:
                    assert image is not None
                    prob = windows.predict_image(image, wanted.models)
                    probs.write(np.arange(probs.count), prob.T)
                with writing(mask_path):
                    share = masks.write(probs, sink, first.direction, wanted.chosen)
        claimed.discard(earlier)
    claimed.discard(places.paths)
    return damaged, share


@contextlib.contextmanager
def _create(
    path: pathlib.Path,
    like: Traces,
    kind: str,
    shape: tuple[int, ...] | None = None,
) -> Iterator[Traces]:
    """Yields the traces of a new file of "prob", "mask" or "bodies", which is complete at the end.

    Args:
      path: the file.
      like: the traces of the input, which it resembles.
      kind: of the samples.
      shape: that of an array in .npy; None for that of the input.

    Raises:
      OSError: if it cannot be written, such as for want of room.
    """
    if isinstance(like, segy.SegyTraces):
        code = like.layout.format
        yield segy.create(path, like, code if kind == "mask" else _float_format(code))
    else:
        size = like.shape if shape is None else shape
        with array_files.create(path, like, size, DTYPES[kind]) as traces:
            yield traces


def _reopen(path: pathlib.Path, source: Traces) -> Traces:
    """Returns the traces of a file of results of an input."""
    if isinstance(source, segy.SegyTraces):
        return segy.reopen(path, source)
    return array_files.reopen(path, source)


def _float_format(code: int) -> int:
    """Returns the sample format of probabilities for a SEG-Y file of another: that one, if it is floats."""
    return code if code in segy_layout.FLOAT_FORMATS else segy_layout.IEEE_FLOAT


def _say_format(code: int) -> None:
    """Prints that the probabilities of a SEG-Y file have another sample format, if so."""
    if _float_format(code) != code:
        console.say(
            f"           Probabilities are IEEE floats (format {_float_format(code)} in bytes 3225-3226); "
            f"the input's format {code} cannot hold them. All other headers are the input's."
        )


def say_written(paths: Sequence[pathlib.Path]) -> None:
    """Prints the files that have been written, the first with its directory."""
    names = [str(paths[0]), *(path.name for path in paths[1:])]
    console.say(f"Written    {', '.join(names)}")


def refuse_damaged(found: masks.Segmented) -> None:
    """Raises InputError if some traces had samples that were not finite; all others are complete."""
    volumes.refuse(found.damaged, ALL_ELSE_IS_COMPLETE)


def say_lines(
    source: segy.SegyTraces, direction: str, chosen: Lines | None = None
) -> None:
    """Prints how many lines and gaps a SEG-Y file has, and if it is taken as 2-D lines."""
    lines = source.lines(volumes.passes(direction)[0])
    positions = sum(map(len, lines))
    console.say(
        f"SEG-Y      {source.count} traces of {source.samples} samples in {len(lines)} line(s)"
    )
    if missing := positions - source.count:
        console.say(
            f"           Positions without a trace: {missing} of {positions}; they count as dead, and "
            "change the probabilities of traces beside them"
        )
    if chosen is None and (note := source.line_note()):
        console.say(f"Warning    {note}")
