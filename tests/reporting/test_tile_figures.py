import numpy as np
import pytest

from saltjax.data.tiles import UNLABELLED
from saltjax.reporting import tile_figures

# Two tiles of 4×6 pixels: salt in the upper half of the first, none in the second.
IMAGES = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), np.uint8)
LABELS = np.zeros((2, 4, 6), np.uint8)
LABELS[0, :2] = 1


def test_examples_are_above_their_masks():
    figure = tile_figures.examples(IMAGES, LABELS, ["a$x$", "b"], "some tiles")
    (first, second), (mask, empty) = np.reshape(figure.axes, (2, 2))
    for axes, image in ((first, IMAGES[0]), (second, IMAGES[1])):
        np.testing.assert_array_equal(axes.images[0].get_array(), image)
    np.testing.assert_array_equal(mask.images[0].get_array(), LABELS[0])
    assert first.get_title() == "a$x$"
    assert second.get_title() == "b"
    assert (mask.get_xlabel(), empty.get_xlabel()) == ("50.0% salt", "no salt")
    assert figure.get_supxlabel() == "Data: some tiles"
    figure.canvas.draw()


def test_slivers_fill_the_space_of_a_square():
    for height, aspect in ((3, 1.0), (12, 1.0), (13, "auto")):
        images = np.zeros((1, height, 4, 3), np.uint8)
        figure = tile_figures.examples(images, images[..., 0], ["a"], "some tiles")
        assert [axes.get_aspect() for axes in figure.axes] == [aspect] * 2


def draw_predictions(masks, labels=LABELS):
    return tile_figures.predictions(
        IMAGES,
        labels,
        np.full(LABELS.shape, 0.25, np.float32),
        masks,
        0.6,
        ["one $", "two"],
        "A heading",
        "some tiles",
    )


def test_prediction_colours_true_and_false_pixels():
    masks = np.zeros(LABELS.shape, bool)
    masks[0, 1:3] = True
    figure = draw_predictions(masks)
    # The last axes are the colour bar's.
    image, mask, prob, prediction = figure.axes[:4]
    np.testing.assert_array_equal(image.images[0].get_array(), IMAGES[0])
    np.testing.assert_array_equal(mask.images[0].get_array(), LABELS[0])
    assert np.all(prob.images[0].get_array() == np.float32(0.25))
    assert prob.images[0].get_clim() == (0, 1)
    overlay = prediction.images[1].get_array()
    # By row: missed, found, false, background. Blue, green, orange (Okabe & Ito), none.
    colours = np.array([[0, 114, 178], [0, 158, 115], [230, 159, 0], [0, 0, 0]], float)
    for row, colour, alpha in zip(overlay, colours / 255, (0.4, 0.4, 0.4, 0)):
        np.testing.assert_allclose(row, np.tile([*colour, alpha], (6, 1)))
    assert prediction.get_title() == "Prediction (≥ 0.600)"
    assert image.get_ylabel() == "one $"
    assert [text.get_text() for text in figure.axes[5].texts] == ["no salt"]
    assert mask.texts[:] == []
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == [
        "mask",
        "prediction",
        "true positive",
        "false positive",
        "false negative",
    ]
    figure.canvas.draw()


def test_outlines_surround_the_masks():
    masks = np.zeros(LABELS.shape, bool)
    masks[0, 1, 2:4] = True
    prediction, empty = (draw_predictions(masks).axes[i] for i in (3, 7))
    outlines = [c.get_paths()[0].vertices for c in prediction.collections]
    # Half a pixel around columns 2 and 3 of row 1, and around the upper half of the tile.
    for outline, (left, right, top, bottom) in zip(
        outlines, ((1.5, 3.5, 0.5, 1.5), (-0.5, 5.5, -0.5, 1.5)), strict=True
    ):
        x, y = outline.T
        assert (x.min(), x.max(), y.min(), y.max()) == (left, right, top, bottom)
    assert len(empty.collections) == 0


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("short", "short"),
        ("x" * 18, "x" * 18),
        ("abcdefghijklmnopqrs", "abcdefgh…klmnopqrs"),
    ],
)
def test_long_names_are_elided_in_the_middle(name, expected):
    assert tile_figures.shortened(name) == expected


PURPLE = [204 / 255, 121 / 255, 167 / 255, 0.4]


def partly_labelled():
    labels = LABELS.copy()
    labels[0, 1:3] = labels[1, :, :3] = UNLABELLED
    return labels


def test_examples_tint_unlabelled_pixels():
    labels = partly_labelled()
    figure = tile_figures.examples(IMAGES, labels, ["a", "b"], "some tiles")
    for axes, label in zip(figure.axes[2:], labels):
        tint = axes.images[1].get_array()
        np.testing.assert_allclose(tint[label == UNLABELLED], [PURPLE] * 12)
        assert not tint[label != UNLABELLED].any()
    # Six of twelve labelled pixels.
    assert [axes.get_xlabel() for axes in figure.axes[2:]] == ["50.0% salt", "no salt"]
    assert figure.axes[2].get_ylabel() == "Mask (white: salt,\ntinted: unlabelled)"


def test_predictions_tint_unlabelled_pixels_whatever_is_predicted_there():
    labels, masks = partly_labelled(), np.zeros(LABELS.shape, bool)
    masks[0, 1:] = True
    figure = draw_predictions(masks, labels)
    overlay = figure.axes[3].images[1].get_array()
    # By row: missed, unlabelled, unlabelled, false.
    blue, orange = [0, 114 / 255, 178 / 255, 0.4], [230 / 255, 159 / 255, 0, 0.4]
    for row, colour in zip(overlay, (blue, PURPLE, PURPLE, orange)):
        np.testing.assert_allclose(row, [colour] * 6)
    # The label's outline is that of its salt.
    salt = figure.axes[3].collections[1].get_paths()[0].vertices
    assert (salt[:, 1].min(), salt[:, 1].max()) == (-0.5, 0.5)
    assert [text.get_text() for text in figure.axes[5].texts] == ["no salt"]
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend[5:] == ["unlabelled"]
    figure.canvas.draw()
