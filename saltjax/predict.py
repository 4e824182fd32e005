"""--mode=predict: probabilities and masks for images, arrays and SEG-Y files without masks."""

import contextlib
import itertools
import pathlib
from collections.abc import Sequence

import numpy as np

from saltjax.data import folder, png, rle
from saltjax.inference import masks, volumes, windows
from saltjax.inference import predictor as predictors
from saltjax.inference.predictor import Predictor
from saltjax.inference.windows import SectionModel
from saltjax.runs import saved_config, settings
from saltjax.scoring.postprocess import (
    Postprocessing,
    from_sixteen_bits,
    salt_mask,
    to_sixteen_bits,
)
from saltjax.seismic import npy, segy
from saltjax.system import console, devices, files, outputs, signals
from saltjax.system.errors import InputError, writing

SEGY_SUFFIXES = (".sgy", ".segy")
ALL_ELSE_IS_COMPLETE = (
    "All other traces are complete in the files that were written, where the probability of these "
    "is 0; near them probabilities are those beside a dead trace"
)
EXPECTED = "expected a .png, a directory of them, a .npy, or a .sgy or .segy file"


def predict(
    workdirs: Sequence[pathlib.Path],
    source: str,
    output: str,
    threshold: float | None,
    tta: bool | None,
    header_bytes: Sequence[str] | None = None,
) -> None:
    """Writes the probabilities and masks of an input into a directory.

    Args:
      workdirs: directories of one or more runs, whose probabilities are averaged.
      source: a PNG, a directory of them, a .npy or a SEG-Y file.
      output: the directory to write to.
      threshold: at and above which a pixel is salt; None for the mean of the runs' thresholds.
      header_bytes: first bytes of inline and crossline numbers in SEG-Y trace headers, as text;
        None for the run's `data.header_bytes`.
      tta: average with the mirror image; None for each run's `eval.tta`.

    Raises:
      InputError: for a mistake in run, input or output.
    """
    if not source or not output:
        raise InputError(f"--mode=predict needs --input and --output; {EXPECTED}")
    path, target = pathlib.Path(source), pathlib.Path(output)
    if threshold is not None and not 0 <= threshold <= 1:
        raise InputError(f"--threshold={threshold}; expected a probability, 0 to 1")
    chosen_bytes = parse_header_bytes(header_bytes, path)
    if not path.exists():
        raise InputError(f"--input={path}: no such file or directory; {EXPECTED}")
    if not (path.is_dir() or path.is_file()):  # opening a pipe would block
        raise InputError(f"--input={path}: neither a file nor a directory; {EXPECTED}")
    suffix = "" if path.is_dir() else path.suffix.lower()
    if not (path.is_dir() or suffix in (".npy", ".png", *SEGY_SUFFIXES)):
        raise InputError(f"--input={path}: {EXPECTED}")
    configs = [saved_config.read(workdir) for workdir in workdirs]
    try:
        with signals.Pause(0), outputs.claim(target, "--output", path) as claimed:
            train = configs[0].train
            devices.configure(train.cpu_devices, train.batch_size, train.compile_cache)
            runs = [predictors.restore(*run) for run in zip(workdirs, configs)]
            predictors.announce_synthetic(runs)
            chosen = predictors.common_postprocessing(runs, threshold)
            models = [run.section_model(tta) for run in runs]
            if suffix == ".npy":
                predict_array(path, claimed, runs[0], models, chosen)
            elif suffix in SEGY_SUFFIXES:
                predict_segy(path, claimed, runs[0], models, chosen, chosen_bytes)
            else:
                predict_images(path, claimed, models, chosen)
    except signals.Stopped as stopped:
        stopped.advice = (
            f"no file in {target} is incomplete; the same command starts again"
        )
        raise


def parse_header_bytes(
    given: Sequence[str] | None, path: pathlib.Path
) -> tuple[int, ...] | None:
    """Returns --header_bytes as integers; None if they are not given.

    Raises:
      InputError: if they are no header bytes, or `path` is no SEG-Y file.
    """
    if given is None:
        return None
    found = tuple(
        int(b) if b.isascii() and b.isdecimal() and len(b) < 4 else 0 for b in given
    )
    flag = f"--header_bytes={','.join(given)}"
    if not settings.are_header_bytes(found):
        raise InputError(f"{flag}; {settings.HEADER_BYTES}")
    if path.suffix.lower() not in SEGY_SUFFIXES:
        raise InputError(f"{flag} is of SEG-Y files; --input={path} is none")
    return found


def predict_array(
    path: pathlib.Path,
    claimed: outputs.Outputs,
    first: Predictor,
    models: Sequence[SectionModel],
    chosen: Postprocessing,
) -> None:
    """Writes <name>_prob.npy, float32, and <name>_mask.npy, uint8, of the input's shape.

    Those of a colour image have its height and width.
    """
    source = npy.read(path)
    image, damaged = source.image(), {}
    shape = source.shape if image is None else image.shape[:2]
    prob_path, mask_path = (
        claimed.folder / f"{path.stem}_{name}.npy" for name in ("prob", "mask")
    )
    claimed.check([prob_path, mask_path], inputs=[path])
    with (
        claimed.write(prob_path) as prob_part,
        claimed.write(mask_path) as mask_part,
    ):
        probs = npy.create(prob_part, shape, "float32")
        if image is None:
            damaged = volumes.segment(
                source, probs, models, first.normalize, first.direction
            )
        else:
            prob = windows.predict_image(image, models)
            probs.write(np.arange(probs.count), prob.T)
        sink = npy.create(mask_part, shape, "uint8")
        share = masks.write(probs, sink, first.direction, chosen)
    say_share(share, chosen)
    console.say(f"Written    {prob_path}, {mask_path.name}")
    volumes.refuse(damaged, ALL_ELSE_IS_COMPLETE)


def predict_segy(
    path: pathlib.Path,
    claimed: outputs.Outputs,
    first: Predictor,
    models: Sequence[SectionModel],
    chosen: Postprocessing,
    header_bytes: tuple[int, ...] | None,
) -> None:
    """Writes <name>_prob.sgy and <name>_mask.sgy, with every header and trace position of the input.

    The samples of the mask are 0 and 1, in the input's format.
    """
    source = segy.SegyTraces(path, header_bytes=header_bytes or first.header_bytes)
    prob_path, mask_path = (
        claimed.folder / f"{path.stem}_{n}{path.suffix}" for n in ("prob", "mask")
    )
    claimed.check([prob_path, mask_path], inputs=[path])
    code = source.layout.format
    prob_code = code if code in segy.FLOAT_FORMATS else segy.IEEE_FLOAT
    with contextlib.closing(source):
        say_lines(source, first.direction)
        with (
            claimed.write(prob_path) as prob_part,
            claimed.write(mask_path) as mask_part,
            contextlib.closing(segy.create(prob_part, source, prob_code)) as probs,
            contextlib.closing(segy.create(mask_part, source, code)) as sink,
        ):
            damaged = volumes.segment(
                source, probs, models, first.normalize, first.direction
            )
            share = masks.write(probs, sink, first.direction, chosen)
    say_share(share, chosen)
    console.say(f"Written    {prob_path}, {mask_path.name}")
    if prob_code != code:
        console.say(
            f"           Probabilities are IEEE floats (format {prob_code} in bytes 3225-3226); the "
            f"input's format {code} cannot hold them. All other headers are the input's."
        )
    volumes.refuse(damaged, ALL_ELSE_IS_COMPLETE)


def say_lines(source: segy.SegyTraces, direction: str) -> None:
    """Prints how many lines a SEG-Y file has, and if it is taken as 2-D lines."""
    lines = source.lines(volumes.passes(direction)[0])
    console.say(
        f"SEG-Y      {source.count} traces of {source.samples} samples in {len(lines)} line(s)"
    )
    if note := source.line_note():
        console.say(f"Warning    {note}")


def say_share(share: float, chosen: Postprocessing) -> None:
    """Prints the share of salt in the samples of live traces."""
    console.say(
        f"Salt       in {share:.1%} of the samples of live traces, at threshold "
        f"{chosen.threshold:.3f}"
    )


def predict_images(
    path: pathlib.Path,
    claimed: outputs.Outputs,
    models: Sequence[SectionModel],
    chosen: Postprocessing,
) -> None:
    """Writes probs/<id>.png, masks/<id>.png and, when all are done, submission.csv."""
    paths, target = find_images(path), claimed.folder
    submission = target / "submission.csv"
    places = [target / name for name in ("probs", "masks")]
    if (target / "images").exists():
        raise InputError(
            f"--output={target} holds images: with these masks it would look like a directory of "
            "tiles to train on; choose another"
        )
    new = [place / f"{image.stem}.png" for place in places for image in paths]
    claimed.check([*new, submission], folders=places, inputs=paths)
    largest, problems = folder.read_files(paths, _check_image, "Checking")
    if problems:
        raise folder.bad_files(problems, paths[0].parent)
    folder.check_range(largest, path)
    with writing(target):
        # Deleted first and written last: if it is there, the other files are complete.
        submission.unlink(missing_ok=True)
        for place in places:
            files.make_directory(place)
        files.sync(target)
    codes = write_images(paths, claimed, models, chosen)
    with writing(target):
        claimed.sync(places)
    rows = ({"id": name, "rle_mask": code} for name, code in codes.items())
    files.write_csv(submission, ("id", "rle_mask"), rows, claimed.write)
    salt = sum(code != "" for code in codes.values())
    console.say(
        f"Salt       in {salt} of {len(codes)} images, at threshold {chosen.threshold:.3f}"
    )
    console.say(f"Written    {target}: probs, masks, submission.csv")


def write_images(
    paths: Sequence[pathlib.Path],
    claimed: outputs.Outputs,
    models: Sequence[SectionModel],
    chosen: Postprocessing,
) -> dict[str, str]:
    """Writes probs/<id>.png and masks/<id>.png; returns the run-length code of each mask by id."""
    images = itertools.tee(volumes.read_ahead(_read_image, paths), len(models))
    streams = map(windows.predict_sections, images, models)
    codes = {}

    def write(image: pathlib.Path, probs: Sequence[np.ndarray]) -> None:
        sixteen = to_sixteen_bits(np.mean(probs, axis=0))
        # The mask is that of the probabilities as written, rounded to 16 bits.
        mask = salt_mask(from_sixteen_bits(sixteen)[None], chosen)[0]
        eight = mask.astype(np.uint8) * 255
        for kind, pixels in (("probs", sixteen), ("masks", eight)):
            path = claimed.folder / f"{kind}/{image.stem}.png"
            with claimed.write(path, sync_names=False) as part:
                png.write(part, pixels)
        codes[image.stem] = rle.encode(mask)

    with (
        console.Bar("Segmenting", len(paths), "images") as bar,
        writing(claimed.folder),
    ):
        # While the disk syncs files, the network computes the next ones.
        for _ in volumes.write_behind(write, zip(paths, zip(*streams))):
            bar.advance(1)
    return codes


def find_images(source: pathlib.Path) -> list[pathlib.Path]:
    """Returns the PNG, or the PNGs of a directory, sorted by id, or of its directory `images`."""
    if source.is_file():
        return [source]
    directory = source / "images" if (source / "images").is_dir() else source
    try:
        # Hidden files are the system's, not the user's.
        paths = [p for p in directory.iterdir() if not p.name.startswith(".")]
    except OSError as error:
        raise InputError(
            f"--input={source}: cannot list {directory} ({error.strerror})"
        ) from None
    # In the order of ids, as `evaluate` reads them: batches, and so the last bits, are the same.
    images = sorted(
        (p for p in paths if p.suffix.lower() == ".png"), key=lambda p: p.stem
    )
    if images and len(images) < len(paths):
        console.say(
            f"{len(paths) - len(images)} files in {directory} are not *.png: ignored"
        )
    ids = [p.stem for p in images]
    if len(set(ids)) < len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise InputError(
            f"--input={source}: {directory} holds two images with the id {twice}"
        )
    if not images:
        raise InputError(f"--input={source}: no *.png in {directory}; {EXPECTED}")
    return images


def _check_image(path: pathlib.Path) -> int:
    """Returns the largest 16-bit value, see `png.decode_image`."""
    if not folder.is_utf8(path.name):
        raise ValueError("the file name is not UTF-8")
    return png.decode_image(path)[1]


def _read_image(path: pathlib.Path) -> np.ndarray:
    """Returns float32[H, W, 1 or 3], see `windows.to_section`."""
    try:
        return windows.to_section(png.read_image(path))
    except ValueError as error:
        raise folder.bad_files([(path, str(error))], path.parent) from None
