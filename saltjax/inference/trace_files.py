"""Sections and volumes segmented: .npy, ZGY and SEG-Y to files of probabilities and masks."""

import contextlib
import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from saltjax.inference import body_files, chosen_lines, masks, volumes, windows
from saltjax.inference.chosen_lines import Lines
from saltjax.inference.predictor import Predictor
from saltjax.inference.scaling import LEAST, MOST
from saltjax.inference.windows import SectionModel
from saltjax.scoring.postprocess import Postprocessing
from saltjax.seismic import amplitudes, array_files, period, segy, segy_layout
from saltjax.system import console, output_directory
from saltjax.system.errors import writing

LIVE = "the samples of live traces"
# The factor between dominant periods beyond which a warning is given.
MOST_STRETCHED = 2
ALL_ELSE_IS_COMPLETE = (
    "All other traces are complete in the files that were written, where the probability of these "
    "is 0; near them probabilities are those beside a dead trace"
)


@dataclasses.dataclass(frozen=True)
class Request:
    """What is wanted of files of traces.

    Attributes:
      first: the first network, whose settings hold.
      models: all networks, whose probabilities are averaged.
      periods: the dominant period in the training data of each, in pixels, by its name; None if it is not
        known. See `period.dominant`.
      chosen: threshold and minimum component size.
      inputs: all inputs of the command, which must not be replaced.
      header_bytes: first bytes of inline and crossline numbers in SEG-Y trace headers; None for those
        of the first network's run.
      min_body: samples, the minimum size of salt bodies; None for no bodies.
      lines: of volumes, the only ones that are segmented, and that the files hold; None for all.
    """

    first: Predictor
    models: Sequence[SectionModel]
    periods: Mapping[str, float | None]
    chosen: Postprocessing
    inputs: Sequence[pathlib.Path]
    header_bytes: tuple[int, ...] | None
    min_body: int | None
    lines: Lines | None


def predict_array(
    path: pathlib.Path,
    claimed: output_directory.OutputDirectory,
    wanted: Request,
    others: Sequence[pathlib.Path] = (),
) -> masks.Segmented:
    """Writes <name>_prob, float32, and <name>_mask, uint8, in the input's format and shape.

    The format is .npy or ZGY. Those of a colour image have its height and width. `others` are files
    that the caller will write too.
    """
    first, lines = wanted.first, wanted.lines
    whole = array_files.read(path)
    image, damaged = whole.image(), {}
    source = chosen_lines.select(whole, first.direction, lines) if lines else whole
    shape = source.shape if image is None else image.shape[:2]
    written, plan = _plan(path, claimed, wanted, others, source, whole)
    prob_path, mask_path = written[:2]
    normalize, limits = scaling(whole, wanted) if image is None else ("none", None)
    with (
        claimed.write(prob_path) as prob_part,
        claimed.write(mask_path) as mask_part,
    ):
        with (
            # Both take their room on the disk before anything is computed.
            array_files.create(mask_part, source, shape, "uint8") as sink,
            writing(prob_path),
            array_files.create(prob_part, source, shape, "float32") as probs,
        ):
            if image is None:
                damaged = volumes.segment(
                    source,
                    probs,
                    wanted.models,
                    normalize,
                    first.direction,
                    limits=limits,
                )
            else:
                prob = windows.predict_image(image, wanted.models)
                probs.write(np.arange(probs.count), prob.T)
            with writing(mask_path):
                share = masks.write(probs, sink, first.direction, wanted.chosen)
        # Those of an earlier mask.
        claimed.discard(body_files.possible_paths(claimed.folder, path))
    masks.say_share(share, LIVE, wanted.chosen)
    bodies = None
    if plan:
        bodies = body_files.write(
            plan,
            claimed,
            array_files.reopen(mask_path, source),
            array_files.reopen(prob_path, source),
            lambda part: array_files.create(part, source, shape, "int32"),
        )
    say_written(written)
    scaled = None if limits is None else (normalize, limits)
    return masks.Segmented(prob_path, share, source, scaled, damaged, bodies)


def predict_segy(
    path: pathlib.Path,
    claimed: output_directory.OutputDirectory,
    wanted: Request,
    others: Sequence[pathlib.Path] = (),
) -> masks.Segmented:
    """Writes <name>_prob.sgy and <name>_mask.sgy, with every header and trace position of the input.

    The samples of the mask are 0 and 1, in the input's format. `others` are those of `predict_array`.
    """
    first, lines = wanted.first, wanted.lines
    header_bytes = wanted.header_bytes or first.header_bytes
    whole = segy.SegyTraces(path, header_bytes=header_bytes)
    source = chosen_lines.select(whole, first.direction, lines) if lines else whole
    written, plan = _plan(path, claimed, wanted, others, source, whole)
    prob_path, mask_path = written[:2]
    code = source.layout.format
    prob_code = code if code in segy_layout.FLOAT_FORMATS else segy_layout.IEEE_FLOAT
    say_lines(source, first.direction, lines)
    normalize, limits = scaling(whole, wanted)
    with (
        claimed.write(prob_path) as prob_part,
        claimed.write(mask_path) as mask_part,
    ):
        with writing(prob_path):
            probs = segy.create(prob_part, source, prob_code)
        sink = segy.create(mask_part, source, code)
        with writing(prob_path):
            damaged = volumes.segment(
                source,
                probs,
                wanted.models,
                normalize,
                first.direction,
                limits=limits,
            )
        share = masks.write(probs, sink, first.direction, wanted.chosen)
        claimed.discard(body_files.possible_paths(claimed.folder, path))
    masks.say_share(share, LIVE, wanted.chosen)
    bodies = None
    if plan:
        bodies = body_files.write(
            plan,
            claimed,
            segy.reopen(mask_path, source),
            segy.reopen(prob_path, source),
            lambda part: contextlib.nullcontext(segy.create(part, source, prob_code)),
        )
    say_written(written)
    if prob_code != code:
        console.say(
            f"           Probabilities are IEEE floats (format {prob_code} in bytes 3225-3226); the "
            f"input's format {code} cannot hold them. All other headers are the input's."
        )
    return masks.Segmented(
        prob_path, share, source, (normalize, limits), damaged, bodies
    )


def _plan(
    path: pathlib.Path,
    claimed: output_directory.OutputDirectory,
    wanted: Request,
    others: Sequence[pathlib.Path],
    source: volumes.Traces,
    whole: volumes.Traces,
) -> tuple[list[pathlib.Path], body_files.Plan | None]:
    """Returns the files to be written, probabilities and mask first, and what of them is of salt bodies.

    Raises:
      InputError: if one would replace a file that saltjax did not write, or an input.
    """
    written = [
        claimed.folder / f"{path.stem}_{n}{path.suffix}" for n in ("prob", "mask")
    ]
    plan = None
    if wanted.min_body is not None:
        survey = body_files.survey_of(path.name, source, whole)
        plan = body_files.plan(claimed.folder, path, survey, wanted.min_body)
        written += plan.paths
    claimed.check([*written, *others], inputs=wanted.inputs)
    return written, plan


def say_written(paths: Sequence[pathlib.Path]) -> None:
    """Prints the files that have been written, the first with its directory."""
    names = [str(paths[0]), *(path.name for path in paths[1:])]
    console.say(f"Written    {', '.join(names)}")


def refuse_damaged(found: masks.Segmented) -> None:
    """Raises InputError if some traces had samples that were not finite; all others are complete."""
    volumes.refuse(found.damaged, ALL_ELSE_IS_COMPLETE)


def scaling(whole: volumes.Traces, wanted: Request) -> tuple[str, amplitudes.Range]:
    """Returns how amplitudes are scaled, see `amplitudes.scaling`, by a sample of all traces of a file.

    Warns if features are larger or smaller than in training data by more than a factor of two.
    """
    sample = volumes.sample_of(whole)
    warn_of_scale(period.dominant(sample), wanted)
    return amplitudes.scaling(sample, wanted.first.normalize)


def warn_of_scale(found: float | None, wanted: Request) -> None:
    """Prints that the dominant period of amplitudes, in samples, is not that of training data, if so."""
    scale = wanted.models[0].scale
    for path, known in wanted.periods.items():
        if found is None or known is None:
            continue
        factor = known / found
        ratio = factor / float(scale.samples)
        if max(ratio, 1 / ratio) > MOST_STRETCHED:
            seen = (
                "" if scale.samples == 1 else f", stretched by {float(scale.samples):g}"
            )
            remedy = ""
            if LEAST <= factor <= MOST:
                remedy = (
                    f": for features of the same size give --scale={factor:.2g},TRACES "
                    "(docs/inference.md says how to choose it)"
                )
            console.say(
                f"Warning    the dominant period of the amplitudes is {found:.1f} samples{seen}, and that of "
                f"the training data of {path} {known:.1f}{remedy}"
            )
            return


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
