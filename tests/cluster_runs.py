"""Predictions by the workers of a Dask scheduler."""

from saltjax import predict

SHAPE = (7, 9, 40)


def run(network, path, out, address, **flags):
    """Segments a volume by one or several networks, at threshold 0.5."""
    flags = predict.Flags(threshold=0.5, scheduler=address, **flags)
    networks = network if isinstance(network, list) else [network]
    predict.predict(networks, str(path), str(out), flags)
