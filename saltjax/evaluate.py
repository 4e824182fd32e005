"""The scores of a finished run, on its own test tiles or on any others that have masks."""

import pathlib
from typing import Any

import numpy as np

from saltjax import check as explore
from saltjax.data import feed as pipeline
from saltjax.data import tiles as data
from saltjax.inference import predictor as trained
from saltjax.reporting import tables as report
from saltjax.runs import workdir as run
from saltjax.scoring import scores as scoring
from saltjax.system import console, devices, files, signals
from saltjax.system.errors import InputError, writing


def evaluate(
    workdir: pathlib.Path, directory: str, output: str, tta: bool | None
) -> None:
    """Scores a run's best checkpoint, prints and draws the scores and writes evaluation.json.

    Args:
      workdir: the run's folder.
      directory: a folder with images/<id>.png and masks/<id>.png; "" for the run's own test tiles.
      output: the folder to write to; "" for the run's.
      tta: average each tile with its mirror image; None as the run's config says.

    Raises:
      InputError: for a mistake in run, data or folder.
    """
    try:
        with signals.Pause(0):
            _evaluate(workdir, directory, output, tta)
    except signals.Stopped as stopped:
        stopped.advice = "without an evaluation.json nothing is whole; begin anew"
        raise


def _evaluate(workdir, directory, output, tta) -> None:
    # Read twice: how the CPU is divided must be set before JAX is used to read the weights.
    config = trained.read_config(workdir)
    devices.configure(config.train)
    network = trained.load(workdir)
    tta = config.eval.tta if tta is None else tta
    tiles, indices, facts = read_tiles(network, directory)
    source = tiles.description
    if facts["trained_on"]:
        source += f", {facts['trained_on']} trained on"
    averaged = ", averaged with their mirror images" if tta else ""
    console.say(f"Run        {workdir}, best epoch {network.result['best_epoch']}")
    console.say(f"Source     {source}: {len(indices)} tiles{averaged}")
    mesh = devices.data_mesh()
    feed = pipeline.create(tiles, mesh, config.train.batch_size, resident=False)
    outputs = scoring.predict_tiles(
        feed,
        devices.replicate(network.variables, mesh),
        indices,
        network.network,
        tta,
    )
    labels = tiles.labels[indices, :, :, 0]
    test = scoring.score(outputs, labels, network.rule, config.seed)
    chosen = {key: network.result[key] for key in ("threshold", "min_area")}
    evaluation = {
        "run": workdir.absolute().name,
        "best_epoch": network.result["best_epoch"],
        "tta": tta,
        "data": facts,
        **chosen,
        **test.scores,
    }
    folder = pathlib.Path(output or workdir)
    figures = folder / "evaluation"
    curves = {"these tiles": test.curve}
    with writing(folder):
        figures.mkdir(parents=True, exist_ok=True)
        # The figures belong to it: it goes before they change, and comes when they have.
        (folder / "evaluation.json").unlink(missing_ok=True)
        report.draw_scores(
            curves, test, network.rule, tiles, source, config.seed, figures
        )
    files.write_json(folder / "evaluation.json", evaluation)
    report.show_scores(evaluation)
    console.say(f"Written    {folder / 'evaluation.json'}")
    console.say(f"Figures    {figures}")


def read_tiles(
    network: trained.TrainedRun, directory: str
) -> tuple[data.Tiles, np.ndarray, dict[str, Any]]:
    """Returns tiles, the indices of those to be scored, and what evaluation.json says of them."""
    if not directory:
        tiles, split = explore.load(network.config)
        run.check_data(network.workdir, explore.facts(tiles, split))
        indices, seen = split["test"], 0
    else:
        tiles = data.read_folder(directory)
        explore.check_shape(tiles.images.shape[1:3], network.config.data)
        indices = np.arange(len(tiles))
        path = network.workdir / "data.json"
        try:
            splits = files.read_json(path)["splits"]
            seen = len({*splits["train"], *splits["val"]} & set(tiles.ids))
        except (KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({error!r})") from None
        if seen:
            console.say(
                f"{seen} of these {len(tiles)} tiles have the names of tiles that the run was "
                "trained or validated on: the scores flatter it."
            )
    facts = {
        "source": tiles.source,
        "dir": tiles.directory,
        "tiles": len(indices),
        "trained_on": seen,
    }
    return tiles, indices, facts
