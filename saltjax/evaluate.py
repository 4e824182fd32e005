"""--mode=evaluate: scores of a finished run on its own test tiles, or on other tiles with masks."""

import contextlib
import pathlib
from contextlib import AbstractContextManager

import numpy as np

from saltjax.data import folder, source
from saltjax.data.tiles import Tiles, scored_noun
from saltjax.inference import evaluation
from saltjax.inference import predictor as predictors
from saltjax.reporting import run_figures, tables
from saltjax.runs import result, saved_outputs, trained
from saltjax.runs import workdir as run_directory
from saltjax.runs.network_file import TrainedNetwork
from saltjax.runs.saved_outputs import SavedOutputs
from saltjax.scoring import postprocess, scores
from saltjax.system import console, devices, files, output_directory, signals
from saltjax.system.errors import InputError


def evaluate(
    workdir: pathlib.Path,
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

    A run without test_outputs.npz gets it, if its own test tiles are scored as its test did.

    Args:
      workdir: the trained network, as `trained.locate` takes it.
      directory: with images/<id>.png and masks/<id>.png; "" for the run's own test tiles, which a
        network file does not have.
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
    location = trained.locate(workdir)
    if not location.is_run and not (directory and output):
        raise InputError(
            f"--workdir={workdir} is a network file, without tiles and a directory of its own: "
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
            network = trained.read(location)
            predictor = predictors.create(network, engine, precision)
            if unlabelled is not None:
                network.config.data.unlabelled = unlabelled
            _evaluate(
                network, predictor, directory, target, tta, threshold, min_area, write
            )
    except signals.Stopped as stopped:
        stopped.advice = "no evaluation was written; run the same command again"
        raise


def _evaluate(
    network: TrainedNetwork,
    predictor: predictors.Predictor,
    directory: str,
    target: pathlib.Path,
    tta: bool | None,
    threshold: float | None,
    min_area: int | None,
    write: files.Writer,
) -> None:
    config = network.config
    if directory:
        predictors.announce_synthetic([predictor])
    if threshold is None:
        predictors.announce_tta([predictor], tta)
    tta = predictor.tta if tta is None else tta
    tiles, units, indices, data = read_tiles(network, directory)
    description = tiles.description
    if data.trained_on:
        description += f", {data.trained_on} used in training"
    averaged = ", averaged with their mirror images" if tta else ""
    console.say(f"Run        {network.path}, epoch {predictor.result.best_epoch}")
    noun = scored_noun(tiles.source)
    console.say(
        f"Source     {description}: {console.counted(len(indices), noun)}{averaged}"
    )
    outputs = evaluation.predict_tiles(tiles, indices, predictor.section_model(tta))
    labels = tiles.labels[indices, :, :, 0]
    chosen = predictors.common_postprocessing([predictor], threshold, min_area)
    tested = scores.score(outputs, labels, chosen, config.data.seed, units[indices])
    scored = result.join(
        result.Evaluation,
        result.Evaluated(
            run=network.name,
            best_epoch=predictor.result.best_epoch,
            tta=tta,
            engine=predictor.engine_name,
            precision=predictor.precision,
            data=data,
        ),
        result.Applied(
            predictor.result.threshold
            if threshold is None
            else result.GivenThreshold(threshold),
            chosen.min_area,
        ),
        tested.scores,
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
            description,
            config.data.seed,
            figures,
            at_the_end,
        )
    own = not directory and target.resolve() == network.path.resolve()
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
    network: TrainedNetwork, directory: str
) -> tuple[Tiles, np.ndarray, np.ndarray, result.EvaluatedData]:
    """Returns the tiles to be scored among others.

    Returns:
      The tiles; int[N], one number for the tiles that the bootstrap resamples together; the indices
      of those to be scored; evaluation.json's `data`.
    """
    if not directory:
        config, earlier = network.config, network.tiles.splits or None
        data = source.load(config, earlier)
        run_directory.check_data(network.path, data.facts())
        tiles, units = data.scored, data.units
        indices, seen = data.split["test"], 0
    else:
        unlabelled = network.config.data.unlabelled
        tiles = folder.read_folder(directory, "--input", unlabelled)
        units, indices = tiles.contents, np.arange(len(tiles))
        seen = count_seen(network, tiles)
    return (
        tiles,
        units,
        indices,
        result.EvaluatedData(tiles.source, tiles.directory, len(indices), seen),
    )


def count_seen(network: TrainedNetwork, tiles: Tiles) -> int:
    """Returns how many tiles have ids of training or validation tiles of the run; prints it."""
    seen = network.count_seen(tiles.ids)
    if seen:
        console.say(
            f"{seen} of these {len(tiles)} tiles have the ids of tiles that the run was trained or "
            "validated on: the scores are biased in its favour."
        )
    return seen
