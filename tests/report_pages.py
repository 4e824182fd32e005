"""The page of a run for tests in a browser: what it is made of, and how it is used."""

import numpy as np
from PIL import Image

from configs import default
from saltjax.runs import saved_config, workdir
from saltjax.runs.saved_outputs import SavedOutputs
from saltjax.scoring import metrics, postprocess

COUNT, HEIGHT, WIDTH = 24, 13, 17
# Threshold and minimum component size.
CHOSEN = (0.37, 3)


def smooth(rng, shape):
    """Returns a random field in [0, 1] whose neighbours are alike, with spots."""
    field = rng.random(shape)
    for axis in (1, 2):
        field = (field + np.roll(field, 1, axis) + np.roll(field, -1, axis)) / 3
    low, high = field.min((1, 2), keepdims=True), field.max((1, 2), keepdims=True)
    return (field - low) / (high - low)


def outputs(ids):
    """Returns the outputs of a network that is often right; some tiles hold no salt."""
    rng = np.random.default_rng(3)
    shape = len(ids), HEIGHT, WIDTH
    truth = smooth(rng, shape) * rng.uniform(0.6, 1.4, (len(ids), 1, 1))
    labels = (truth > 0.55).astype(np.uint8)
    labels[::5] = 0
    prob = 0.5 * smooth(rng, shape) + 0.5 * np.clip(truth, 0, 1)
    prob[1] = 0.0
    prob[2] = 1.0
    return SavedOutputs(
        ids, np.rint(65535 * prob).astype(np.uint16), labels, np.arange(len(ids))
    )


def write_images(folder, saved):
    """Writes the tiles, of which image i has the value i in its first pixel."""
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for i, (name, label) in enumerate(zip(saved.ids, saved.labels)):
        image = np.random.default_rng(i).integers(0, 256, label.shape).astype(np.uint8)
        image[0, 0] = i
        Image.fromarray(image).save(folder / f"images/{name}.png")
        Image.fromarray(255 * label).save(folder / f"masks/{name}.png")
    return folder


def move(driver, threshold, min_size):
    """Moves the sliders as a script does, and waits until the scores are drawn."""
    driver.execute_script(
        """
        for (const [id, value] of [["threshold", arguments[0]], ["min-size", arguments[1]]]) {
          const slider = document.getElementById(id);
          slider.value = value;
          slider.dispatchEvent(new Event("input", { bubbles: true }));
        }""",
        threshold,
        min_size,
    )
    driver.execute_async_script(
        "requestAnimationFrame(() => requestAnimationFrame(arguments[0]))"
    )


def shown(driver, name):
    text = driver.execute_script(
        "return document.querySelector(`[data-score=${arguments[0]}]`).textContent",
        name,
    )
    return float(text.split()[0])


def counts_of(saved, threshold, min_size):
    prob = postprocess.from_sixteen_bits(saved.prob)
    masks = postprocess.salt_mask(prob, postprocess.Postprocessing(threshold, min_size))
    return metrics.confusion(masks, saved.labels)


def visible_tiles(driver):
    return driver.execute_script(
        "return [...document.querySelectorAll('[data-tile]')]"
        ".filter((card) => !card.hidden).map((card) => card.dataset.tile)"
    )


def choose(driver, name, value):
    driver.execute_script(
        "const list = document.getElementById(arguments[0]); list.value = arguments[1];"
        "list.dispatchEvent(new Event('change'))",
        name,
        value,
    )


def pixels(driver, tile, view):
    """Returns the colours uint8[H, W, 3] that a view of a tile is drawn in."""
    flat = driver.execute_script(
        """
        const canvas = document.createElement("canvas");
        const { tiles, masks } = explorer;
        drawTile(canvas, tiles, masks, arguments[0], arguments[1]);
        return [...canvas.getContext("2d").getImageData(0, 0, tiles.width, tiles.height).data];""",
        tile,
        view,
    )
    return np.array(flat, np.uint8).reshape(HEIGHT, WIDTH, 4)[..., :3]


def row_of(epoch, **values):
    return dict.fromkeys(workdir.METRICS, 0.25) | {"epoch": epoch} | values


def begin(folder, epochs, overrides=None):
    """Writes the directory of a run that has finished so many epochs, and no test."""
    folder.mkdir()
    config = default.get_config()
    config.update_from_flattened_dict({"train.epochs": 30} | (overrides or {}))
    saved_config.write(folder, config)
    rows = [row_of(n + 1, val_loss=abs(n - 1.5) + 0.2) for n in range(epochs)]
    workdir.write_metrics(folder, rows)
    return folder
