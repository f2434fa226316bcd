#!/usr/bin/env python3
"""Tokens a second of llama.cpp on one thread, in CPU time, as kernel/benches/tokens.rs measures an image.

    pip install xllamacpp==2026.10.11549 gguf numpy
    tests/reference/llama_cpp.py MODEL.gguf           # a prompt of 128 tokens, then 64 one by one
    tests/reference/llama_cpp.py IN.gguf --q8 OUT.gguf    # first writes the model again with Q8_0 matrices

Nothing of it is needed to build or test the repository.
"""

import sys
import time


def write_q8(source, target):
    """Copies a GGUF file; matrices become Q8_0, other tensors f32."""
    import gguf
    import numpy as np

    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, reader.fields["general.architecture"].contents())
    for key, field in reader.fields.items():
        if key.startswith("GGUF.") or key == "general.architecture":
            continue
        kind = field.types[0]
        of = field.types[1] if kind == gguf.GGUFValueType.ARRAY else None
        value = 7 if key == "general.file_type" else field.contents()
        writer.add_key_value(key, value, kind, of)
    q8 = gguf.GGMLQuantizationType.Q8_0
    for tensor in reader.tensors:
        numbers = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        if numbers.ndim == 2 and numbers.shape[-1] % 32 == 0:
            writer.add_tensor(tensor.name, gguf.quants.quantize(numbers, q8), raw_dtype=q8)
        else:
            writer.add_tensor(tensor.name, numbers)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def measure(path, prompt=128, tokens=64, turns=5):
    """The least CPU time of five turns."""
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_parallel, params.n_batch, params.n_ubatch = 512, 1, prompt, prompt
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    server = xllamacpp.Server(params)
    ids = [(i * 7919 + 13) % 49152 for i in range(prompt)]

    def taken(count):
        start = time.process_time()
        request = {"prompt": ids, "n_predict": count, "temperature": 0}
        server.handle_completions(request | {"cache_prompt": False, "ignore_eos": True})
        return time.process_time() - start

    before, after = [], []
    for _ in range(turns):
        first = taken(1)
        before.append(first)
        after.append(taken(1 + tokens) - first)
    print(f"{path}: prompt {prompt / min(before):.1f} tokens/s, then {tokens / min(after):.1f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case [model]:
            measure(model)
        case [model, "--q8", target]:
            write_q8(model, target)
            measure(target)
        case _:
            sys.exit(__doc__)
