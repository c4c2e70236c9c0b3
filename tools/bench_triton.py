#!/usr/bin/env python3
"""The same kernel text in Triton's interpreter and on our devices, side by side: needs a Python with
torch and triton, and nothing of this project needs it.

    bench_triton.py [--tkc build/bin/tkc] [--repeat 5] [--json FILE]

Each kernel file is imported as a Triton module with TRITON_INTERPRET=1, and run by `tkc run` with
arguments of the same shapes on interp and cpu. Figures are medians; results are compared too.
"""
import argparse
import importlib.util
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TRITON_INTERPRET"] = "1"
import torch  # noqa: E402  the variable must be set before triton is imported
import triton  # noqa: E402

KERNELS = pathlib.Path(__file__).resolve().parent.parent / "kernels"


def load(name, folder):
    """kernels/NAME.tk as a Python module; the files it may import lie beside it."""
    for file in KERNELS.glob("*.tk"):
        shutil.copy(file, pathlib.Path(folder) / f"{file.stem}.py")
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(name, f"{folder}/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def vector_add(folder):
    n, block = 1 << 18, 1024
    x, y = torch.randn(n), torch.randn(n)
    out = torch.empty(n)
    kernel = load("vector_add", folder).vector_add
    words = [f"x=randn:f32[{n}]", f"y=randn:f32[{n}]", f"out=poison:f32[{n}]", f"n={n}"]
    return {"name": f"vector add, {n} f32", "words": ["vector_add.tk::vector_add", "--grid",
                                                      str(n // block), *words],
            "once": lambda: kernel[(n // block,)](x, y, out, n, BLOCK=block),
            "right": lambda: torch.equal(out, x + y)}


def softmax_rows(folder):
    """A plain softmax of our own, one program a row: small enough to read here."""
    source = pathlib.Path(folder) / "rows_once.py"
    source.write_text('''import triton
import triton.language as tl


@triton.jit
def rows_once(x: "*fp32:16", y: "*fp32:16", columns: "i32", BLOCK: tl.constexpr = 1024):
    row = tl.program_id(0) * columns
    index = tl.arange(0, BLOCK)
    inside = index < columns
    value = tl.load(x + row + index, mask=inside, other=float("-inf"))
    weight = tl.exp(value - tl.max(value, axis=0))
    tl.store(y + row + index, weight / tl.sum(weight, axis=0), mask=inside)
''')
    spec = importlib.util.spec_from_file_location("rows_once", source)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    rows, columns = 256, 1000
    x, y = torch.randn(rows, columns), torch.empty(rows, columns)
    words = [f"x=randn:f32[{rows},{columns}]", f"y=poison:f32[{rows},{columns}]",
             f"columns={columns}"]
    return {"name": f"softmax, {rows} x {columns} f32",
            "words": [f"{source}::rows_once", "--grid", str(rows), *words],
            "once": lambda: module.rows_once[(rows,)](x, y, columns, BLOCK=1024),
            "right": lambda: torch.allclose(y, torch.softmax(x, -1), atol=1e-6)}


def seconds_of(once, repeat):
    once()
    taken = []
    for _ in range(repeat):
        start = time.perf_counter()
        once()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def ours(options, problem, device):
    command = [options.tkc, "run", *problem["words"], "--device", device, "--repeat",
               str(10 * options.repeat), "--json", "-"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return json.loads(text[text.index("{"):])["launches"][0]["median_ms"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tkc", default="build/bin/tkc")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--json")
    options = parser.parse_args()
    options.tkc = os.path.abspath(options.tkc)
    results = []
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(KERNELS)
        for make in (vector_add, softmax_rows):
            problem = make(folder)
            theirs = 1e3 * seconds_of(problem["once"], options.repeat)
            if not problem["right"]():
                sys.exit(f"{problem['name']}: Triton's interpreter computes something else")
            results.append({"name": problem["name"], "triton_interpreter_ms": theirs,
                            "interp_ms": ours(options, problem, "interp"),
                            "cpu_ms": ours(options, problem, "cpu")})
    print(f"Triton {triton.__version__}")
    print(f"{'kernel':28} {'Triton, ms':>11} {'interp, ms':>11} {'cpu, ms':>9} {'interp':>9} {'cpu':>9}")
    for r in results:
        theirs = r["triton_interpreter_ms"]
        print(f"{r['name']:28} {theirs:11.4g} {r['interp_ms']:11.4g} {r['cpu_ms']:9.4g}"
              f" {theirs / r['interp_ms']:8.0f}x {theirs / r['cpu_ms']:8.0f}x")
    if options.json:
        with open(options.json, "w") as file:
            json.dump({"triton": triton.__version__, "results": results}, file, indent=1)


if __name__ == "__main__":
    main()
