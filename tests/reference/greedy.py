#!/usr/bin/env python3
"""Greedy continuations of third-party models, for the goldens in tests/fixtures/greedy-*.json.

    greedy.py stories260K.bin tok512.bin > greedy-stories260K.json
    greedy.py SmolLM2-135M-Instruct.Q4_1.gguf > greedy-smollm2.json

Written to be compared with, not to be fast: float64 on the float32 weights, every neuron, rotary
positions of neighbouring numbers as both formats store them. Needs numpy; for GGUF also the `gguf`
package, whose dequantisation it uses, and `xllamacpp` (llama.cpp itself), whose tokenizer it uses; for
llama2.c files the merging of its `run.c` is written out below. Neither shares code with this project.
"""

import json
import struct
import sys
import urllib.request

import numpy as np

COUNT = 64


class Model:
    """Weights by llama.cpp's names, and a step of one token."""

    def __init__(self, tensors, dim, layers, heads, kv_heads, eps, theta):
        self.t, self.layers, self.heads, self.kv_heads = tensors, layers, heads, kv_heads
        self.eps, self.head_dim = eps, dim // heads
        self.frequencies = theta ** (-np.arange(0, self.head_dim, 2) / self.head_dim)
        self.keys = [[] for _ in range(layers)]
        self.values = [[] for _ in range(layers)]

    def norm(self, x, weight):
        return x / np.sqrt(np.mean(x * x) + self.eps) * weight

    def rotate(self, x, position):
        x = x.reshape(-1, self.head_dim // 2, 2)
        cos, sin = np.cos(position * self.frequencies), np.sin(position * self.frequencies)
        a, b = x[..., 0], x[..., 1]
        return np.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(-1, self.head_dim)

    def step(self, token):
        t = self.t
        x = t["token_embd"][token].astype(np.float64)
        for i in range(self.layers):
            w = lambda name: t[f"blk.{i}.{name}"]
            h = self.norm(x, w("attn_norm"))
            position = len(self.keys[i])
            q = self.rotate(w("attn_q") @ h, position)
            self.keys[i].append(self.rotate(w("attn_k") @ h, position))
            self.values[i].append((w("attn_v") @ h).reshape(-1, self.head_dim))
            keys, values = np.stack(self.keys[i]), np.stack(self.values[i])
            out = []
            for head in range(self.heads):
                kv = head // (self.heads // self.kv_heads)
                scores = keys[:, kv] @ q[head] / np.sqrt(self.head_dim)
                scores = np.exp(scores - scores.max())
                out.append((scores / scores.sum()) @ values[:, kv])
            x = x + w("attn_output") @ np.concatenate(out)
            h = self.norm(x, w("ffn_norm"))
            gate = w("ffn_gate") @ h
            x = x + w("ffn_down") @ (gate / (1 + np.exp(-gate)) * (w("ffn_up") @ h))
        return t.get("output", t["token_embd"]) @ self.norm(x, t["output_norm"])


def greedy(make, prompt):
    model, ids = make(), []
    for token in prompt:
        logits = model.step(token)
    margin = np.inf
    for _ in range(COUNT):
        best = np.sort(logits)
        margin = min(margin, best[-1] - best[-2])
        ids.append(int(np.argmax(logits)))
        logits = model.step(ids[-1])
    return ids, float(margin)


def llama2c(path, tokenizer):
    data = open(path, "rb").read()
    dim, hidden, layers, heads, kv_heads, vocab, context = struct.unpack("7i", data[:28])
    shared, vocab = vocab > 0, abs(vocab)
    floats, at = np.frombuffer(data, np.float32, offset=28), 0

    def take(*shape):
        nonlocal at
        count = int(np.prod(shape))
        at += count
        return floats[at - count : at].reshape(shape).astype(np.float64)

    kv_dim = dim // heads * kv_heads
    t = {"token_embd": take(vocab, dim)}
    parts = [("attn_norm", (dim,)), ("attn_q", (dim, dim)), ("attn_k", (kv_dim, dim)), ("attn_v", (kv_dim, dim))]
    parts += [("attn_output", (dim, dim)), ("ffn_norm", (dim,)), ("ffn_gate", (hidden, dim))]
    parts += [("ffn_down", (dim, hidden)), ("ffn_up", (hidden, dim))]
    for name, shape in parts:
        for i, tensor in enumerate(take(layers, *shape)):
            t[f"blk.{i}.{name}"] = tensor
    t["output_norm"] = take(dim)
    take(context * (dim // heads))
    if not shared:
        t["output"] = take(vocab, dim)
    assert at == len(floats)

    data, at = open(tokenizer, "rb").read(), 4
    pieces, scores = [], []
    for _ in range(vocab):
        score, length = struct.unpack("fi", data[at : at + 8])
        pieces.append(data[at + 8 : at + 8 + length])
        scores.append(score)
        at += 8 + length

    def encode(text):
        ids = [pieces.index(b" ")] if text else []
        for char in text:
            raw = char.encode()
            ids += [pieces.index(raw)] if raw in pieces else [byte + 3 for byte in raw]
        while True:
            best = (-1e10, None, None)
            for i in range(len(ids) - 1):
                joined = pieces[ids[i]] + pieces[ids[i + 1]]
                if joined in pieces and scores[pieces.index(joined)] > best[0]:
                    best = (scores[pieces.index(joined)], i, pieces.index(joined))
            if best[1] is None:
                return [1] + ids
            ids[best[1] : best[1] + 2] = [best[2]]

    return lambda: Model(t, dim, layers, heads, kv_heads, 1e-5, 10000.0), encode


def gguf(path):
    from gguf import GGUFReader, dequantize
    import xllamacpp

    reader = GGUFReader(path)
    field = lambda key: reader.fields[key].contents()
    t = {}
    for tensor in reader.tensors:
        values = dequantize(tensor.data, tensor.tensor_type).reshape(tensor.shape[::-1])
        t[tensor.name.removesuffix(".weight")] = values.astype(np.float64)
    dim, layers = field("llama.embedding_length"), field("llama.block_count")
    heads, kv_heads = field("llama.attention.head_count"), field("llama.attention.head_count_kv")
    eps, theta = field("llama.attention.layer_norm_rms_epsilon"), field("llama.rope.freq_base")
    params = xllamacpp.CommonParams()
    params.model.path, params.n_ctx = path, 256
    server = xllamacpp.Server(params)

    def encode(text):
        body = json.dumps({"content": text, "add_special": False}).encode()
        request = urllib.request.Request(f"{server.listening_address}/tokenize", body, {"Content-Type": "application/json"})
        begin = [field("tokenizer.ggml.bos_token_id")] if field("tokenizer.ggml.add_bos_token") else []
        return begin + json.load(urllib.request.urlopen(request, timeout=10))["tokens"]

    return lambda: Model(t, dim, layers, heads, kv_heads, eps, theta), encode


PROMPTS = ["", "Once upon a time", "The cat's toy, it's 25 years old.", "Zoë  said: \"naïve\"\n\n\tno 😀 7"]

make, encode = llama2c(*sys.argv[1:]) if len(sys.argv) == 3 else gguf(sys.argv[1])
rows = []
for prompt in PROMPTS:
    ids = encode(prompt)
    if not ids:
        # Nothing is in front of a text of this model, and nothing in it.
        continue
    after, margin = greedy(make, ids)
    rows.append({"prompt": prompt, "prompt_ids": ids, "greedy_ids": after, "least_margin": round(margin, 6)})
    print(prompt, margin, file=sys.stderr)
print("[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]")
