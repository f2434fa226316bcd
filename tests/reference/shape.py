#!/usr/bin/env python3
"""Writes a checkpoint of OPT's shape with random weights in float16, to measure time and memory with.

    python tests/reference/shape.py opt-125m TOKENIZER.json FOLDER

Neurons are half active; what they are decides nothing here. The vocabulary is that of TOKENIZER, the tables are of
the shape's. Needs numpy.
"""

import json
import pathlib
import shutil
import struct
import sys

import numpy as np

SHAPES = {
    # dim, layers, neurons, heads
    "opt-125m": (768, 12, 3072, 12),
    "opt-1.3b": (2048, 24, 8192, 32),
}
VOCAB, CONTEXT = 50272, 2048


def tensors(dim, layers, neurons):
    """Names and shapes."""
    yield "model.decoder.embed_tokens.weight", (VOCAB, dim)
    yield "model.decoder.embed_positions.weight", (CONTEXT + 2, dim)
    for part in ("weight", "bias"):
        yield f"model.decoder.final_layer_norm.{part}", (dim,)
    for i in range(layers):
        layer = f"model.decoder.layers.{i}."
        for name, rows, cols in [
            ("self_attn.q_proj", dim, dim),
            ("self_attn.k_proj", dim, dim),
            ("self_attn.v_proj", dim, dim),
            ("self_attn.out_proj", dim, dim),
            ("fc1", neurons, dim),
            ("fc2", dim, neurons),
        ]:
            yield f"{layer}{name}.weight", (rows, cols)
            yield f"{layer}{name}.bias", (rows,)
        for norm in ("self_attn_layer_norm", "final_layer_norm"):
            for part in ("weight", "bias"):
                yield f"{layer}{norm}.{part}", (dim,)


def main():
    shape, tokenizer, folder = sys.argv[1], pathlib.Path(sys.argv[2]), pathlib.Path(sys.argv[3])
    dim, layers, neurons, heads = SHAPES[shape]
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "architectures": ["OPTForCausalLM"], "model_type": "opt", "hidden_size": dim, "num_hidden_layers": layers,
        "ffn_dim": neurons, "num_attention_heads": heads, "vocab_size": VOCAB, "max_position_embeddings": CONTEXT,
        "activation_function": "relu", "do_layer_norm_before": True, "word_embed_proj_dim": dim,
        "bos_token_id": 0, "eos_token_id": 0, "tie_word_embeddings": True,
    }
    (folder / "config.json").write_text(json.dumps(config))
    shutil.copy(tokenizer, folder / "tokenizer.json")
    header, end = {}, 0
    listed = list(tensors(dim, layers, neurons))
    for name, of in listed:
        size = 2 * int(np.prod(of))
        header[name] = {"dtype": "F16", "shape": of, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    random = np.random.default_rng(1)
    with open(folder / "model.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for name, of in listed:
            if "norm.weight" in name:
                values = np.ones(of, np.float32)
            elif len(of) == 1:
                values = np.zeros(of, np.float32)
            else:
                values = random.standard_normal(of, np.float32) * (of[1] ** -0.5)
            out.write(values.astype("<f2").tobytes())


main()
