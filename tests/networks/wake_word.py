"""Wake words that others trained, through `ripple derive` and on the simulated card, against ONNX Runtime.

    python -m venv v && v/bin/pip install numpy onnx==1.23.2 onnxruntime==1.32.0
    RIPPLE=target/release/ripple v/bin/python tests/networks/wake_word.py > tests/networks/wake_word.txt

The models are those of the Python package openwakeword 0.4.0 (code Apache-2.0, models CC BY-NC-SA 4.0), which is
fetched with pip and not kept. What goes into a wake word is computed by the two models in front of it in the same
package, from sounds that are made here: tones, sweeps and noise. Half of the windows are what the program is
calibrated with, the other half what it is compared on. Models are cut before their last function, a sigmoid or
softmax, so that outputs are compared where they are not almost 0 or 1.
"""

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy
import onnx
import onnx.utils
import onnxruntime

PACKAGE = "openwakeword==0.4.0"
MODELS = ["alexa_v0.1", "weather_v0.1", "timer_v0.1"]
BOARD = "mps2-an386"
RIPPLE = os.environ.get("RIPPLE", "ripple")
WINDOWS = 24


def sounds(seconds, random):
    """Sound of 16 kHz: tones that glide, in and out of noise."""
    time = numpy.arange(int(16000 * seconds)) / 16000
    sound = random.normal(size=time.size) * 200
    for _ in range(int(6 * seconds)):
        begin, length = random.uniform(0, seconds), random.uniform(0.1, 0.8)
        pitch = random.uniform(90, 300) * numpy.exp(random.uniform(-0.5, 0.5) * (time - begin))
        window = numpy.clip((time - begin) * (begin + length - time) * 40 / length, 0, 1)
        phase = 2 * numpy.pi * numpy.cumsum(pitch) / 16000
        for harmonic in range(1, 12):
            sound += window * random.uniform(0, 6000) / harmonic * numpy.sin(harmonic * phase)
    return numpy.clip(sound, -32000, 32000).astype(numpy.float32)


def features(folder, seconds, random):
    """A row of 96 numbers for each 80 ms of sound."""
    run = lambda name: onnxruntime.InferenceSession(str(folder / name), providers=["CPUExecutionProvider"])
    spectrum, embedding = run("melspectrogram.onnx"), run("embedding_model.onnx")
    frames = spectrum.run(None, {"input": sounds(seconds, random)[None]})[0].squeeze() / 10 + 2
    windows = [frames[at : at + 76] for at in range(0, len(frames) - 76, 8)]
    rows = [embedding.run(None, {"input_1": window[None, :, :, None].astype(numpy.float32)})[0] for window in windows]
    return numpy.concatenate(rows).reshape(-1, 96)


def call(*line):
    done = subprocess.run([RIPPLE, *map(str, line)], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{line}: {done.stderr}")
    return done.stdout


def main():
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", name, PACKAGE]
        subprocess.run(pip, check=True)
        for wheel in folder.glob("*.whl"):
            zipfile.ZipFile(wheel).extractall(folder)
        models = folder / "openwakeword/resources/models"
        rows = features(models, 12, numpy.random.default_rng(1))
        print(f"{PACKAGE}, {WINDOWS} windows to calibrate with and {WINDOWS} others to compare, board {BOARD}")
        for model in MODELS:
            file = folder / f"{model}.onnx"
            whole = onnx.load(models / file.name).graph
            onnx.utils.extract_model(models / file.name, file, [whole.input[0].name], [whole.node[-1].input[0]])
            session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
            port = session.get_inputs()[0]
            length = port.shape[1]
            places = numpy.linspace(0, len(rows) - length, 2 * WINDOWS).astype(int)
            windows = numpy.stack([rows[at : at + length] for at in places]).astype(numpy.float32)
            numpy.save(folder / "calibrate.npy", windows[::2])
            plan = folder / f"{model}.plan"
            calibrated = ["--calibrate", folder / "calibrate.npy"]
            said = call("derive", file, "--board", BOARD, *calibrated, "-o", plan)
            operators = ", ".join(node.op_type for node in onnx.load(file).graph.node)
            print(f"\n{model}: input {port.shape}, output {session.get_outputs()[0].shape}: {operators}")
            print("  " + said.strip().splitlines()[-1].split(": ", 1)[1])
            found, expected = [], []
            for window in windows[1::2]:
                numpy.save(folder / "x.npy", window[None])
                call("program", plan, "--input", folder / "x.npy", "-o", folder / "y.npy")
                found.append(numpy.load(folder / "y.npy"))
                expected.append(session.run(None, {port.name: window[None]})[0])
                assert found[-1].shape == expected[-1].shape, (found[-1].shape, expected[-1].shape)
            off = numpy.abs(numpy.array(found) - numpy.array(expected))
            low, high = numpy.min(expected), numpy.max(expected)
            print(f"  outputs of ONNX Runtime from {low:.3f} to {high:.3f}")
            print(f"  differences: largest {off.max():.3f}, mean {off.mean():.3f}")
            if off.max() > 0.1 * (high - low):
                sys.exit(f"{model} is off")


main()
