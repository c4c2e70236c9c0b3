#!/usr/bin/env python3
"""The problems of `tkbench dot` in PyTorch, beside our figures: needs a Python with torch, and
nothing of this project needs it.

    bench_torch.py [--tkbench build/bin/tkbench] [--rounds 3] [--threads N] [--json FILE] [WORD...]

Ours and theirs take turns, round by round, with the same number of threads; a figure is the median
over the rounds, and so is the ratio. WORDs select measurements by part of their name.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import tempfile
import time

import torch
import torch.nn.functional as F

BATCH, HEADS, LENGTH, DIM = 4, 8, 2048, 64
DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}


def seconds_of(once, least=0.2, samples=3):
    """The median of a few; short ones many times a sample."""
    once()
    start = time.perf_counter()
    once()
    turns = max(1, int(least / samples / max(time.perf_counter() - start, 1e-6)))
    taken = []
    for _ in range(samples):
        start = time.perf_counter()
        for _ in range(turns):
            once()
        taken.append((time.perf_counter() - start) / turns)
    return statistics.median(taken)


def attention(name):
    """Operations, and what to time: forward, or backward of one forward."""
    backward, causal = "backward" in name, "causal" in name
    dtype = DTYPES[next(word for word in name.replace(",", "").split() if word in DTYPES)]
    shape = (BATCH, HEADS, LENGTH, DIM)
    q, k, v, grad = (torch.rand(shape).mul(2).sub(1).to(dtype) for _ in range(4))
    product = 2.0 * BATCH * HEADS * DIM * LENGTH**2 / (2 if causal else 1)
    if not backward:
        return 2 * product, lambda: F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    inputs = [tensor.requires_grad_() for tensor in (q, k, v)]
    out = F.scaled_dot_product_attention(*inputs, is_causal=causal)
    return 5 * product, lambda: torch.autograd.grad(out, inputs, grad, retain_graph=True)


def matmul(name):
    side, dtype = 2048, DTYPES.get(name.split()[-1])
    if dtype is None:
        a, b = (torch.randint(-127, 128, (side, side), dtype=torch.int8) for _ in range(2))
        return 2.0 * side**3, lambda: torch._int_mm(a, b)
    a, b = (torch.rand(side, side).mul(2).sub(1).to(dtype) for _ in range(2))
    return 2.0 * side**3, lambda: a @ b


def linear(name):
    rows, inner, outer = map(int, name.split()[-1].split("x"))
    x, w = torch.rand(rows, inner), torch.rand(outer, inner)
    operations = 2.0 * rows * inner * outer
    if "backward" not in name:
        return operations, lambda: F.linear(x, w)
    y = F.linear(x.requires_grad_(), w.requires_grad_())
    grad = torch.rand_like(y)
    return 2 * operations, lambda: torch.autograd.grad(y, (x, w), grad, retain_graph=True)


def theirs(name):
    """GFLOP/s of a measurement's problem, or None for those that are not here."""
    for word, make in (("attention", attention), ("matmul", matmul), ("linear", linear)):
        if name.startswith(word):
            operations, once = make(name)
            return operations / seconds_of(once) / 1e9
    return None


def ours(tkbench, threads, suite):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "report.json")
        command = [tkbench, suite, "--quick", "--json", path]
        environment = dict(os.environ, TKC_NUM_THREADS=str(threads))
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
        with open(path) as report:
            return {result["name"]: result for result in json.load(report)["results"]}


def measure(options):
    rounds = []
    for number in range(options.rounds):
        print(f"round {number + 1} of {options.rounds}", flush=True)
        mine = ours(options.tkbench, options.threads, options.suite)
        names = [n for n in mine if all(word in n for word in options.words)]
        rounds.append({n: (mine[n], theirs(n)) for n in names})
    results = []
    for name, (first, known) in rounds[0].items():
        if known is None:
            continue
        pairs = [(r[name][0]["median"], r[name][1]) for r in rounds]
        result = {"name": name, "unit": first["unit"],
                  "ours": statistics.median(p[0] for p in pairs),
                  "theirs": statistics.median(p[1] for p in pairs),
                  "ratio": statistics.median(p[0] / p[1] for p in pairs)}
        if "peak" in first:
            result["peak"] = statistics.median(r[name][0]["peak"] for r in rounds)
        results.append(result)
    return results


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("words", nargs="*", metavar="WORD")
    parser.add_argument("--tkbench", default="build/bin/tkbench")
    parser.add_argument("--suite", default="dot")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    results = measure(options)
    print(f"PyTorch {torch.__version__}, {options.threads} threads, {platform.machine()}")
    print(f"{'measurement':33} {'ours':>9} {'PyTorch':>9} {'ours/PyTorch':>12} {'of peak':>8}")
    for r in results:
        share = f"{100 * r['ours'] / r['peak']:.0f} %" if "peak" in r else ""
        print(f"{r['name']:33} {r['ours']:9.4g} {r['theirs']:9.4g} {r['ratio']:12.2f} {share:>8}"
              f"  {r['unit']}")
    if options.json:
        report = {"torch": torch.__version__, "threads": options.threads,
                  "machine": platform.machine(), "rounds": options.rounds, "results": results}
        with open(options.json, "w") as file:
            json.dump(report, file, indent=1)


if __name__ == "__main__":
    main()
