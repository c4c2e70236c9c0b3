"""The other side of peer.c: solves the same problems with PyTorch, on the CPU.

One JSON object a line comes in, one goes out. No figure is kept here: C asks for every sample.
"""
import json
import os
import sys
import time
import warnings

warnings.filterwarnings("ignore")
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)  # whatever libraries print goes to standard error


def answer(**fields):
    answers.write(json.dumps(fields) + "\n")
    answers.flush()


try:
    import torch
    import torch.nn.functional as F
    from torch.nn.attention import SDPBackend, sdpa_kernel
except Exception as problem:
    answer(error=f"torch cannot be imported: {problem}")
    sys.exit(1)

torch.set_num_threads(len(os.sched_getaffinity(0)))
torch.manual_seed(1)
DTYPES = {"f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
BACKENDS = {"math": SDPBackend.MATH, "flash": SDPBackend.FLASH_ATTENTION,
            "efficient": SDPBackend.EFFICIENT_ATTENTION}


def layer_of(p, dtype):
    """A function of no arguments that gives the output, and what gradients are taken for."""
    n, heads, length, width = p["batch"], p["heads"], p["length"], p["in"]
    if p["layer"] == "linear":
        layer = torch.nn.Linear(width, p["out"], dtype=dtype)
        x = torch.randn(n, width, dtype=dtype, requires_grad=True)
        return lambda: layer(x), [x, *layer.parameters()]
    if p["layer"] == "conv2d":
        layer = torch.nn.Conv2d(width, p["out"], p["kernel"], dtype=dtype)
        x = torch.randn(n, width, length, length, dtype=dtype, requires_grad=True)
        return lambda: layer(x), [x, *layer.parameters()]
    if p["layer"] == "softmax":
        x = torch.randn(n, width, dtype=dtype, requires_grad=True)
        return lambda: torch.softmax(x, -1), [x]
    if p["layer"] == "multihead":
        layer = torch.nn.MultiheadAttention(width, heads, batch_first=True, dtype=dtype)
        if not p["backward"]:
            layer.eval()  # lets it take its fused path
        x = torch.randn(n, length, width, dtype=dtype, requires_grad=True)
        return lambda: layer(x, x, x, need_weights=False)[0], [x, *layer.parameters()]
    if p["layer"] == "attention":
        shape = n, heads, length, width
        q, k, v = (torch.randn(shape, dtype=dtype, requires_grad=True) for _ in range(3))
        if p["relu"]:
            scale = 1 / width**0.5
            return lambda: torch.relu(q @ k.transpose(2, 3) * scale) @ v, [q, k, v]

        def attention():
            if p["backend"] == "default":
                return F.scaled_dot_product_attention(q, k, v, is_causal=p["causal"])
            with sdpa_kernel(BACKENDS[p["backend"]]):
                return F.scaled_dot_product_attention(q, k, v, is_causal=p["causal"])

        return attention, [q, k, v]
    if p["layer"] == "block":
        to_qkv = torch.nn.Linear(width, 3 * width, bias=False, dtype=dtype)
        to_out = torch.nn.Linear(width, width, bias=False, dtype=dtype)
        lengths = [length] * n
        if p["varied"]:
            lengths = [length if i == 0 else length // 2 - 16 + 32 * i // n for i in range(n)]
            x = torch.nested.nested_tensor([torch.randn(m, width, dtype=dtype) for m in lengths])
        else:
            x = torch.randn(n, length, width, dtype=dtype)

        def block():
            parts = to_qkv(x).chunk(3, -1)
            q, k, v = (part.view(n, -1, heads, width // heads).transpose(1, 2) for part in parts)
            if p["varied"]:  # nested tensors have no attention on views
                q, k, v = q.contiguous(), k.contiguous(), v.contiguous()
            y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
            return to_out(y.contiguous().view(n, -1, width))

        return block, []
    raise ValueError(f"unknown layer {p['layer']}")


def open_problem(p):
    forward, leaves = layer_of(p, DTYPES[p["dtype"]])
    if not p["backward"]:
        return torch.inference_mode()(forward)
    out = forward()
    gradient = torch.randn_like(out)
    return lambda: torch.autograd.grad(out, leaves, gradient, retain_graph=True)


def sample(call, least, last):
    if last < 0.5:  # the first pass finds its threads and caches again
        call()
    start, passes = time.perf_counter(), 0
    while True:
        call()
        passes += 1
        spent = time.perf_counter() - start
        if spent >= least:
            return spent / passes


answer(version=f"PyTorch {torch.__version__}, {torch.get_num_threads()} threads")
call, last = None, 0
for line in sys.stdin:
    try:
        request = json.loads(line)
        if request["do"] == "open":
            call, last = open_problem(request), 0
            answer(ok=True)
        elif request["do"] == "sample":
            last = sample(call, request["least"], last)
            answer(seconds=last)
        else:
            call = None
            answer(ok=True)
    except Exception as problem:
        answer(error=(str(problem) or type(problem).__name__).splitlines()[0])
