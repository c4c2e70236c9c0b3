"""Times tkc's kernels on a GPU beside Triton (the same source, blocks, warps and stages), and beside
what PyTorch uses: cuBLAS, its attention kernels, its own softmax and add.

    bench.py BUNDLE TARGET REPORT.json SECONDS [--rehearse]

The cases are those of ptx/TARGET/cases.json: what the hosts of tkc's kernels launch, written down by
gpu_bundle. All run in this process, in PyTorch's CUDA context and default stream, on the same
tensors, in turns; the median of the turns is told. tkc's kernels are launched by libtkcrt from the
PTX in the bundle. A result that is not right is a failure: exit status 1.

--rehearse needs no GPU: Triton's interpreter computes on the CPU (TRITON_INTERPRET=1 must be set),
tkc's kernels are loaded but not launched, and times mean nothing. For cases made small.
"""
import ast
import ctypes
import functools
import importlib
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
REHEARSAL = "--rehearse" in sys.argv
DEVICE = "cpu" if REHEARSAL else "cuda"
DTYPES = {"f16": torch.float16, "bf16": torch.bfloat16, "f32": torch.float32, "i32": torch.int32}


def wait():
    if not REHEARSAL:
        torch.cuda.synchronize()


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
    if value is None:
        return Argument(ADDRESS, 0, None, 0, 0)
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
        self.library.tkc_kernel_parameter_count.restype = ctypes.c_uint32
        self.library.tkc_launch.argtypes = [ctypes.c_void_p] * 3 + [
            Grid, ctypes.c_void_p, ctypes.c_uint32, ctypes.c_void_p]
        self.context, self.device = ctypes.c_void_p(), ctypes.c_void_p()
        self.check(self.library.tkc_context_create(None, ctypes.byref(self.context)))
        if not REHEARSAL:
            options = DeviceOptions(ctypes.sizeof(DeviceOptions), True, None)
            self.check(self.library.tkc_device_open_with(
                self.context, b"cuda", ctypes.byref(options), ctypes.byref(self.device)))

    def check(self, status):
        if status:
            raise RuntimeError(self.library.tkc_last_error().decode())

    def load(self, name):
        kernel = ctypes.c_void_p()
        path = os.path.join(self.folder, name).encode()
        self.check(self.library.tkc_kernel_load(self.context, path, None, ctypes.c_size_t(0),
                                                ctypes.byref(kernel)))
        if not REHEARSAL:
            self.check(self.library.tkc_kernel_prepare(kernel, self.device))
        return kernel

    def usage(self, kernel):
        usage = Usage(ctypes.sizeof(Usage))
        if not REHEARSAL:
            self.check(self.library.tkc_kernel_usage_on(kernel, self.device, ctypes.byref(usage)))
        return usage

    def launcher(self, kernel, grid, values):
        """A function that launches, on PyTorch's default stream."""
        arguments = (Argument * max(len(values), 1))(*[argument(value) for value in values])
        shape, launch, device, count = Grid(*grid), self.library.tkc_launch, self.device, len(values)
        if self.library.tkc_kernel_parameter_count(kernel) != count:
            raise RuntimeError(f"{count} arguments are recorded, the kernel has another number")

        def run():
            if launch(kernel, device, None, shape, arguments, count, None):
                self.check(1)
        return (lambda: None) if REHEARSAL else run


# ---- Triton --------------------------------------------------------------------------------------

@functools.lru_cache(None)
def triton_kernel(file, name):
    """Jit function `name` of the bundle's copy of a .tk file, imported as a Python module."""
    return getattr(importlib.import_module(os.path.splitext(file)[0]), name)


# ---- timing --------------------------------------------------------------------------------------

def run_for(run, count):
    """Milliseconds of one of `count` runs."""
    if REHEARSAL:
        start = time.perf_counter()
        run()
        return (time.perf_counter() - start) * 1e3
    start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(count):
        run()
    stop.record()
    stop.synchronize()
    return start.elapsed_time(stop) / count


def time_in_turns(runs):
    """Median milliseconds of each function, all of them measured in every round."""
    counts, samples = {}, {name: [] for name in runs}
    for name, run in runs.items():
        run_for(run, 1)
        counts[name] = max(1, min(200, int(ROUND_MS / max(run_for(run, 3), 1e-3))))
    for _ in range(1 if REHEARSAL else ROUNDS):
        for name, run in runs.items():
            samples[name].append(run_for(run, counts[name]))
    return {name: statistics.median(times) for name, times in samples.items()}


def host_ns(run, launches=500, rounds=40):
    """Median time that a launch takes of the host."""
    samples = []
    for _ in range(1 if REHEARSAL else rounds):
        wait()
        start = time.perf_counter_ns()
        for _ in range(launches):
            run()
        samples.append((time.perf_counter_ns() - start) / launches)
    wait()
    return statistics.median(samples)


# ---- operations ----------------------------------------------------------------------------------
# Each takes the case's tensors by name (inputs random, all others NaN) and gives: the outputs to look
# at, a function for what they should be, the difference allowed (of the largest element), the amount
# of work and its unit, and what else computes the same. `scale` is that of attention.

def vector_add(t, scale):
    x, y, out = t["x"], t["y"], t["out"]
    return dict(outputs=lambda: [out], reference=lambda: [x + y], allowed=0.0,
                amount=12 * x.numel() / 1e9, unit="GB/s",
                others={"torch": lambda: torch.add(x, y, out=out)})


def softmax(t, scale):
    x, out = t["x"], t["out"]
    return dict(outputs=lambda: [out], reference=lambda: [torch.softmax(x.double(), -1)],
                allowed=1e-5, amount=8 * x.numel() / 1e9, unit="GB/s",
                others={"torch": lambda: torch.softmax(x, -1)})


def matmul(t, scale):
    a, b, out = t["a"], t["b"], t["out"]
    work = 2 * a.shape[0] * a.shape[1] * b.shape[1] / 1e12
    return dict(outputs=lambda: [out], reference=lambda: [a.float() @ b.float()],
                allowed=1e-2 if a.dtype == torch.bfloat16 else 2e-3, amount=work, unit="TFLOP/s",
                others={"cublas": lambda: torch.matmul(a, b, out=out)})


def sdpa(t, causal, scale):
    return functional.scaled_dot_product_attention(t["q"], t["k"], t["v"], is_causal=causal,
                                                   scale=scale)


def sdpa_backends(make_run):
    """What make_run() gives under each of PyTorch's backends that work here."""
    from torch.nn.attention import SDPBackend, sdpa_kernel
    found = {}
    for name in ("FLASH_ATTENTION", "CUDNN_ATTENTION", "EFFICIENT_ATTENTION"):
        backend = getattr(SDPBackend, name, None)
        if backend is None:
            continue
        try:
            with sdpa_kernel(backend):
                inner = make_run()
                inner()
            wait()
        except Exception as error:  # a backend that this build or GPU lacks
            print(f"  (no {name.lower()}: {str(error).splitlines()[0][:80]})")
            continue

        def run(backend=backend, inner=inner):
            with sdpa_kernel(backend):
                return inner()
        found[name.lower()] = run
    return found


def scores(q, k, causal, scale):
    s = q.float() @ k.float().transpose(-1, -2) * scale
    if causal:
        s = s.masked_fill(~torch.ones_like(s, dtype=torch.bool).tril(), -math.inf)
    return s


def attention_work(t, causal, products):
    batch, heads, length, dim = t["q"].shape
    return 2 * products * batch * heads * length * length * dim / 1e12 * (0.5 if causal else 1)


def attention(t, scale, causal=False):
    """Looked at: the first two heads of the first batch."""
    q, k, v = (t[name][0, :2] for name in "qkv")

    def reference():
        s = scores(q, k, causal, scale)
        return [torch.softmax(s, -1) @ v.float(), torch.logsumexp(s, -1)]
    return dict(outputs=lambda: [t["out"][0, :2], t["lse"][0, :2]], reference=reference, allowed=5e-3,
                amount=attention_work(t, causal, 2), unit="TFLOP/s",
                others=sdpa_backends(lambda: lambda: sdpa(t, causal, scale)))


def attention_backward(t, scale, causal=False):
    with torch.no_grad():
        t["out"].copy_(sdpa(t, causal, scale))
        for batch in range(t["q"].shape[0]):
            for head in range(t["q"].shape[1]):
                s = scores(t["q"][batch, head], t["k"][batch, head], causal, scale)
                t["lse"][batch, head] = torch.logsumexp(s, -1)

    def reference():
        q, k, v = (t[name][0, :2].float().requires_grad_() for name in "qkv")
        weights = torch.softmax(scores(q, k, causal, scale), -1)
        return torch.autograd.grad(weights @ v, (q, k, v), t["dout"][0, :2].float())

    def make_run():
        inputs = {name: t[name].detach().requires_grad_() for name in "qkv"}
        out = sdpa(inputs, causal, scale)
        return lambda: torch.autograd.grad(out, tuple(inputs.values()), t["dout"],
                                           retain_graph=True)
    return dict(outputs=lambda: [t[name][0, :2] for name in ("dq", "dk", "dv")], reference=reference,
                allowed=1e-2, amount=attention_work(t, causal, 5), unit="TFLOP/s",
                others=sdpa_backends(make_run))


OPERATIONS = {
    "vector_add": vector_add,
    "softmax": softmax,
    "matmul": matmul,
    "attention": attention,
    "attention_causal": lambda t, scale: attention(t, scale, True),
    "attention_backward": attention_backward,
    "attention_backward_causal": lambda t, scale: attention_backward(t, scale, True),
}
INPUTS = {"x", "y", "a", "b", "q", "k", "v", "dout"}


# ---- a case --------------------------------------------------------------------------------------

def make_tensors(case):
    tensors = {}
    for one in case["tensors"]:
        shape, dtype = one["shape"], DTYPES[one["dtype"]]
        if one["name"] in INPUTS:
            tensors[one["name"]] = torch.randn(shape, device=DEVICE, dtype=dtype)
        else:
            tensors[one["name"]] = torch.full(shape, math.nan, device=DEVICE, dtype=dtype)
    return tensors


def bytes_at(tensor, offset):
    """The tensor from a byte offset on; 16-bit and other elements alike."""
    return tensor.reshape(-1)[offset // tensor.element_size():] if offset else tensor


def make_values(launch, tensors, scratch):
    """Arguments of a recorded launch, by name."""
    values = {}
    for one in launch["arguments"]:
        if "tensor" in one:
            value = bytes_at(list(tensors.values())[int(one["tensor"])], int(one["offset"]))
        elif "scratch" in one:
            value = scratch[int(one["scratch"])][int(one["offset"]):].view(DTYPES[one["dtype"]])
        elif "float" in one:
            value = float(one["float"])
        else:
            value = None if one["value"] is None else int(one["value"])
        values[one["name"]] = value
    return values


def make_runs(bundle, tkc, case, tensors, result):
    """The case's launches by tkc, and by Triton."""
    scratch = [torch.zeros(int(size), device=DEVICE, dtype=torch.uint8) for size in case["scratch"]]
    ours, theirs, usages = [], [], []
    for launch in case["launches"]:
        values, grid = make_values(launch, tensors, scratch), [int(n) for n in launch["grid"]]
        kernel = tkc.load(launch["ptx"])
        usages.append(tkc.usage(kernel))
        ours.append(tkc.launcher(kernel, grid, list(values.values())))
        constants = {name: ast.literal_eval(text) for name, text in launch["constants"].items()}
        constants.update(num_warps=int(launch["num_warps"]), num_stages=int(launch["num_stages"]))

        def run(launch=launch, values=values, grid=tuple(grid), constants=constants):
            triton_kernel(launch["file"], launch["kernel"])[grid](**values, **constants)
        theirs.append(run)
    result["registers"] = [usage.registers for usage in usages]
    result["local_bytes"] = [usage.local_bytes for usage in usages]

    def all_of(runs):
        if len(runs) == 1:
            return runs[0]

        def run():
            for one in runs:
                one()
        return run
    return all_of(ours), all_of(theirs)


def difference(operation):
    """Of the worst element, in parts of the largest one; NaN stays NaN."""
    worst = 0.0
    for got, expected in zip(operation["outputs"](), operation["reference"]()):
        scale = expected.abs().max().clamp_min(1e-30)
        part = ((got.double() - expected.double()).abs().max() / scale).item()
        worst = part if math.isnan(part) or part > worst else worst
    return worst


def poison(case, tensors):
    """Outputs, so that nobody's results are taken for another's."""
    kept = INPUTS | ({"out", "lse"} if "dq" in tensors else set())
    for name, tensor in tensors.items():
        if name not in kept:
            tensor.fill_(math.nan)


def run_case(bundle, tkc, case):
    result = {"case": case["name"], "operation": case["operation"]}
    tensors = make_tensors(case)
    operation = OPERATIONS[case["operation"]](tensors, case.get("scale"))
    ours, theirs = make_runs(bundle, tkc, case, tensors, result)
    runs = {"tkc": ours}
    if not REHEARSAL:
        poison(case, tensors)
        ours()
        wait()
        result["difference"] = difference(operation)
    try:
        poison(case, tensors)
        theirs()
        wait()
        result["triton_difference"] = difference(operation)
        runs["triton"] = theirs
    except Exception as error:
        if REHEARSAL:
            raise
        result["triton_error"] = f"{type(error).__name__}: {error}"[:300]
    result["right"] = result["triton_difference" if REHEARSAL else "difference"] <= operation["allowed"]
    runs.update(operation["others"])
    times = time_in_turns(runs)
    result["unit"] = operation["unit"]
    result["ms"] = times
    result["rate"] = {who: operation["amount"] / max(ms, 1e-6) * 1e3 for who, ms in times.items()}
    return result


def print_result(result):
    rates = "  ".join(f"{who} {rate:.1f}" for who, rate in result["rate"].items())
    counts = "+".join(str(count) for count in result["registers"])
    spilled = sum(result["local_bytes"])
    print(f"{result['case']:24} {'ok   ' if result['right'] else 'WRONG'} {result['unit']}: {rates}"
          f"  ({counts} registers{f', {spilled} B local' if spilled else ''})")
    if "triton_error" in result:
        print("  Triton:", result["triton_error"].splitlines()[0])


# ---- launches ------------------------------------------------------------------------------------

def run_launches(tkc):
    tensor = torch.empty(1024, device=DEVICE)
    result = {}
    for name, values in (("empty_0", []), ("empty_19", [tensor] * 5 + list(range(2, 16)))):
        times = {"tkc": host_ns(tkc.launcher(tkc.load(name + ".ptx"), (1, 1, 1), values))}
        try:
            jit = triton_kernel("empty.tk", name)

            def call(jit=jit, values=values):
                jit[(1,)](*values, num_warps=4)
            call()
            times["triton"] = host_ns(call, 2 if REHEARSAL else 500)
        except Exception as error:
            print("  Triton:", (str(error) or type(error).__name__).splitlines()[0])
        result[name] = times
        shown = "  ".join(f"{who} {ns:.0f} ns" for who, ns in times.items())
        print(f"launch, {len(values):2} arguments, from Python: {shown}")
    return result


def write_report(path, results):
    with open(path, "w") as file:
        json.dump(results, file, indent=1)


def main():
    bundle, target, report, seconds = sys.argv[1:5]
    deadline = time.monotonic() + float(seconds)
    sys.path.insert(0, os.path.join(bundle, "kernels"))
    torch.manual_seed(0)
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.empty(1, device=DEVICE)  # makes the context that tkc adopts
    tkc = Tkc(bundle, target)
    with open(os.path.join(bundle, "ptx", target, "cases.json")) as file:
        cases = json.load(file)
    gpu = "rehearsal" if REHEARSAL else torch.cuda.get_device_name()
    print(f"{gpu}, PyTorch {torch.__version__}, Triton {triton.__version__}")
    results = {"gpu": gpu, "torch": torch.__version__, "triton": triton.__version__, "cases": []}
    failed = 0
    results["launch"] = run_launches(tkc)
    for case in cases:
        if time.monotonic() > deadline:
            print(f"{case['name']:24} skipped: out of time")
            results["cases"].append({"case": case["name"], "skipped": "out of time"})
            continue
        try:
            result = run_case(bundle, tkc, case)
            print_result(result)
        except Exception as error:
            print(f"{case['name']:24} FAILED: {type(error).__name__}: {str(error)[:300]}")
            result = {"case": case["name"], "error": str(error)[:1000], "right": False}
        failed += not result["right"]
        results["cases"].append(result)
        write_report(report, results)
        if not REHEARSAL:
            torch.cuda.empty_cache()
    write_report(report, results)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
