"""The networks in plain NumPy, float64, to compare the JAX networks with."""

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


def kaggle_score(labels, codes):
    """Returns the challenge's score, by its own definition, of labels and encodings by id."""
    total = 0.0
    for name, label in labels.items():
        truth, found = label > 0, decode(codes[name], label.shape)
        if not truth.any():
            total += 0.0 if found.any() else 1.0
            continue
        iou = (truth & found).sum() / (truth | found).sum()
        hits = [
            iou > t for t in (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
        ]
        total += sum(hits) / 10
    return total / len(labels)
