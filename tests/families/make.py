#!/usr/bin/env python3
"""Makes a small checkpoint of each family, and what `transformers` computes with it.

    python make.py [FAMILY...]

writes, for each, `FAMILY/` with config.json, model.safetensors (or pytorch_model.bin) and, where a part of
this folder makes one, a tokenizer; and `FAMILY/golden.json`: token ids and the logits after some of them, from
`transformers` in float32 on one thread. A family is a row of `FAMILIES`: a class, its configuration, and what
is changed in the files afterwards, so that they are as published ones are. Weights are random, of a seed that
is the family's name, and stored in bfloat16, so that the bits are the same everywhere.

    python make.py --again > again.txt

run with another `transformers` writes, for each, `FAMILY/config-again.json`, the configuration as that version
writes it, and says by how much its logits differ from the golden ones, of the same weights.

Needs torch (CPU), transformers 4.57, for --again 5.24, and safetensors. The project needs none of it: what this
writes is committed.
"""

import base64
import hashlib
import json
import pathlib
import sys

import torch
import transformers
from safetensors.torch import load_file, save_file

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
KEPT = [0, 7, 39]


class Family:
    """A checkpoint of a class of `transformers`.

    `config`: beside TINY. `config_json`: keys that are written, or with None taken out, afterwards.
    `tensors`: what becomes of the tensors on their way to the file. `file`: "safetensors" or "bin".
    """

    def __init__(self, kind, config=(), config_json=(), tensors=None, file="safetensors", base=TINY, before=None):
        self.kind, self.config, self.config_json = kind, dict(config), dict(config_json)
        self.tensors, self.file, self.base, self.before = tensors, file, base, before


def every(model, name, hook):
    """Puts `hook` on the output of every module whose name ends so."""
    for key, module in model.named_modules():
        if key.endswith(name):
            module.register_forward_hook(lambda module, args, out: hook(out))


class FatRelu(torch.nn.Module):
    def forward(self, x):
        return torch.where(x > 0.125, x, torch.zeros_like(x))


def fatrelu(model):
    for layer in model.model.layers:
        layer.mlp.act_fn = FatRelu()


def drelu(model):
    for layer in model.model.layers:
        mlp = layer.mlp
        mlp.forward = lambda x, mlp=mlp: mlp.down_proj(torch.relu(mlp.gate_proj(x)) * torch.relu(mlp.up_proj(x)))


def minicpm(model):
    """As OpenBMB's modeling_minicpm.py has it."""
    every(model, "embed_tokens", lambda out: out * 12)
    for name in ["o_proj", "down_proj"]:
        every(model, name, lambda out: out * (1.4 / 2**0.5))
    every(model, "model.norm", lambda out: out / (16 / 8))


def written_by_v5(**rope):
    """What transformers 5 writes instead of `rope_theta` and `rope_scaling`."""
    return dict(
        rope_theta=None, rope_scaling=None, torch_dtype=None, dtype="bfloat16", rope_parameters=rope, transformers_version="5.24.0"
    )


TIED = dict(tie_word_embeddings=True)
#: Where only positions differ.
SMALL = dict(hidden_size=8, num_attention_heads=2, num_key_value_heads=1, num_hidden_layers=1, **TIED)
LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=24)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)
OPT = dict(
    hidden_size=16,
    ffn_dim=24,
    num_hidden_layers=2,
    num_attention_heads=4,
    vocab_size=260,
    max_position_embeddings=64,
    word_embed_proj_dim=16,
    bos_token_id=256,
    eos_token_id=257,
)

FALCON = {key: TINY[key] for key in TINY if key not in ["intermediate_size", "num_key_value_heads"]}

FAMILIES = {
    # ReLU, in Llama's form: ReluLLaMA, MiniCPM-S and ProSparse, whose threshold is above 0.
    "relu-llama": Family("Llama", dict(hidden_act="relu")),
    "prosparse": Family(
        "Llama",
        dict(hidden_act="relu", **TIED),
        dict(architectures=["SparseLlamaForCausalLM"], model_type="sparsellama", hidden_act="fatrelu", hidden_act_param=0.125),
        before=fatrelu,
    ),
    "llama2": Family("Llama", dict(num_key_value_heads=4)),
    "tinyllama": Family("Llama", dict(num_attention_heads=4, num_key_value_heads=1, **TIED)),
    "mistral": Family("Mistral", dict(sliding_window=64, head_dim=4, **TIED)),
    "opt-125m": Family("OPT", dict(), dict(prefix="</s>", _remove_final_layer_norm=False), base=OPT, file="bin"),
    "opt-350m": Family("OPT", dict(do_layer_norm_before=False, word_embed_proj_dim=8), base=OPT, file="bin"),
    "bamboo": Family(
        "Mistral",
        dict(hidden_act="relu", sliding_window=None, head_dim=4, **TIED),
        dict(architectures=["BambooForCausalLM"], model_type="bamboo"),
        before=drelu,
    ),
    "relu2-llama": Family("Llama", dict(hidden_act="relu2", **TIED)),
    "arcee": Family("Arcee", dict(rope_scaling=YARN, head_dim=8, **TIED)),
    "nemotron": Family("Nemotron", dict(head_dim=8, **TIED)),
    "bitnet": Family("BitNet", TIED),
    "minicpm": Family(
        "Llama",
        dict(hidden_act="silu", **TIED),
        dict(architectures=["MiniCPMForCausalLM"], model_type="minicpm", scale_emb=12, scale_depth=1.4, dim_model_base=8, mlp_bias=None),
        before=minicpm,
    ),
    "granite": Family(
        "Granite", dict(embedding_multiplier=12.0, residual_multiplier=0.22, attention_multiplier=0.3, logits_scaling=4.0, **TIED)
    ),
    "qwen2": Family("Qwen2", dict(sliding_window=32, max_window_layers=1, use_sliding_window=False, **TIED)),
    "rope-linear": Family("Llama", dict(hidden_act="relu", rope_scaling=dict(type="linear", factor=4.0), **SMALL)),
    "rope-dynamic": Family("Llama", dict(hidden_act="relu", rope_scaling=dict(type="dynamic", factor=4.0), **SMALL)),
    "llama3-v5": Family(
        "Llama", dict(head_dim=8, rope_theta=500000.0, rope_scaling=LLAMA3, **SMALL), written_by_v5(rope_theta=500000.0, **LLAMA3)
    ),
    "rope-by-layer-v5": Family(
        "Llama",
        dict(hidden_act="relu", rope_theta=500000.0, rope_scaling=dict(rope_type="linear", factor=4.0), **SMALL),
        dict(
            layer_types=["full_attention"],
            **written_by_v5(full_attention=dict(rope_type="linear", factor=4.0, rope_theta=500000.0)),
        ),
    ),
    "smollm2": Family(
        "Llama", dict(rope_theta=100000, **TIED), {"is_llama_config": True, "rope_interleaved": False, "transformers.js_config": {"dtype": "q4"}}
    ),
    "qwen3": Family("Qwen3", dict(head_dim=8, sliding_window=None, use_sliding_window=False, **TIED)),
    # SparseLLM's ReLU Falcon has the groups and norms of the 40B; the 7B has one key for all.
    "relu-falcon": Family(
        "Falcon",
        dict(activation="relu", new_decoder_architecture=True, num_kv_heads=2, ffn_hidden_size=24),
        base=FALCON,
    ),
    "relu-falcon-7b": Family("Falcon", dict(activation="relu", multi_query=True, ffn_hidden_size=24), base=FALCON),
    "gemma": Family("Gemma", dict(head_dim=8, num_key_value_heads=1)),
    "gemma2": Family(
        "Gemma2",
        dict(head_dim=8, query_pre_attn_scalar=12, attn_logit_softcapping=2.0, final_logit_softcapping=3.0, sliding_window=64),
    ),
}


def stored(folder):
    """The tensors of a checkpoint by their names."""
    if (folder / "pytorch_model.bin").exists():
        return torch.load(folder / "pytorch_model.bin")
    return load_file(folder / "model.safetensors")


def build(name, family):
    """The model, with weights of the family's seed, before anything is done to what it computes."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "little")
    torch.manual_seed(seed)
    given = {key: value for key, value in {**family.base, **family.config}.items() if value is not None or key == "sliding_window"}
    config = getattr(transformers, family.kind + "Config")(**given)
    config._attn_implementation = "eager"
    model = getattr(transformers, family.kind + "ForCausalLM")(config).eval()
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            # Large enough that every part has a say in the logits, norms around 1.
            norm = any(name in key for name in ["norm", "ln_"]) and key.endswith("weight")
            centre = 1.0 if norm and family.kind not in ["Gemma", "Gemma2", "Nemotron"] else 0.0
            spread = 1.0 if "embed" in key else 0.2 if tensor.dim() == 1 else 1.2 / tensor.shape[-1] ** 0.5
            tensor.copy_((centre + spread * torch.randn(tensor.shape)).bfloat16().float())
    return model


def logits_of(model, family, ids):
    if family.before:
        family.before(model)
    with torch.no_grad():
        return model(ids).logits[0, KEPT].float()


def write_config(path, model, changes):
    written = json.loads(model.config.to_json_string())
    written["architectures"] = [type(model).__name__]
    for key, value in changes.items():
        if value is None:
            written.pop(key, None)
        else:
            written[key] = value
    path.write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")


def again(name, family):
    folder = HERE / name
    golden = json.loads((folder / "golden.json").read_text())
    model = build(name, family)
    tensors = stored(folder)
    with torch.no_grad():
        for key, tensor in model.named_parameters():
            tensor.copy_(tensors[key].float())
    logits = logits_of(model, family, torch.tensor([golden["ids"]]))
    theirs = torch.frombuffer(bytearray(base64.b64decode(golden["logits"])), dtype=torch.float32)
    # What this version writes by itself is not put in its older place.
    old = ["rope_theta", "rope_scaling", "rope_parameters", "torch_dtype", "dtype", "transformers_version"]
    write_config(folder / "config-again.json", model, {key: v for key, v in family.config_json.items() if key not in old})
    print(f"{name}: logits differ by {(logits.flatten() - theirs).abs().max():.1e} from those of {golden['transformers']}")


def make(name, family):
    folder = HERE / name
    folder.mkdir(exist_ok=True)
    model = build(name, family)
    ids = torch.randint(0, 256, (1, TOKENS))
    logits = logits_of(model, family, ids)
    write_config(folder / "config.json", model, family.config_json)
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
    arguments = sys.argv[1:]
    work = again if "--again" in arguments else make
    if work is again:
        print(f"transformers {transformers.__version__}")
    for name in [name for name in arguments if not name.startswith("--")] or FAMILIES:
        work(name, FAMILIES[name])
