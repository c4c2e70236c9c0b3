# 5 MB of random bytes: refused, in words, without a crash, whatever the bytes.
head -c 5000000 /dev/urandom >$TMP/noise.tk
tkc $TMP/noise.tk --emit=ast >$TMP/out 2>&1; echo "status $?"
test $(wc -c <$TMP/out) -lt 1000000 && grep -q error $TMP/out && echo "said so"
cp $TMP/noise.tk $TMP/noise.tkir
tkc $TMP/noise.tkir >$TMP/out 2>&1; echo "status $?"
test $(wc -c <$TMP/out) -lt 1000000 && grep -q error $TMP/out && echo "said so"
