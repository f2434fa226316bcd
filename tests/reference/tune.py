#!/usr/bin/env python3
"""Gradients of adapters by automatic differentiation, for the goldens in tests/fixtures/tune-*.safetensors.

    tune.py FOLDER

Random models of a few thousand weights, which lie on the grid that rows in 8 bits have, so that packing
loses nothing. Each file has the weights (`*.q` integers and `*.s` scales, or floats), adapters, tokens, the
loss, and the gradients of the adapters, in float64: with all tokens in attention (`grad.*`), with the
first and the latest blocks of 4 alone in every layer but the first (`kept.*`), and through 8 of the 20 neurons
of a layer alone, chosen by the lengths of their columns (`length.*`) or by how much of the gradient goes
through them (`slope.*`). Needs torch and safetensors; shares no code with this project.
"""

import sys

import numpy as np
import torch
from safetensors.torch import save_file

DIM, LAYERS, NEURONS, HEADS, KV_HEADS, HEAD_DIM = 16, 3, 20, 4, 2, 8
VOCAB, CONTEXT, TOKENS, RANK, ALPHA, BLOCK = 520, 32, 21, 2, 6.0, 4
COLUMNS = 8
EPS = float(np.float32(1e-5))
QUERY, KV = HEADS * HEAD_DIM, KV_HEADS * HEAD_DIM


class Maker:
    def __init__(self, seed):
        self.random, self.saved = np.random.default_rng(seed), {}

    def rows(self, name, rows, cols, size):
        """Rows of 8-bit numbers, the largest of each 127, times a scale of 16 bits."""
        q = self.random.integers(-126, 127, (rows, cols), dtype=np.int8)
        q[np.arange(rows), self.random.integers(0, cols, rows)] = 127
        s = np.float16(size / 127 * self.random.uniform(0.5, 1.5, rows))
        self.saved[name + ".q"], self.saved[name + ".s"] = torch.from_numpy(q), torch.from_numpy(np.float32(s))
        return torch.from_numpy(q.astype(np.float64) * s.astype(np.float64)[:, None])

    def floats(self, name, shape, size, middle=0.0, half=False):
        x = middle + size * self.random.uniform(-1, 1, shape)
        x = np.float32(np.float16(x)) if half else np.float32(x)
        self.saved[name] = torch.from_numpy(x)
        return torch.from_numpy(x.astype(np.float64))


def build(kind, seed):
    m, opt = Maker(seed), kind == "opt"
    w = {"embed": m.rows("embed", VOCAB, DIM, 1.0)}
    w["head"] = m.rows("head", VOCAB, DIM, 1.0) if opt else w["embed"]
    if opt:
        w["positions"] = m.rows("positions", CONTEXT, DIM, 0.3)
    norm = lambda n: (m.floats(n + ".weight", DIM, 0.5, 1.0), m.floats(n + ".bias", DIM, 0.1) if opt else None)
    bias = lambda n, size: m.floats(n + ".bias", size, 0.2, half=True) if opt else 0.0
    w["norm"] = norm("norm")
    for l in range(LAYERS):
        p = f"{l}."
        w[p + "n1"], w[p + "n2"] = norm(p + "n1"), norm(p + "n2")
        for name, out, inp in (("q", QUERY, DIM), ("k", KV, DIM), ("v", KV, DIM), ("o", DIM, QUERY)):
            w[p + name] = (m.rows(p + name, out, inp, 0.6), bias(p + name, out))
        if not opt:
            w[p + "gate"] = (m.rows(p + "gate", NEURONS, DIM, 0.6), 0.0)
        w[p + "up"] = (m.rows(p + "up", NEURONS, DIM, 0.6), bias(p + "up", NEURONS))
        # A row for each neuron: the column of the down matrix.
        w[p + "down"] = m.rows(p + "down", NEURONS, DIM, 0.6)
        w[p + "down.bias"] = m.floats(p + "down.bias", DIM, 0.2) if opt else 0.0
        for name, out, inp in (("q", QUERY, DIM), ("k", KV, DIM), ("v", KV, DIM), ("o", DIM, QUERY)):
            for part, shape in (("A", (RANK, inp)), ("B", (out, RANK))):
                w[f"{l}.{name}.{part}"] = m.floats(f"adapter.{l}.{name}.{part}", shape, 0.3).requires_grad_()
    ids = m.random.integers(0, VOCAB, TOKENS + 1)
    m.saved["tokens"] = torch.from_numpy(ids.astype(np.int32))
    return m, w, torch.from_numpy(ids)


def act(kind, x):
    if kind == "silu":
        return torch.nn.functional.silu(x)
    if kind == "gelu":
        return torch.nn.functional.gelu(x, approximate="tanh")
    return torch.relu(x)


def columns(kind, w, l, first, second, score):
    """Which neurons the gradient goes through, of the layer's first-row outputs and a gated neuron's second."""
    with torch.enable_grad():
        x = first.detach().requires_grad_()
        a = act(kind, x)
        (slope,) = torch.autograd.grad(a.sum(), x)
    a = a.detach()
    square = lambda rows: rows.square().sum(1)
    down, up = square(w[f"{l}.down"]), square(w[f"{l}.up"][0])
    if kind == "opt":
        s = a.norm(dim=0) if score == "length" else (down * up * slope.square().sum(0)).sqrt()
    elif score == "length":
        s = first.norm(dim=0) + second.norm(dim=0) + a.norm(dim=0)
    else:
        gate = square(w[f"{l}.gate"][0])
        s = (down * (gate * (second * slope).square().sum(0) + up * a.square().sum(0))).sqrt()
    mask = torch.zeros(NEURONS, dtype=torch.bool)
    mask[s.topk(COLUMNS).indices] = True
    return mask


def loss(kind, w, ids, kept, score=None):
    opt = kind == "opt"
    scale = ALPHA / RANK

    def norm(x, nb):
        if opt:
            return torch.nn.functional.layer_norm(x, (DIM,), nb[0], nb[1], EPS)
        return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + EPS) * nb[0]

    def lin(x, l, name):
        weight, bias = w[f"{l}.{name}"]
        y = x @ weight.T + bias
        if name in "qkvo":
            y = y + scale * (x @ w[f"{l}.{name}.A"].T) @ w[f"{l}.{name}.B"].T
        return y

    def heads(x, pos, count):
        x = x.view(len(pos), count, HEAD_DIM)
        if opt:
            return x
        f = torch.from_numpy(np.float32(10000.0 ** (-np.arange(0, HEAD_DIM, 2) / HEAD_DIM)).astype(np.float64))
        a = pos.double()[:, None] * f
        c, s = a.cos()[:, None], a.sin()[:, None]
        x0, x1 = x[..., : HEAD_DIM // 2], x[..., HEAD_DIM // 2 :]
        return torch.cat([x0 * c - x1 * s, x1 * c + x0 * s], -1)

    x = w["embed"][ids[:-1]]
    if opt:
        x = x + w["positions"][:TOKENS]
    for l in range(LAYERS):
        pos = torch.arange(TOKENS) if kept is None or l == 0 else kept
        n = norm(x[pos], w[f"{l}.n1"])
        q, k = heads(lin(n, l, "q"), pos, HEADS), heads(lin(n, l, "k"), pos, KV_HEADS)
        v = lin(n, l, "v").view(len(pos), KV_HEADS, HEAD_DIM)
        k, v = (t.repeat_interleave(HEADS // KV_HEADS, 1) for t in (k, v))
        z = torch.einsum("ihd,jhd->hij", q, k) / HEAD_DIM**0.5
        z = z.masked_fill(torch.triu(torch.ones(len(pos), len(pos), dtype=torch.bool), 1), -torch.inf)
        o = torch.einsum("hij,jhd->ihd", z.softmax(-1), v).reshape(len(pos), QUERY)
        x = x.index_add(0, pos, lin(o, l, "o"))
        n = norm(x, w[f"{l}.n2"])
        first, second = lin(n, l, "up" if opt else "gate"), None if opt else lin(n, l, "up")
        h = act(kind, first) if opt else act(kind, first) * second
        if score:
            h = torch.where(columns(kind, w, l, first.detach(), None if opt else second.detach(), score), h, h.detach())
        x = x + h @ w[f"{l}.down"] + w[f"{l}.down.bias"]
    return torch.nn.functional.cross_entropy(norm(x, w["norm"]) @ w["head"].T, ids[1:])


def main():
    torch.set_default_dtype(torch.float64)
    blocks = -(-TOKENS // BLOCK)
    keep = sorted({0, blocks - 1} | set(range(blocks - 1, blocks - 3, -1)))
    kept = torch.tensor([t for b in keep for t in range(b * BLOCK, min((b + 1) * BLOCK, TOKENS))])
    for kind, seed in (("relu", 1), ("opt", 2), ("silu", 3), ("gelu", 4)):
        m, w, ids = build(kind, seed)
        adapters = [n for n in w if n[-2:] in (".A", ".B")]
        for prefix, which, score in (("grad", None, None), ("kept", kept, None), ("length", None, "length"), ("slope", None, "slope")):
            for n in adapters:
                w[n].grad = None
            value = loss(kind, w, ids, which, score)
            value.backward()
            m.saved[prefix + ".loss"] = value.detach().reshape(1)
            for n in adapters:
                m.saved[f"{prefix}.{n}"] = w[n].grad
        save_file({k: v.contiguous() for k, v in m.saved.items()}, f"{sys.argv[1]}/tune-{kind}.safetensors")
        print(kind, float(value))


main()
