#!/usr/bin/env python3
"""Joins all layers of an activation trace into one: a wide layer whose activations are real.

In: a trace, as `ripple trace` writes it. Out: a trace of one layer, in which a neuron's number is its layer's
number times the neurons of a layer, plus its own. No model has such a layer: its reads are those of a model
that knows all its layers' active neurons at once.

Needs numpy, safetensors.
usage: join.py TRACE OUT
"""
import sys

from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__.splitlines()[-1])
    try:
        with safe_open(sys.argv[1], "np") as trace:
            metadata = trace.metadata() or {}
            tensors = {name: trace.get_tensor(name) for name in trace.keys()}
    except (OSError, SafetensorError) as error:
        sys.exit(f"{sys.argv[1]}: {error}: expected a trace, as `ripple trace` writes it")
    if "active" not in tensors or "neurons" not in metadata:
        sys.exit(f"{sys.argv[1]}: no activations in it: expected a trace, as `ripple trace` writes it")
    count, layers, _ = tensors["active"].shape
    neurons = int(metadata["neurons"])
    if neurons % 8:
        sys.exit(f"{sys.argv[1]}: {neurons} neurons a layer: expected a multiple of 8")
    tensors["active"] = tensors["active"].reshape(count, 1, layers * neurons // 8)
    metadata |= {"neurons": str(layers * neurons), "model": f"{metadata['model']} joined"}
    save_file(tensors, sys.argv[2], metadata)


if __name__ == "__main__":
    main()
