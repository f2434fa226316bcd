#!/usr/bin/env python3
"""Makes a small checkpoint of each family, and what `transformers` computes with it.

    python make.py [FAMILY...]

writes, for each, `FAMILY/` with config.json, model.safetensors (or pytorch_model.bin) and, where a part of
this folder makes one, a tokenizer; and `FAMILY/golden.json`: token ids and the logits after some of them, from
`transformers` in float32 on one thread. A family is a row of `FAMILIES`: a class, its configuration, and what
is changed in the files afterwards, so that they are as published ones are. Weights are random, of a seed that
is the family's name, and stored in bfloat16, so that the bits are the same everywhere.

Needs torch (CPU), transformers 4.57 and safetensors. The project needs none of it: what this writes is
committed.
"""

import base64
import hashlib
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).parent
#: What all have, unless they say otherwise: tiny, but of true structure.
TINY = dict(
    hidden_size=16,
    intermediate_size=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    vocab_size=260,
    max_position_embeddings=64,
    bos_token_id=256,
    eos_token_id=257,
)
#: Tokens that are read, and after which of them the logits are kept.
TOKENS = 40
KEPT = [0, 1, 7, 39]


class Family:
    """A checkpoint of a class of `transformers`.

    `config`: beside TINY. `config_json`: keys that are written, or with None taken out, afterwards.
    `tensors`: what becomes of the tensors on their way to the file. `file`: "safetensors" or "bin".
    """

    def __init__(self, kind, config=(), config_json=(), tensors=None, file="safetensors", base=TINY, before=None):
        self.kind, self.config, self.config_json = kind, dict(config), dict(config_json)
        self.tensors, self.file, self.base, self.before = tensors, file, base, before


FAMILIES = {
    "relu-llama": Family("Llama", dict(hidden_act="relu")),
}


def make(name, family):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    torch.manual_seed(seed)
    config = getattr(transformers, family.kind + "Config")(**{**family.base, **family.config})
    config._attn_implementation = "eager"
    model = getattr(transformers, family.kind + "ForCausalLM")(config).eval()
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            # Large enough that every part has a say in the logits, norms around 1.
            spread = 0.3 if "norm" in key and tensor.dim() == 1 else 0.5 / (tensor.shape[-1] ** 0.5 if tensor.dim() > 1 else 4)
            centre = 1.0 if key.endswith("weight") and "norm" in key and not family.kind.startswith("Gemma") else 0.0
            tensor.copy_((centre + spread * 2 * torch.randn(tensor.shape)).bfloat16().float())
    if family.before:
        family.before(model)
    ids = torch.randint(0, 256, (1, TOKENS))
    with torch.no_grad():
        logits = model(ids).logits[0, KEPT].float()
    written = json.loads(config.to_json_string())
    written["architectures"] = [family.kind + "ForCausalLM"]
    for key, value in family.config_json.items():
        if value is None:
            written.pop(key, None)
        else:
            written[key] = value
    (folder / "config.json").write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
    # Tied tensors stand in a file once.
    tensors = {key: t.bfloat16().contiguous() for key, t in model.named_parameters()}
    if family.tensors:
        tensors = family.tensors(tensors)
    if family.file == "bin":
        torch.save(tensors, folder / "pytorch_model.bin")
    else:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    golden = dict(
        transformers=transformers.__version__,
        ids=ids[0].tolist(),
        kept=KEPT,
        logits=base64.b64encode(logits.numpy().astype("<f4").tobytes()).decode(),
    )
    (folder / "golden.json").write_text(json.dumps(golden) + "\n")
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{name}: {size} bytes, logits {logits.abs().max():.2f} at most")


if __name__ == "__main__":
    torch.set_num_threads(1)
    for name in sys.argv[1:] or FAMILIES:
        make(name, FAMILIES[name])
