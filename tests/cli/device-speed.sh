#!/bin/sh
# device-speed: what it prints of each backend, and what it refuses. Its measuring: tests/ops/test_ceiling.c.
. tests/cli/scratch
tool=device-speed
run 0 "cpu" --threads 1 cpu
says out '^backend  *cpu$'
says out '^device  *.*, 1 thread$'
says out '^memory  *[0-9.]* GiB, [0-9.]* GiB free$'
says out '^copy  *[0-9.e+]* GB/s read and written$'
says out '^load  *[0-9.e+]* GB/s from host memory$'
says out '^GEMM  *[0-9.e+]* [GT]FLOP/s in bf16$'
run 0 "cpu, fp32, as JSON" --json --dtype fp32 -j 2 cpu
jq -e '.format == "qsens-device" and .version == 1 and .backend == "cpu" and .dtype == "fp32" and
    .device.threads == 2 and (.device | has("compute_capability") | not) and
    .copy_bytes_per_second > 1e8 and .load_bytes_per_second > 1e7 and .gemm_flops > 1e8' "$D/out" >"$D/err"
ok $? "  its keys"
run 2 "another backend" gpu
says err "there is no backend 'gpu': use auto, cpu, cuda or ref$"
run 2 "another dtype" --dtype fp16 cpu
says err "^device-speed: --dtype is bf16 or fp32, not 'fp16'$"
run 2 "two backends" cpu cuda
says err "unexpected argument 'cuda'"
run 2 "too many threads" -j 257 cpu
says err "option --threads wants a whole number from 0 to 256, not '257'$"
"$B/$tool" --json cuda >"$D/out" 2>"$D/err"
case $? in
0)
    jq -e '.backend == "cuda" and (.device.compute_capability | tonumber >= 8) and .gemm_flops > 1e11 and
        .copy_bytes_per_second > 1e10' "$D/out" >"$D/err"
    ok $? "cuda: a device"
    ;;
1) says err '^device-speed: no usable CUDA device: ' ;;
*) says err '^device-speed: this program was built without the backend cuda: build with `make CUDA=1`, or use cpu$' ;;
esac
echo "1..$n"
