"""Networks, losses and scores in plain NumPy, float64, to compare those of the package with."""

import itertools
import math

import numpy as np


def conv3x3(x, layer, stride=1):
    """3×3 correlation with padding 1: [B, H, W, C] -> [B, H/stride, W/stride, F]."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    return np.einsum("bhwcij,ijcf->bhwf", windows, layer["kernel"]) + layer["bias"]


def normalize(x, layer, groups, eps):
    """Normalizes by the statistics of the batch, or with groups by those of image and group."""
    axes, shape = (0, 1, 2), x.shape
    if groups:
        axes, shape = (1, 2, 4), (*x.shape[:3], groups, -1)
    grouped = x.reshape(shape)
    mean, variance = (f(axes, keepdims=True) for f in (grouped.mean, grouped.var))
    x = ((grouped - mean) / np.sqrt(variance + eps)).reshape(x.shape)
    return x * layer["scale"] + layer["bias"]


def block(x, params, norm="none"):
    """Two 3×3 convolutions with ReLU; batch norm as in training."""
    for i in (1, 2):
        conv = params[f"conv{i}"]
        x = conv3x3(x, conv if "bias" in conv else conv | {"bias": 0})
        if norm == "batch":
            x = normalize(x, params[f"norm{i}"], groups=0, eps=1e-5)
        elif norm == "group":
            groups = math.gcd(8, x.shape[-1])
            x = normalize(x, params[f"norm{i}"], groups, eps=1e-6)
        x = np.maximum(x, 0)
    return x


def conv1x1(x, layer):
    """1×1 convolution."""
    return x @ np.asarray(layer["kernel"][0, 0], np.float64) + layer["bias"]


def max_pool(x):
    """2×2 maximum."""
    b, h, w, c = x.shape
    return x.reshape(b, h // 2, 2, w // 2, 2, c).max(axis=(2, 4))


def transposed_conv(x, layer):
    """2×2 kernel, stride 2: each input pixel determines a 2×2 square of the output."""
    b, h, w, _ = x.shape
    kernel = np.asarray(layer["kernel"], np.float64)
    out = np.zeros((b, 2 * h, 2 * w, kernel.shape[-1]))
    for i in range(2):
        for j in range(2):
            out[:, i::2, j::2] = x @ kernel[i, j]
    return out + layer["bias"]


def interpolate(x, axis):
    """Twice as many pixels, at a quarter and three quarters of each; constant beyond the edges."""
    n = x.shape[axis]
    before, after = (
        np.take(x, np.clip(np.arange(n) + step, 0, n - 1), axis) for step in (-1, 1)
    )
    pair = np.stack([0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after], axis + 1)
    return pair.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 1 :])


def unet(x, params, levels, strided, skip, norm="none"):
    """Logits of the study's U-Net for the parameters of `unet.UNet`."""
    skips = []
    for i in range(levels):
        if i > 0:
            skips.append(x)
            x = (
                conv3x3(x, params[f"down{i}"]["conv"], stride=2)
                if strided
                else max_pool(x)
            )
        x = block(x, params[f"encoder{i}"], norm)
    for i in reversed(range(levels - 1)):
        conv = params[f"up{i}"]["conv"]
        if conv["kernel"].shape[0] == 2:
            x = transposed_conv(x, conv)
        else:
            x = interpolate(interpolate(conv1x1(x, conv), 1), 2)
        if skip:
            x = np.concatenate([x, skips[i]], axis=-1)
        x = block(x, params[f"decoder{i}"], norm)
    return conv1x1(x, params["head"])


def fcn(x, params, levels, norm="none"):
    """Logits of the study's FCN for the parameters of `fcn.FCN`."""
    for i in range(levels):
        x = block(x, params[f"block{i}"], norm)
    return conv1x1(x, params["head"])


def decode(code, shape):
    """Returns the mask bool[H, W] of a run-length encoding of the challenge, pixel by pixel."""
    words = [int(word) for word in code.split()]
    height = shape[0]
    mask = np.zeros(shape, bool)
    for start, length in zip(words[0::2], words[1::2]):
        for pixel in range(start - 1, start - 1 + length):
            mask[pixel % height, pixel // height] = True
    return mask


def kaggle_precision(truth, found):
    """Returns the challenge's score of one tile, by its own definition, of masks bool[H, W]."""
    if not truth.any():
        return 0.0 if found.any() else 1.0
    iou = (truth & found).sum() / (truth | found).sum()
    levels = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
    return sum(iou > t for t in levels) / 10


def kaggle_score(labels, codes):
    """Returns the challenge's score, by its own definition, of labels and encodings by id."""
    scores = [
        kaggle_precision(label > 0, decode(codes[name], label.shape))
        for name, label in labels.items()
    ]
    return sum(scores) / len(scores)


def lovasz_extension(errors, label):
    """Returns the integral over all levels t of 1 - IoU if the pixels with an error >= t are wrong."""
    levels = np.unique(np.append(errors, 0.0))
    total = 0.0
    for low, high in itertools.pairwise(levels):
        wrong = errors >= high
        union = (label > 0) | wrong
        total += (high - low) * (1 - (union & ~wrong & (label > 0)).sum() / union.sum())
    return total


def elu_errors(logits, label):
    """Returns elu(margin error) + 1 of each pixel."""
    margin = 1 - logits * np.where(label > 0, 1, -1)
    return np.where(margin > 0, margin + 1, np.exp(np.minimum(margin, 0)))


def symmetric_lovasz(logits, label):
    """Returns the mean of the Lovász hinges of a tile for salt and for background."""
    errors = elu_errors(logits, label)
    return (lovasz_extension(errors, label) + lovasz_extension(errors, 1 - label)) / 2


def cosine_rate(step, learning_rate, warmup, total):
    """Returns the rate of a step: up in a line to `learning_rate` at step `warmup`, to 0 at `total`."""
    if step < warmup:
        first = learning_rate / warmup
        return first + (learning_rate - first) * step / warmup
    done = (step - warmup) / (total - warmup)
    return learning_rate * (1 + math.cos(math.pi * done)) / 2
