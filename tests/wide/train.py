#!/usr/bin/env python3
"""Trains `novel-broad`: an OPT model whose layers are wide enough that co-activation order can pay.

In: text files, their documents apart by `<|endoftext|>`. Out: a folder with `config.json`,
`model.safetensors` and `tokenizer.json`, which `ripple import` reads. The shape is d 256, 4 layers, FFN
4,096, 4 heads, vocabulary 4,096, context 256: 10.6 million weights, of which 8.4 are FFN. An L1 pull on the
activations makes them rare. It takes hours on one core: a checkpoint every fifty steps, from which the
same command goes on.

Needs torch, transformers, tokenizers, safetensors, numpy.
usage: train.py OUT TEXT...  [--steps N] [--l1 WEIGHT] [--threads N]
"""
import argparse
import math
import os
import time

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import OPTConfig, OPTForCausalLM

VOCABULARY, CONTEXT, BATCH, PEAK_RATE = 4096, 256, 16, 2e-3


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out")
    parser.add_argument("text", nargs="+")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--l1", type=float, default=4.0)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def tokens(texts, out):
    """The tokens of the training documents and, of every fiftieth document, of the validation ones."""
    documents = []
    for path in texts:
        with open(path, encoding="utf-8") as file:
            documents += [d.strip() for d in file.read().split("<|endoftext|>") if d.strip()]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(documents, trainer)
    tokenizer.save(f"{out}/tokenizer.json")
    encoded = [np.array([0] + e.ids, dtype=np.int64) for e in tokenizer.encode_batch(documents)]
    held = [e for i, e in enumerate(encoded) if i % 50 == 0]
    kept = [e for i, e in enumerate(encoded) if i % 50 != 0]
    return np.concatenate(kept), np.concatenate(held)


class CountedRelu(torch.nn.Module):
    """ReLU that remembers the mean of its outputs, and the share of them that is not zero."""

    def forward(self, x):
        y = F.relu(x)
        self.mean = y.float().mean()
        self.active = (y > 0).float().mean().detach()
        return y


def windows(stream, step, count):
    """Windows of `stream`, the same ones for the same step."""
    starts = np.random.default_rng(step).integers(0, len(stream) - CONTEXT - 1, count)
    rows = torch.from_numpy(np.stack([stream[s : s + CONTEXT + 1] for s in starts]))
    return rows[:, :-1], rows[:, 1:]


def loss_of(model, inputs, targets):
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = model(input_ids=inputs).logits
    return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def rate(step, steps):
    """A warm-up of a hundred steps, three tenths of all at the peak, then half a cosine."""
    done = step / steps
    fall = 1.0 if done < 0.3 else max(0.02, 0.5 * (1 + math.cos(math.pi * (done - 0.3) / 0.7)))
    return PEAK_RATE * min(1, (step + 1) / 100) * fall


def main():
    a = arguments()
    os.makedirs(a.out, exist_ok=True)
    torch.manual_seed(0)
    torch.set_num_threads(a.threads)
    train, held = tokens(a.text, a.out)
    config = OPTConfig(
        vocab_size=VOCABULARY, hidden_size=256, word_embed_proj_dim=256, ffn_dim=4096, num_hidden_layers=4,
        num_attention_heads=4, activation_function="relu", max_position_embeddings=CONTEXT, dropout=0.0,
        bos_token_id=0, eos_token_id=0, pad_token_id=1, do_layer_norm_before=True, tie_word_embeddings=True,
    )
    model = OPTForCausalLM(config)
    relus = []
    for module in model.modules():
        if hasattr(module, "activation_fn") and hasattr(module, "fc1"):
            module.activation_fn = CountedRelu()
            relus.append(module.activation_fn)
    decayed = [p for p in model.parameters() if p.dim() >= 2]
    others = [p for p in model.parameters() if p.dim() < 2]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}],
        lr=PEAK_RATE, betas=(0.9, 0.95),
    )
    checkpoint, first = f"{a.out}/checkpoint.pt", 0
    if os.path.exists(checkpoint):
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["step"]
    print(f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f} M weights, {len(train)} tokens, from step {first}", flush=True)

    def save(step):
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, checkpoint + ".new")
        os.replace(checkpoint + ".new", checkpoint)
        weights = {k: v.to(torch.float16).clone() for k, v in model.state_dict().items() if k != "lm_head.weight"}
        save_file(weights, f"{a.out}/model.safetensors", metadata={"format": "pt"})
        config.architectures = ["OPTForCausalLM"]
        config.save_pretrained(a.out)

    began = time.time()
    for step in range(first, a.steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, a.steps)
        loss = loss_of(model, *windows(train, step, BATCH))
        pull = a.l1 * min(1, max(0, (step / a.steps - 0.1) / 0.4))
        (loss + pull * sum(r.mean for r in relus) / len(relus)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 50 == 0 or step + 1 == a.steps:
            model.eval()
            with torch.no_grad():
                seen = loss_of(model, *windows(held, 7, 16)).item()
            shares = " ".join(f"{100 * r.active:.1f}" for r in relus)
            model.train()
            save(step + 1)
            print(f"step {step + 1}: training {loss.item():.3f}, held out {seen:.3f}, active % {shares}, {time.time() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()
