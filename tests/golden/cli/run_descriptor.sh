# A tensor descriptor is given as a tensor; its extents and strides follow.
cat >"$TMP/twice.tk" <<'END'
import triton
import triton.language as tl


@triton.jit
def twice(x, out, n):
    for i in range(0, n, 8):
        tl.device_print("rows", x.shape[0])
        out.store([i, 0], x.load([i, 0]) * 2)
END
tkc run "$TMP/twice.tk" --grid 1 -t 'x=tensordesc<fp32[8,16]>' -t 'out=tensordesc<fp32[8,16]>' \
  x=arange:f32[20,16] out=poison:f32[20,16] n=20 -o out="$TMP/out.npy" | grep -v ' ms'
tail -c 8 "$TMP/out.npy" | od -An -tf4
