# With --bounds the CPU device finds the faults of golden/fault, in the words of the interpreter.
cd ../fault || exit
for case in before_the_start in_a_helper misaligned null_pointer out_of_bounds_load \
  out_of_bounds_store scalar_far_away device_assert; do
  arguments=$(sed -n 's/^# run: *\(::[a-z_]*\)\? */\1 /p' "$case.tk" | sed 's/--device interp//')
  eval "tkc run $case.tk$arguments --device cpu --bounds" >"$TMP/got" 2>&1
  echo "exit $?" >>"$TMP/got"
  diff "$case.out" "$TMP/got" && echo "$case: the same"
done
