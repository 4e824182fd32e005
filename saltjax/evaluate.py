"""--mode=evaluate: scores of a finished run on its own test tiles, or on other tiles with masks."""

import contextlib
import pathlib
from collections.abc import Sequence
from contextlib import AbstractContextManager

import numpy as np

from saltjax.data import folder, source
from saltjax.data.tiles import Tiles, scored_noun
from saltjax.inference import evaluation
from saltjax.inference import predictor as predictors
from saltjax.inference.predictor import Predictor
from saltjax.reporting import run_figures, tables
from saltjax.runs import environment, result, saved_outputs, trained
from saltjax.runs import workdir as run_directory
from saltjax.runs.network_file import TrainedNetwork
from saltjax.runs.saved_outputs import SavedOutputs
from saltjax.scoring import postprocess, scores
from saltjax.system import console, devices, files, output_directory, signals
from saltjax.system.errors import InputError


def evaluate(
    workdirs: Sequence[pathlib.Path],
    directory: str,
    output: str,
    tta: bool | None,
    threshold: float | None = None,
    min_area: int | None = None,
    engine: str = "jax",
    precision: str | None = None,
    unlabelled: int | None = None,
) -> None:
    """Scores a run's best checkpoint, prints and draws the scores and writes evaluation.json.

    Of several networks it scores the mean of their probabilities, at the mean of their thresholds. A
    run without test_outputs.npz gets it, if its own test tiles are scored as its test did.

    Args:
      workdirs: one or more trained networks, each as `trained.locate` takes it.
      directory: with images/<id>.png and masks/<id>.png; "" for the first run's own test tiles, which
        a network file does not have.
      output: the directory to write to; "" for that of the run, which a network file does not have.
      tta: average each tile with its mirror image; None for the run's `eval.tta`.
      threshold: at and above which a pixel is salt; None for the run's.
      min_area: pixels, the minimum size of a component; None for the run's.
      engine, precision: as in `predictor.load`.
      unlabelled: the value of pixels without a label in the masks of `directory`; None for the run's
        `data.unlabelled`.

    Raises:
      InputError: for a mistake in run, data or directory.
    """
    if unlabelled is not None and (not directory or unlabelled <= 0):
        raise InputError(
            f"--unlabelled={unlabelled}; expected a value above 0 in the masks of --input, which "
            f"{'is given' if directory else 'is missing'}"
        )
    postprocess.check_given(threshold, min_area)
    locations = [trained.locate(workdir) for workdir in workdirs]
    location = locations[0]
    own = [place.path.resolve() for place in locations]
    if len(locations) > 1 and (not output or pathlib.Path(output).resolve() in own):
        raise InputError(
            "evaluating several networks needs --output, a directory for the scores that is none of theirs"
        )
    if not location.is_run and not (directory and output):
        raise InputError(
            f"--workdir={workdirs[0]} is a network file, without tiles and a directory of its own: "
            "evaluating it needs --input, a directory with images and masks, and --output, a "
            "directory for the scores"
        )
    target = pathlib.Path(output or location.path)
    try:
        with (
            signals.Pause(0),
            output_directory.writer(
                target,
                location.path,
                directory or location.path,
                [target / "evaluation.json"],
                [target / "evaluation"],
            ) as write,
        ):
            train = location.config.train
            devices.configure(train.cpu_devices, train.batch_size, train.compile_cache)
            networks = [trained.read(place) for place in locations]
            ensemble = [predictors.create(n, engine, precision) for n in networks]
            _check_resolution(ensemble)
            _check_computation(ensemble, tta)
            if unlabelled is not None:
                networks[0].config.data.unlabelled = unlabelled
            _evaluate(
                networks, ensemble, directory, target, tta, threshold, min_area, write
            )
    except signals.Stopped as stopped:
        stopped.advice = "no evaluation was written; run the same command again"
        raise


def _check_resolution(ensemble: Sequence[Predictor]) -> None:
    """Raises InputError if networks are not of one resolution, at which the loss is taken."""
    first, *others = [
        (p.network.image_size, p.network.resize, p.network.context, p.tile)
        for p in ensemble
    ]
    for other, predictor in zip(others, ensemble[1:]):
        if other != first:
            raise InputError(
                f"{ensemble[0].workdir} and {predictor.workdir} have different resolutions "
                f"(data.image_size, data.resize, data.context, tiles: {first} and {other}); expected the "
                "same: the loss is that of the mean probability at the network's resolution"
            )


def _check_computation(ensemble: Sequence[Predictor], tta: bool | None) -> None:
    """Raises InputError if networks would compute in different ways, of which one is recorded."""
    for name, values, flag in (
        (
            "eval.tta",
            [p.tta if tta is None else tta for p in ensemble],
            "--tta or --notta",
        ),
        ("train.dtype", [p.precision for p in ensemble], "--precision"),
    ):
        if len(set(values)) > 1:
            found = ", ".join(f"{p.workdir} {v}" for p, v in zip(ensemble, values))
            raise InputError(
                f"{name} differs between the networks ({found}): give {flag}"
            )


def _evaluate(
    networks: Sequence[TrainedNetwork],
    ensemble: Sequence[Predictor],
    directory: str,
    target: pathlib.Path,
    tta: bool | None,
    threshold: float | None,
    min_area: int | None,
    write: files.Writer,
) -> None:
    network, predictor, config = networks[0], ensemble[0], networks[0].config
    if directory:
        predictors.announce_synthetic(ensemble)
    if threshold is None:
        predictors.announce_tta(ensemble, tta)
    models = [each.section_model(tta) for each in ensemble]
    tta = predictor.tta if tta is None else tta
    tiles, units, indices, data = read_tiles(networks, directory)
    description = tiles.description
    if data.trained_on:
        description += f", {data.trained_on} used in training"
    averaged = ", averaged with their mirror images" if tta else ""
    for each in ensemble:
        console.say(f"Run        {each.workdir}, epoch {each.result.best_epoch}")
    noun = scored_noun(tiles.source)
    console.say(
        f"Source     {description}: {console.counted(len(indices), noun)}{averaged}"
    )
    outputs = evaluation.predict_tiles(tiles, indices, models[0], others=models[1:])
    labels = tiles.labels[indices, :, :, 0]
    chosen = predictors.common_postprocessing(ensemble, threshold, min_area)
    tested = scores.score(outputs, labels, chosen, config.data.seed, units[indices])
    scored = result.join(
        result.Evaluation,
        result.Evaluated(
            run=",".join(each.name for each in networks),
            best_epoch=predictor.result.best_epoch,
            tta=tta,
            engine=predictor.engine_name,
            precision=predictor.precision,
            data=data,
        ),
        result.Applied(
            predictor.result.threshold
            if threshold is None and len(ensemble) == 1
            else result.GivenThreshold(chosen.threshold),
            chosen.min_area,
        ),
        tested.scores,
    )
    label = ", ".join(
        environment.run_label(n.path) if n.path.is_dir() else n.name for n in networks
    )
    figures = target / "evaluation"
    with contextlib.ExitStack() as complete:
        # At the end each takes its place, the last one first: all are complete by then.
        def at_the_end(path: pathlib.Path) -> AbstractContextManager[pathlib.Path]:
            return contextlib.nullcontext(complete.enter_context(write(path)))

        files.write_json(target / "evaluation.json", scored, at_the_end)
        run_figures.draw_scores(
            {"these tiles": tested.curve},
            tested,
            chosen,
            tiles,
            f"{description}. Run: {label}",
            config.data.seed,
            figures,
            at_the_end,
        )
    own = (
        len(ensemble) == 1
        and not directory
        and target.resolve() == network.path.resolve()
    )
    computed = tta, predictor.engine_name, predictor.precision
    if own and computed == (predictor.tta, "jax", config.train.dtype):
        keep_outputs(target, tiles, outputs, units)
    tables.show_scores(scored, scored, noun)
    console.say(f"Written    {target / 'evaluation.json'}")
    console.say(f"Figures    {figures}")


def keep_outputs(
    workdir: pathlib.Path, tiles: Tiles, outputs: scores.Outputs, units: np.ndarray
) -> None:
    """Writes test_outputs.npz of a run whose test has not; `units` int[N] are of all tiles."""
    path, indices = workdir / saved_outputs.NAME, outputs.indices
    if path.exists():
        return
    saved = SavedOutputs(
        [tiles.ids[i] for i in indices],
        postprocess.to_sixteen_bits(outputs.prob_native),
        tiles.labels[indices, :, :, 0],
        units[indices],
    )
    saved_outputs.write(workdir, saved)
    console.say(f"Written    {path}, which was missing")


def read_tiles(
    networks: Sequence[TrainedNetwork], directory: str
) -> tuple[Tiles, np.ndarray, np.ndarray, result.EvaluatedData]:
    """Returns the tiles to be scored among others.

    Returns:
      The tiles; int[N], one number for the tiles that the bootstrap resamples together; the indices
      of those to be scored; evaluation.json's `data`.
    """
    network, *others = networks
    if not directory:
        config, earlier = network.config, network.tiles.splits or None
        data = source.load(config, earlier)
        run_directory.check_data(network.path, data.facts)
        tiles, units = data.scored, data.units
        indices = data.split["test"]
        if data.volume:
            _check_test_lines(networks)
        # Those of the first run may have trained others.
        seen = count_seen(others, [tiles.ids[i] for i in indices])
    else:
        unlabelled = network.config.data.unlabelled
        tiles = folder.read_folder(directory, "--input", unlabelled)
        units, indices = tiles.contents, np.arange(len(tiles))
        seen = count_seen(networks, tiles.ids)
    return (
        tiles,
        units,
        indices,
        result.EvaluatedData(tiles.source, tiles.directory, len(indices), seen),
    )


def _check_test_lines(networks: Sequence[TrainedNetwork]) -> None:
    """Raises InputError if runs on a volume have other test lines, on which some may have been trained."""
    first, *others = networks
    for other in others:
        same = other.tiles.content_sha256 == first.tiles.content_sha256
        if same and other.tiles.splits.get("test") != first.tiles.splits.get("test"):
            raise InputError(
                f"{first.path} and {other.path} were tested on other lines of a volume: of those of one, "
                "others may be training lines of the other; expected runs with the same test lines"
            )


def count_seen(networks: Sequence[TrainedNetwork], ids: Sequence[str]) -> int:
    """Returns how many ids are those of training or validation tiles of a run; prints it.

    Of several runs it is the largest number.
    """
    seen = max((network.count_seen(ids) for network in networks), default=0)
    if seen:
        console.say(
            f"{seen} of these {len(ids)} tiles have the ids of tiles that the run was trained or "
            "validated on: the scores are biased in its favour."
        )
    return seen
