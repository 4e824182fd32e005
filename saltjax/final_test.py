"""The test that ends a run: threshold, scores, figures and result.json of its best checkpoint."""

import dataclasses
import pathlib

import jax
from ml_collections import ConfigDict

from saltjax.data.source import Data
from saltjax.inference import evaluation
from saltjax.inference.windows import SectionModel
from saltjax.networks import network as networks
from saltjax.networks.network import Network
from saltjax.reporting import run_figures, tables
from saltjax.runs import (
    checkpoint,
    environment,
    replacement,
    result,
    saved_config,
    saved_outputs,
)
from saltjax.runs.saved_outputs import SavedOutputs
from saltjax.scoring import scores
from saltjax.scoring.postprocess import to_sixteen_bits
from saltjax.system import console, files
from saltjax.system.errors import writing
from saltjax.training.progress import Progress
from saltjax.training.steps import TrainState


def run(
    config: ConfigDict,
    workdir: pathlib.Path,
    data: Data,
    network: Network,
    state: TrainState,
    progress: Progress,
) -> None:
    """Tests the best checkpoint, draws the figures and writes result.json and config.json.

    Args:
      config: the complete config.
      workdir: the run directory, which is locked.
      data: tiles and split.
      network: the model and its resolution.
      state: a state of the training, for the structure of the network's variables.
      progress: that of the finished training.

    Raises:
      InputError: if no best checkpoint is intact, or files cannot be written.
    """
    variables, best = checkpoint.restore_best(
        workdir, jax.device_get(state.variables), repair=True
    )
    console.say(f"Testing the network of epoch {best['epoch']} and drawing figures …")
    tile = data.tiles.size
    model = SectionModel(
        network, variables, tile, config.train.batch_size, config.eval.tta
    )
    val, test = (
        evaluation.predict_tiles(data.scored, data.split[name], model)
        for name in ("val", "test")
    )
    labels, rows = data.scored.labels[:, :, :, 0], data.split["test"]
    chosen, val_curve, validation = scores.validate(
        val,
        test,
        labels[data.split["val"]],
        config.eval.threshold_metric,
        config.eval.min_area,
    )
    labels, units, seed = labels[rows], data.units[rows], config.data.seed
    tested = scores.score(test, labels, chosen, seed, units)
    training = training_result(
        data,
        progress,
        networks.count_parameters(state.params),
        best["epoch"],
        config.early_stopping.patience,
    )
    outcome = result.join(result.Result, training, validation, tested.scores)
    outcome = dataclasses.replace(outcome, eval=config.eval.to_dict())
    label = environment.run_label(workdir)
    source = f"{data.scored.description}: {data.split_description}. Run: {label}"
    curves = {"validation": val_curve, "test": tested.curve}
    with replacement.replace(workdir, outcome) as plots, writing(plots):
        run_figures.draw_training(progress.history, best["epoch"], source, plots)
        run_figures.draw_thresholds(validation, val_curve, source, plots)
        run_figures.draw_scores(
            curves, tested, chosen, data.scored, source, seed, plots
        )
        ids = [data.scored.ids[i] for i in rows]
        prob = to_sixteen_bits(test.prob_native)
        saved_outputs.write(plots, SavedOutputs(ids, prob, labels, units))
    saved_config.write(workdir, config)
    files.write_json(workdir / "data.json", data.facts)
    tables.show_result(outcome)
    console.say(f"Figures    {workdir / 'plots'}")


def training_result(
    data: Data, progress: Progress, parameters: int, best_epoch: int, patience: int
) -> result.Training:
    """Returns the part of result.json about the training.

    Args:
      data: tiles and split.
      progress: that of the finished training.
      parameters: of the network.
      best_epoch: of the checkpoint that was tested.
      patience: of early stopping, in epochs.
    """
    tiles = data.tiles
    counts = {name: len(part) for name, part in data.split.items()}
    return result.Training(
        status="completed",
        parameters=parameters,
        epochs=progress.epochs,
        best_epoch=best_epoch,
        stopped_early=progress.stopped_early(patience),
        train_seconds=round(sum(row["seconds"] for row in progress.history), 3),
        data=result.TrainingData(tiles.source, tiles.directory, **counts),
    )
