#!/usr/bin/env python3
"""Makes the expected results of tests/conformance with Triton's own interpreter.

    python3 tools/conformance.py [FILE.tk[::KERNEL]]...

Needs the packages triton, numpy and ml_dtypes; only developers run it, the tests need none of them.
The interpreter does not compute in bfloat16 and does not round to it and to the 8-bit floats as the
compiler does: for those cases the results come from the formulas in OWN. Every kernel of
the given files (all, when none is given) is run for each of its `case` lines; tests/conformance/
README.md tells what they say.
"""
import importlib.util
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

os.environ["TRITON_INTERPRET"] = "1"

import ml_dtypes
import numpy as np
import triton
from triton.runtime import interpreter

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "conformance"
COUNT = 256

# our name: Triton's name, numpy's type for the bytes
TYPES = {
    "i1": ("i1", np.uint8), "i8": ("i8", np.int8), "i16": ("i16", np.int16),
    "i32": ("i32", np.int32), "i64": ("i64", np.int64), "u8": ("u8", np.uint8),
    "u16": ("u16", np.uint16), "u32": ("u32", np.uint32), "u64": ("u64", np.uint64),
    "f16": ("fp16", np.float16), "bf16": ("bf16", np.uint16), "f32": ("fp32", np.float32),
    "f64": ("fp64", np.float64), "f8e4m3": ("fp8e4nv", np.uint8), "f8e5m2": ("fp8e5", np.uint8),
}


class Array:
    """What the interpreter needs to know of a tensor."""

    def __init__(self, data, name):
        self.data, self.name = data, name

    def data_ptr(self):
        return self.data.ctypes.data


def no_copy(self, args, kwargs):
    return args, kwargs


def mangle(original):
    return lambda arg, *rest: "*" + TYPES[arg.name][0] if isinstance(arg, Array) else original(
        arg, *rest)


interpreter.GridExecutor._init_args_hst = no_copy
interpreter.GridExecutor._restore_args_dev = lambda *args, **kwargs: None
triton.runtime.jit.mangle_type = mangle(triton.runtime.jit.mangle_type)


def to_bfloat16(x):
    return x.astype(ml_dtypes.bfloat16).view(np.uint16)


def make_input(name, letter):
    """256 values of a type: some special, the rest random."""
    random = np.random.default_rng(sum(map(ord, name)) * 31 + ord(letter))
    kind = np.dtype(TYPES[name][1])
    if name == "i1":
        return random.integers(0, 2, COUNT).astype(kind)
    if name.startswith("f8"):
        finite = [b for b in range(256) if (b & 0x7F) < (0x7F if name == "f8e4m3" else 0x7C)]
        return random.permutation(np.array(finite + finite, kind)[:COUNT])
    if kind.kind in "iu" and name != "bf16":
        info = np.iinfo(kind)
        x = random.integers(max(info.min, -100), min(info.max, 120), COUNT)
        x[::7] = random.integers(info.min, info.max, x[::7].size, dtype=kind).astype(np.int64)
        return x.astype(kind)
    x = random.normal(size=COUNT) * 4
    x[:8] = [0.0, -0.0, 1.0, -1.0, 0.5, 2.75, -7.0, 3.0]
    return to_bfloat16(x) if name == "bf16" else x.astype(kind)


def cases(text):
    """(kernel, [line, ...]) of a file."""
    found, lines = [], []
    for line in text.splitlines():
        if line.startswith("# case:"):
            lines.append(line[7:].strip())
        elif match := re.match(r"def (\w+)\(", line):
            if lines:
                found.append((match[1], lines))
            lines = []
    return found


def run(kernel, line):
    match = re.fullmatch(r"(.*?)\s*-> (\w+)(?:\[(\d+)\])?(?: ulp (\d+))?", line)
    inputs = [Array(make_input(t, "abcdef"[i]), t) for i, t in enumerate(match[1].split())]
    out = Array(np.zeros(int(match[3] or COUNT), TYPES[match[2]][1]), match[2])
    if not own_result(kernel.__name__, line, inputs, out):
        kernel[(1, )](*inputs, out)
    return inputs, out


NARROW = {"bf16": ml_dtypes.bfloat16, "f8e4m3": ml_dtypes.float8_e4m3fn,
          "f8e5m2": ml_dtypes.float8_e5m2}


def square(x):
    return np.abs(x.reshape(16, 16))


def nonzero(y):
    return np.where(y == 0, 1, y)


# kernel: result in float32 (or wider) of inputs in float32, before it is rounded to the output
OWN = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "true_divide": lambda a, b: a / nonzero(b),
    "less": lambda a, b: a < b,
    "plus_one": lambda a: narrow(narrow(a + 1) + 1),
    "times_float": lambda a: a * np.float32(1.5),
    "maximum": np.maximum,
    "sum_rows": lambda a: square(a).sum(1),
    "cast": lambda a: a,
    "dot_half": lambda a, b: square(a) @ square(b),
}


def narrow(x):
    return x.astype(ml_dtypes.bfloat16).astype(np.float32)


def own_result(name, line, inputs, out):
    """Fills `out` by a formula of OWN when the case needs that; False when it does not."""
    types = [x.name for x in inputs] + [out.name]
    to_8_bit = out.name.startswith("f8")
    if name not in OWN or not ("bf16" in types or to_8_bit):
        return False
    values = [x.data.view(NARROW[x.name]) if x.name in NARROW else x.data for x in inputs]
    values = [x if x.dtype in (np.float64, np.float16) else x.astype(np.float32) for x in values]
    result = np.ravel(OWN[name](*values))
    if out.name in NARROW:
        out.data[:] = result.astype(NARROW[out.name]).view(out.data.dtype)
    else:
        out.data[:] = result
    return True


def save(path, data):
    path.parent.mkdir(exist_ok=True)
    np.save(path, data)


def main():
    wanted = sys.argv[1:] or [str(p) for p in sorted(FOLDER.glob("*.tk"))]
    bad = 0
    for item in wanted:
        path, _, only = item.partition("::")
        path = Path(path)
        with tempfile.TemporaryDirectory() as scratch:
            copy = Path(scratch) / (path.stem + "_.py")
            shutil.copy(path, copy)
            spec = importlib.util.spec_from_file_location(copy.stem, copy)
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            for name, lines in cases(path.read_text()):
                if only and name != only:
                    continue
                for number, line in enumerate(lines):
                    try:
                        inputs, out = run(getattr(module, name), line)
                    except Exception as error:  # say it and go on: the case is wrong
                        cause = error.__cause__ or error
                        print(f"{path.stem}::{name} ({line}): {cause!r}")
                        bad += 1
                        continue
                    for letter, x in zip("abcdef", inputs):
                        save(FOLDER / "data" / f"{x.name}-{letter}.npy", x.data)
                    save(FOLDER / "data" / f"{path.stem}-{name}-{number}.npy", out.data)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
