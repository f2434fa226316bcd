#!/usr/bin/env python3
"""Checks adapters against transformers and PEFT, which share no code with this project.

    ripple tune IMAGE --text TEXT --tokens 128 --rank 4 -n 100 --in-order -o a.lora
    ripple adapter IMAGE a.lora --export FOLDER
    ripple tune IMAGE --text TEXT --tokens 128 --rank 4 -n 1 --rate 0 -o start.lora
    ripple adapter IMAGE start.lora --export START
    adapters.py MODEL FOLDER TEXT START

    cargo run -p ripple-tests --example adapter_logits -- IMAGE a.lora TEXT 128 LOGITS
    adapters.py MODEL FOLDER LOGITS

The first prints the loss on the windows that `ripple tune` holds out: of the model, of the model with the adapters in
FOLDER as PEFT loads them, and with adapters that PyTorch trains on the same windows in the same order from the
same beginning, START, with the command's defaults; and how far the last two are apart. The model is that of
MODEL in float32, which the image has in rows of 8 bits.

The second prints how far the logits in LOGITS, of the image with the adapters, are at most from those of MODEL with
its rows rounded to 8 bits as the image has them and the adapters in FOLDER as PEFT loads them, and from those of MODEL
as it is; it fails where the first is above 1e-3. Needs torch, transformers, peft, tokenizers, safetensors.
"""

import json
import math
import sys

import numpy as np
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

TOKENS, STEPS, RATE, WARM_UP, CLIP, WINDOWS = 128, 100, 0.002, 5, 1.0, 16


def windows(folder, text):
    tokenizer = Tokenizer.from_file(folder + "/tokenizer.json")
    config = json.load(open(folder + "/config.json"))
    ids = [config.get("bos_token_id") or 0] + tokenizer.encode(open(text).read()).ids
    count = (len(ids) - 1) // TOKENS
    all_of_them = [torch.tensor(ids[i * TOKENS : (i + 1) * TOKENS + 1]) for i in range(count)]
    judged = max(count // 10, 1)
    return all_of_them[:-judged], all_of_them[-judged:][:WINDOWS]


def loss(model, window):
    return torch.nn.functional.cross_entropy(model(window[None, :-1]).logits[0], window[1:])


@torch.no_grad()
def report(name, model, held_out):
    mean = sum(loss(model, window).item() for window in held_out) / len(held_out)
    print(f"{name:<24}loss {mean:.4f}  perplexity {math.exp(mean):.3f}", flush=True)
    return mean


def train(model, texts, start):
    model = PeftModel.from_pretrained(model, start, is_trainable=True)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.0)
    for step in range(STEPS):
        up = (step + 1) / (WARM_UP + 1) if step < WARM_UP else 1.0
        down = (STEPS - step) / (STEPS - WARM_UP) if step >= WARM_UP else 1.0
        for group in optimiser.param_groups:
            group["lr"] = RATE * up * down
        optimiser.zero_grad()
        loss(model, texts[step % len(texts)]).backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimiser.step()
    return model


def rounded(rows):
    """Rows of 8 bits: the scale in 16 bits, rounded so that 127 of it reach the largest, halves away from zero."""
    most = rows.abs().amax(1).numpy()
    scale = (most / np.float32(127)).astype(np.float16)
    up = np.nextafter(scale, np.float16(np.inf))
    scale = np.where(scale.astype(np.float32) * np.float32(127) < most, up, scale).astype(np.float32)
    scale = torch.from_numpy(scale)[:, None]
    q = torch.where(scale > 0, rows / scale, 0.0)
    q = torch.sign(q) * torch.floor(q.abs() + 0.5)
    return q.clamp(-127, 127) * scale


def as_in_the_image(model):
    """Rounds rows in place: of a matrix its own, of the FFN's last one its columns, which are neurons'."""
    done = set()
    for name, p in model.named_parameters():
        if p.dim() == 2 and p.data_ptr() not in done:
            done.add(p.data_ptr())
            columns = name.endswith(("down_proj.weight", "fc2.weight"))
            p.data = rounded(p.data.T).T.contiguous() if columns else rounded(p.data)
        elif name.endswith(("_proj.bias", "fc1.bias")):
            p.data = p.data.half().float()
    return model


@torch.no_grad()
def compare(folder, adapters, file):
    file = load_file(file)
    apart = []
    for name, change in (("rows as in the image", as_in_the_image), ("the model as it is", lambda model: model)):
        model = change(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32))
        before = model(file["tokens"][None]).logits[0]
        model = PeftModel.from_pretrained(model, adapters).eval()
        logits = model(file["tokens"][None]).logits[0]
        apart.append((logits - file["logits"]).abs().max().item())
        print(
            f"{name:<24}{logits.shape[0]} x {logits.shape[1]} logits up to {logits.abs().max():.1f}: at most {apart[-1]:.2e} "
            f"apart; without the adapters {(before - file['logits']).abs().max():.2e}"
        )
    sys.exit(apart[0] > 1e-3)


def main():
    torch.set_num_threads(1)
    if len(sys.argv) == 4:
        compare(*sys.argv[1:])
    folder, adapters, text, start = sys.argv[1:]
    texts, held_out = windows(folder, text)
    fresh = lambda: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    report("model", fresh(), held_out)
    ours = report("with FOLDER's adapters", PeftModel.from_pretrained(fresh(), adapters), held_out)
    theirs = report("trained here", train(fresh(), texts, start), held_out)
    print(f"perplexity {100 * (math.exp(ours - theirs) - 1):+.2f} % beside what PyTorch trains")


main()
