"""The networks in plain NumPy, float64, to compare the JAX networks with."""

import numpy as np


def conv3x3(x, layer, stride=1):
    """3×3 correlation with padding 1: [B, H, W, C] -> [B, H/stride, W/stride, F]."""
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    windows = windows[:, ::stride, ::stride]
    return np.einsum("bhwcij,ijcf->bhwf", windows, layer["kernel"]) + layer["bias"]


def block(x, params):
    """Two 3×3 convolutions with ReLU."""
    for name in ("conv1", "conv2"):
        x = np.maximum(conv3x3(x, params[name]), 0)
    return x


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


def unet(x, params, levels, strided, skip):
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
        x = block(x, params[f"encoder{i}"])
    for i in reversed(range(levels - 1)):
        x = transposed_conv(x, params[f"up{i}"]["conv"])
        if skip:
            x = np.concatenate([x, skips[i]], axis=-1)
        x = block(x, params[f"decoder{i}"])
    return (
        x @ np.asarray(params["head"]["kernel"][0, 0], np.float64)
        + params["head"]["bias"]
    )


def fcn(x, params, levels):
    """Logits of the study's FCN for the parameters of `fcn.FCN`."""
    for i in range(levels):
        x = block(x, params[f"block{i}"])
    return (
        x @ np.asarray(params["head"]["kernel"][0, 0], np.float64)
        + params["head"]["bias"]
    )


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
