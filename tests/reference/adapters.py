#!/usr/bin/env python3
"""Checks adapters against transformers and PEFT, which share no code with this project.

    ripple tune IMAGE --text TEXT --tokens 128 --rank 4 -n 100 -o a.lora
    ripple adapter IMAGE a.lora --export FOLDER
    adapters.py MODEL FOLDER TEXT

Prints the loss on the windows that `ripple tune` holds out: of the model, of the model with the adapters in
FOLDER as PEFT loads them, and with adapters that PyTorch trains on the same windows, in another order and from
another beginning, with the command's defaults. Needs torch, transformers, peft, tokenizers.
"""

import json
import math
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from tokenizers import Tokenizer
from transformers import AutoModelForCausalLM

TOKENS, STEPS, RANK, RATE, WARM_UP, CLIP, WINDOWS = 128, 100, 4, 0.002, 5, 1.0, 16
MODULES = ["q_proj", "v_proj"]


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


def train(model, texts, seed):
    torch.manual_seed(seed)
    config = LoraConfig(r=RANK, lora_alpha=2 * RANK, target_modules=MODULES, lora_dropout=0.0)
    model = get_peft_model(model, config)
    weights = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(weights, lr=RATE, weight_decay=0.0)
    order = []
    for step in range(STEPS):
        order = order or torch.randperm(len(texts)).tolist()
        up = (step + 1) / (WARM_UP + 1) if step < WARM_UP else 1.0
        down = (STEPS - step) / (STEPS - WARM_UP) if step >= WARM_UP else 1.0
        for group in optimiser.param_groups:
            group["lr"] = RATE * up * down
        optimiser.zero_grad()
        loss(model, texts[order.pop()]).backward()
        torch.nn.utils.clip_grad_norm_(weights, CLIP)
        optimiser.step()
    return model


def main():
    torch.set_num_threads(1)
    folder, adapters, text = sys.argv[1:]
    texts, held_out = windows(folder, text)
    fresh = lambda: AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    report("model", fresh(), held_out)
    report("with FOLDER's adapters", PeftModel.from_pretrained(fresh(), adapters), held_out)
    for seed in (1, 2):
        report(f"trained here, seed {seed}", train(fresh(), texts, seed), held_out)


main()
