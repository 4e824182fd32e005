"""Runs of networks other than that of `written_run`, without training."""

import json

import written_run
from variables import draw_variables

from saltjax.networks.network import create_model
from saltjax.runs import checkpoint


def write_run(folder, model=None, **changes):
    """Writes a run on tiles of 11×9 pixels with a drawn network, of overrides of the config."""
    written_run.write(folder, changes)
    (folder / "data.json").write_text('{"height": 11, "width": 9}')
    if model:
        config = json.loads((folder / "config.json").read_text())
        config["model"] |= model
        (folder / "config.json").write_text(json.dumps(config))
        changed = create_model(**config["model"])
        best = folder / "checkpoints/best"
        checkpoint.save(best, draw_variables(changed), {"epoch": 2, "val_loss": 0.5})
    return folder
