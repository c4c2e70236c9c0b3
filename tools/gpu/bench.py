"""Times tkc's kernels on a GPU beside Triton (the same source, the same configuration), and beside
what PyTorch uses: cuBLAS, its attention kernels, its own softmax and add.

    bench.py BUNDLE TARGET REPORT.json SECONDS

All run in this process, in PyTorch's CUDA context and stream, on the same tensors, in turns; the
median of the turns is told. tkc's kernels are launched by libtkcrt from the PTX in the bundle. A
result that is not right is a failure: exit status 1.
"""
import ctypes
import importlib.util
import json
import math
import os
import statistics
import sys
import time

import torch
import torch.nn.functional as functional
import triton

ROUNDS = 15
ROUND_MS = 4.0


# ---- libtkcrt ------------------------------------------------------------------------------------

class Argument(ctypes.Structure):
    """tkc_argument."""
    _fields_ = [("kind", ctypes.c_int32), ("dtype", ctypes.c_int32), ("name", ctypes.c_char_p),
                ("value", ctypes.c_uint64), ("offset", ctypes.c_uint64)]


class Grid(ctypes.Structure):
    _fields_ = [("x", ctypes.c_int64), ("y", ctypes.c_int64), ("z", ctypes.c_int64)]


class DeviceOptions(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("adopt_current", ctypes.c_bool),
                ("cuda_context", ctypes.c_void_p)]


class Usage(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint32) for name in
                ("struct_size", "registers", "local_bytes", "shared_bytes", "programs",
                 "multiprocessors")]


ADDRESS, INT, FLOAT = 3, 4, 5  # tkc_argument_kind
I64, F32 = 5, 15  # tkc_dtype


def argument(value):
    if isinstance(value, torch.Tensor):
        return Argument(ADDRESS, 0, None, value.data_ptr(), 0)
    if isinstance(value, float):
        bits = ctypes.c_uint64.from_buffer_copy(ctypes.c_double(value)).value
        return Argument(FLOAT, F32, None, bits, 0)
    return Argument(INT, I64, None, value & 0xffffffffffffffff, 0)


class Tkc:
    """The device of PyTorch's current context."""

    def __init__(self, bundle, target):
        self.folder = os.path.join(bundle, "ptx", target)
        self.library = ctypes.CDLL(os.path.join(bundle, "lib", "libtkcrt.so"))
        self.library.tkc_last_error.restype = ctypes.c_char_p
        self.library.tkc_launch.argtypes = [ctypes.c_void_p] * 3 + [
            Grid, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p]
        self.context, self.device = ctypes.c_void_p(), ctypes.c_void_p()
        self.check(self.library.tkc_context_create(None, ctypes.byref(self.context)))
        options = DeviceOptions(ctypes.sizeof(DeviceOptions), True, None)
        self.check(self.library.tkc_device_open_with(
            self.context, b"cuda", ctypes.byref(options), ctypes.byref(self.device)))

    def check(self, status):
        if status:
            raise RuntimeError(self.library.tkc_last_error().decode())

    def load(self, name):
        kernel = ctypes.c_void_p()
        path = os.path.join(self.folder, name + ".ptx").encode()
        self.check(self.library.tkc_kernel_load(self.context, path, None, ctypes.c_size_t(0),
                                                ctypes.byref(kernel)))
        self.check(self.library.tkc_kernel_prepare(kernel, self.device))
        return kernel

    def usage(self, kernel):
        usage = Usage(ctypes.sizeof(Usage))
        self.check(self.library.tkc_kernel_usage_on(kernel, self.device, ctypes.byref(usage)))
        return usage

    def launcher(self, kernel, grid, values):
        """A function that launches, on PyTorch's default stream."""
        arguments = (Argument * max(len(values), 1))(*[argument(value) for value in values])
        shape = Grid(*(tuple(grid) + (1, 1))[:3])
        launch, device, count = self.library.tkc_launch, self.device, len(values)

        def run():
            if launch(kernel, device, None, shape, arguments, count, None):
                self.check(1)
        return run


# ---- the list of kernels -------------------------------------------------------------------------

class Entry:
    """A line of kernels.list. `fixed` has what the signature fixes, by position."""

    def __init__(self, line):
        self.name, self.file, self.kernel, warps, stages, signature = line.split(";")
        self.warps, self.stages = int(warps), int(stages)
        self.fixed = {}
        items = [item.strip() for item in signature.split(",")] if signature else []
        self.count = len(items)
        for index, item in enumerate(items):
            literal = {"True": True, "False": False}.get(item)
            if literal is None and item.startswith('"'):
                literal = item[1:-1]
            if literal is None and item.lstrip("-").isdigit():
                literal = int(item)
            if literal is not None:
                self.fixed[index] = literal

    def all_values(self, values):
        """What Triton takes: run-time values and fixed ones, in order of the parameters."""
        given = iter(values)
        return [self.fixed[i] if i in self.fixed else next(given) for i in range(self.count)]


def read_list(bundle):
    with open(os.path.join(bundle, "kernels.list")) as file:
        lines = [line.rstrip("\n") for line in file]
    entries = [Entry(line) for line in lines if line and not line.startswith("#")]
    return {entry.name: entry for entry in entries}


def triton_kernel(bundle, entry):
    path = os.path.join(bundle, "kernels", entry.file + ".py")
    spec = importlib.util.spec_from_file_location("tkc_" + entry.file, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, entry.kernel)


# ---- timing --------------------------------------------------------------------------------------

def run_for(run, count):
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(count):
        run()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / count


def time_in_turns(runs):
    """Median milliseconds of each function, all of them measured in every round."""
    counts = {name: max(1, min(200, int(ROUND_MS / max(run_for(run, 3), 1e-3))))
              for name, run in runs.items()}
    samples = {name: [] for name in runs}
    for _ in range(ROUNDS):
        for name, run in runs.items():
            samples[name].append(run_for(run, counts[name]))
    return {name: statistics.median(times) for name, times in samples.items()}


def host_ns(run, launches=500, rounds=40):
    """Median time that a launch takes of the host."""
    samples = []
    for _ in range(rounds):
        torch.cuda.synchronize()
        start = time.perf_counter_ns()
        for _ in range(launches):
            run()
        samples.append((time.perf_counter_ns() - start) / launches)
    torch.cuda.synchronize()
    return statistics.median(samples)


# ---- the cases -----------------------------------------------------------------------------------
# Each gives: kernel of the list, grid, values, output tensor, reference, tolerance, amount and unit
# of work, and what else computes the same.

def rand(*shape, dtype=torch.float16):
    return torch.randn(*shape, device="cuda", dtype=dtype)


def case_vector_add(length):
    x, y = rand(length, dtype=torch.float32), rand(length, dtype=torch.float32)
    out = torch.full_like(x, math.nan)
    values = [x, y, out, length]
    return dict(kernel="vector_add", grid=(triton.cdiv(length, 1024),), values=values, out=out,
                reference=lambda: x + y, allowed=0.0, amount=12 * length / 1e9, unit="GB/s",
                others={"torch": lambda: torch.add(x, y, out=out)})


def case_softmax(rows, columns):
    x = rand(rows, columns, dtype=torch.float32)
    out = torch.full_like(x, math.nan)
    return dict(kernel=f"softmax_{columns}", grid=(rows,), values=[x, out, columns, 0, 0, columns, 0, 0, columns, rows],
                out=out, reference=lambda: torch.softmax(x.double(), -1), allowed=1e-5,
                amount=8 * rows * columns / 1e9, unit="GB/s",
                others={"torch": lambda: torch.softmax(x, -1)})


def case_matmul(kernel, m, n, k, block):
    a, b = rand(m, k), rand(k, n)
    out = torch.full((m, n), math.nan, device="cuda", dtype=torch.float16)
    grid = (triton.cdiv(m, block) * triton.cdiv(n, block),)
    return dict(kernel=kernel, grid=grid, values=[a, b, out, m, n, k, k, n, n], out=out,
                reference=lambda: a.float() @ b.float(), allowed=2e-3, amount=2 * m * n * k / 1e12,
                unit="TFLOP/s", others={"cublas": lambda: torch.matmul(a, b, out=out)})


def sdpa_backends(q, k, v, causal, scale):
    from torch.nn.attention import SDPBackend, sdpa_kernel
    found = {}
    for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):
        backend = getattr(SDPBackend, name, None)
        if backend is None:
            continue

        def run(backend=backend):
            with sdpa_kernel(backend):
                return functional.scaled_dot_product_attention(q, k, v, is_causal=causal,
                                                               scale=scale)
        try:
            run()
            torch.cuda.synchronize()
        except Exception as error:  # a backend that this build or GPU lacks
            print(f"  (no {name.lower()}: {str(error).splitlines()[0][:80]})")
            continue
        found[name.lower()] = run
    return found


def attention_reference(q, k, v, causal, scale):
    """float32, a head at a time, for the first two heads of the first batch."""
    heads = []
    for head in range(2):
        scores = q[0, head].float() @ k[0, head].float().T * scale
        if causal:
            keep = torch.ones_like(scores, dtype=torch.bool).tril()
            scores = scores.masked_fill(~keep, -math.inf)
        heads.append(torch.softmax(scores, -1) @ v[0, head].float())
    return torch.stack(heads)


def case_attention(batch, heads, length, dim, causal):
    q, k, v = (rand(batch, heads, length, dim) for _ in range(3))
    out = torch.full_like(q, math.nan)
    lse = torch.empty(batch, heads, length, device="cuda", dtype=torch.float32)
    scale = 1 / math.sqrt(dim)
    strides = [heads * length * dim, length * dim, dim]
    values = [q, k, v, out, lse, scale] + strides * 4 + [heads, 1, length, length, 0]
    kernel = f"attention_{dim}" + ("_causal" if causal else "")
    work = 4 * batch * heads * length * length * dim / 1e12 * (0.5 if causal else 1)
    return dict(kernel=kernel, grid=(triton.cdiv(length, 128), batch * heads), values=values,
                out=out, checked=lambda: out[0, :2],
                reference=lambda: attention_reference(q, k, v, causal, scale), allowed=5e-3,
                amount=work, unit="TFLOP/s", others=sdpa_backends(q, k, v, causal, scale))


CASES = [
    ("vector_add 2^26 f32", lambda: case_vector_add(1 << 26)),
    ("softmax 8192x1024 f32", lambda: case_softmax(8192, 1024)),
    ("softmax 8192x4096 f32", lambda: case_softmax(8192, 4096)),
    ("matmul 4096^3 f16", lambda: case_matmul("matmul", 4096, 4096, 4096, 128)),
    ("matmul 4096^3 f16, 4 warps", lambda: case_matmul("matmul_4", 4096, 4096, 4096, 128)),
    ("matmul 8192^3 f16", lambda: case_matmul("matmul", 8192, 8192, 8192, 128)),
    ("attention 4x32x4096x64 f16", lambda: case_attention(4, 32, 4096, 64, False)),
    ("attention 4x32x4096x64 f16 causal", lambda: case_attention(4, 32, 4096, 64, True)),
    ("attention 4x16x4096x128 f16", lambda: case_attention(4, 16, 4096, 128, False)),
    ("attention 4x16x4096x128 f16 causal", lambda: case_attention(4, 16, 4096, 128, True)),
]


# ---- running -------------------------------------------------------------------------------------

def worst_difference(case):
    got = case.get("checked", lambda: case["out"])().double()
    expected = case["reference"]().double()
    scale = expected.abs().max().clamp_min(1e-30)
    return ((got - expected).abs().max() / scale).item()  # NaN stays NaN


def runs_of(bundle, tkc, entry, case, result):
    kernel = tkc.load(entry.name)
    usage = tkc.usage(kernel)
    result["registers"], result["spilled_bytes"] = usage.registers, usage.local_bytes
    run = tkc.launcher(kernel, case["grid"], case["values"])
    run()
    torch.cuda.synchronize()
    result["difference"] = worst_difference(case)
    result["right"] = result["difference"] <= case["allowed"]
    runs = {"tkc": run}
    try:
        jit, grid, values = triton_kernel(bundle, entry), case["grid"], entry.all_values(case["values"])

        def run_triton():
            jit[grid](*values, num_warps=entry.warps, num_stages=entry.stages)
        run_triton()
        torch.cuda.synchronize()
        result["triton_difference"] = worst_difference(case)
        runs["triton"] = run_triton
    except Exception as error:
        result["triton_error"] = str(error)[:300]
    runs.update(case["others"])
    return runs


def run_case(bundle, tkc, entries, name, make):
    result = {"case": name}
    case = make()
    runs = runs_of(bundle, tkc, entries[case["kernel"]], case, result)
    times = time_in_turns(runs)
    result["unit"] = case["unit"]
    result["ms"] = times
    result["rate"] = {who: case["amount"] / ms * 1e3 for who, ms in times.items()}
    rates = "  ".join(f"{who} {rate:.1f}" for who, rate in result["rate"].items())
    print(f"{name:36} {'ok   ' if result['right'] else 'WRONG'} {case['unit']}: {rates}"
          f"  ({result['registers']} registers, {result['spilled_bytes']} B spilled)")
    if "triton_error" in result:
        print("  Triton:", result["triton_error"].splitlines()[0])
    return result


def run_launches(bundle, tkc, entries):
    tensor = torch.empty(1024, device="cuda")
    result = {}
    for name, values in (("empty_0", []), ("empty_19", [tensor] * 5 + list(range(2, 16)))):
        entry = entries[name]
        times = {"tkc": host_ns(tkc.launcher(tkc.load(name), (1,), values))}
        try:
            jit = triton_kernel(bundle, entry)
            call = lambda: jit[(1,)](*values, num_warps=4)
            call()
            times["triton"] = host_ns(call)
        except Exception as error:
            print("  Triton:", str(error).splitlines()[0])
        result[name] = times
        shown = "  ".join(f"{who} {ns:.0f} ns" for who, ns in times.items())
        print(f"launch, {len(values):2} arguments, from Python: {shown}")
    return result


def main():
    bundle, target, report, seconds = sys.argv[1:5]
    deadline = time.monotonic() + float(seconds)
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.empty(1, device="cuda")  # makes the context that tkc adopts
    tkc, entries = Tkc(bundle, target), read_list(bundle)
    print(f"{torch.cuda.get_device_name()}, PyTorch {torch.__version__}, Triton {triton.__version__}")
    results = {"torch": torch.__version__, "triton": triton.__version__, "cases": []}
    failed = 0
    results["launch"] = run_launches(bundle, tkc, entries)
    for name, make in CASES:
        if time.monotonic() > deadline:
            print(f"{name:36} skipped: out of time")
            results["cases"].append({"case": name, "skipped": "out of time"})
            continue
        try:
            result = run_case(bundle, tkc, entries, name, make)
        except Exception as error:
            print(f"{name:36} FAILED: {str(error)[:300]}")
            result = {"case": name, "error": str(error)[:1000], "right": False}
        failed += not result["right"]
        results["cases"].append(result)
        with open(report, "w") as file:
            json.dump(results, file, indent=1)
        torch.cuda.empty_cache()
    with open(report, "w") as file:
        json.dump(results, file, indent=1)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
