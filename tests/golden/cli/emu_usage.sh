cat >"$TMP/add.ptx" <<'PTX'
.version 7.0
.target sm_80
.address_size 64
.visible .entry twice(.param .u64 out, .param .f32 x)
{
    .reg .f32 %f<2>; .reg .b64 %d<3>; .reg .b32 %r;
    ld.param.u64 %d0, [out]; ld.param.f32 %f0, [x];
    mov.u32 %r, %tid.x; mul.wide.u32 %d1, %r, 4; add.s64 %d2, %d0, %d1;
    add.f32 %f1, %f0, %f0; st.global.f32 [%d2], %f1;
    ret;
}
PTX
tkc emu "$TMP/add.ptx::half" --grid 1 --block 4 out=zeros:f32[4] x=1.5
tkc emu "$TMP/add.ptx" --grid 1 out=zeros:f32[4] x=1.5
tkc emu "$TMP/add.ptx" --grid 1 --block 4 out=zeros:f32[4]
tkc emu "$TMP/add.ptx" --grid 1 --block 4 out=zeros:f32[4] x=1.5:f64
tkc emu "$TMP/add.ptx" --grid 1 --block 4,x out=zeros:f32[4] x=1.5
tkc emu "$TMP/add.ptx" --grid 1 --block 8 out=zeros:f32[4] x=1.5
echo "exit $?"
tkc emu "$TMP/add.ptx" --grid 1 --block 4 out=zeros:f32[4] x=1.5 -o out="$TMP/out.npy" && tail -c 16 "$TMP/out.npy" | od -An -tf4
