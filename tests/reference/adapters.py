#!/usr/bin/env python3
"""Checks adapters against transformers and PEFT, which share no code with this project.

    ripple tune IMAGE --text TEXT --tokens 128 --rank 4 -n 100 --in-order -o a.lora
    ripple adapter IMAGE a.lora --export FOLDER
    ripple tune IMAGE --text TEXT --tokens 128 --rank 4 -n 1 --rate 0 -o start.lora
    ripple adapter IMAGE start.lora --export START
    adapters.py MODEL FOLDER TEXT START

Prints the loss on the windows that `ripple tune` holds out: of the model, of the model with the adapters in
FOLDER as PEFT loads them, and with adapters that PyTorch trains on the same windows in the same order from the
same beginning, START, with the command's defaults; and how far the last two are apart. The model is that of
MODEL in float32, which the image has in rows of 8 bits. Needs torch, transformers, peft, tokenizers.
"""

import json
import math
import sys

import torch
from peft import PeftModel
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


def main():
    torch.set_num_threads(1)
    folder, adapters, text, start = sys.argv[1:]
    texts, held_out = windows(folder, text)
    fresh = lambda: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    report("model", fresh(), held_out)
    ours = report("with FOLDER's adapters", PeftModel.from_pretrained(fresh(), adapters), held_out)
    theirs = report("trained here", train(fresh(), texts, start), held_out)
    print(f"perplexity {100 * (math.exp(ours - theirs) - 1):+.2f} % beside what PyTorch trains")


main()
