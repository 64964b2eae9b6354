#!/bin/sh
# make doctor: what it says of GPUs, drivers, toolkits and builds. nvidia-smi, nvcc and the GPU's device-speed are
# scripts here.
. tests/pipe/scratch
tree=$tmp/tree
scratch_tree "$tree"
cd "$tree" || exit 1
mk doctor >"$tmp/out" 2>"$tmp/err" && [ ! -s "$tmp/err" ]
report $? 'make doctor'
for line in 'cc   ' 'programs  *autoquant-score ' 'processor  ' 'cpu speed  *copy [0-9.]* GB/s.*GEMM [0-9.]* .FLOP/s' \
    'gpu  ' 'cuda  ' 'model  *models/tiny_qwen3_vl$' 'captions  *conf/dataset/sample_captions.txt$'; do
    grep -q "^$line" "$tmp/out"
    report $? "a line '$line'"
done
mk doctor MODEL=nowhere >"$tmp/out" 2>"$tmp/err"
[ $? != 0 ] && grep -q '^model  *MISSING: .*nowhere' "$tmp/out"
report $? 'a model that is not there is missing'

mkdir "$tmp/bin" "$tmp/b" "$tmp/b-cuda"
fake() { # FILE: a program, from standard input
    { echo '#!/bin/sh' && cat; } >"$1" && chmod +x "$1"
}
# host CAPABILITY CUDA_OF_DRIVER TOOLKIT CODE...; '' for none
host() {
    rm -f "$tmp/bin/nvidia-smi" "$tmp/bin/nvcc"
    [ -z "$1" ] || fake "$tmp/bin/nvidia-smi" <<END
case \$* in
-L) echo 'GPU 0: NVIDIA X' ;;
*name*) echo 'NVIDIA X, 81559 MiB, 570.1, $1' ;;
*compute_cap*) echo '$1' ;;
*) echo '| NVIDIA-SMI 570.1    Driver Version: 570.1    CUDA Version: $2     |' ;;
esac
END
    toolkit=$3
    shift 3
    [ -z "$toolkit" ] || fake "$tmp/bin/nvcc" <<END
case \$1 in
--version) echo 'Cuda compilation tools, release $toolkit, V$toolkit.1' ;;
--list-gpu-code) printf 'sm_%s\n' $* ;;
esac
END
    PATH=$tmp/bin:$PATH sh conf/doctor.sh "$tmp/b" "$tmp/bin/nvcc" tiny_qwen3_vl sample_captions \
        >"$tmp/out" 2>"$tmp/err"
}
says() { # PATTERN
    grep -q "^$1" "$tmp/out" && [ ! -s "$tmp/err" ]
    report $? "  $1"
}
silent() { # PATTERN
    ! grep -q "$1" "$tmp/out"
    report $? "  nothing of '$1'"
}
host 9.0 13.0 13.0 80 90 100 120 && says 'gpu  *NVIDIA X, 81559 MiB, driver 570.1, compute capability 9.0$'
says 'cuda  *toolkit 13.0, '
says 'cuda build  *not built: run `make CUDA=1`$'
silent 'newer\|too old'
host 12.0 12.4 12.4 80 86 90 && says 'gpu  *newer than toolkit 12.4: install CUDA 12.8 or newer and build again$'
silent 'too old'
host 11.0 13.0 12.8 80 90 100 120 && says 'gpu  *newer than toolkit 12.8: install CUDA 13.0 or newer and build again$'
host 12.1 12.8 12.8 80 90 100 120 && silent 'newer\|too old'
host 9.0 12.2 13.0 80 90 && says 'driver  *too old: it takes CUDA 12.2, toolkit 13.0 needs newer: update it'
host 9.0 12.2 12.8 80 90 && silent 'newer\|too old'
host '' '' '' && says 'gpu  *none found (BACKEND=cpu works without)$'
says 'cuda  *no toolkit (only CUDA=1 needs it'
silent 'cuda build\|cuda speed'

fake "$tmp/b-cuda/device-speed" <<END
printf 'backend      cuda\ncopy         2600 GB/s read and written\nload         20 GB/s from host memory\n'
echo 'GEMM         650 TFLOP/s in bf16'
END
host 9.0 13.0 13.0 80 90 && says 'cuda build  *in .*/b-cuda: say CUDA=1 to use it$'
says 'cuda speed  *copy 2600 GB/s read and written, GEMM 650 TFLOP/s in bf16$'
fake "$tmp/b-cuda/device-speed" <<END
echo 'device-speed: no usable CUDA device: the driver takes CUDA 12.2, this program was built with 13.0' >&2
exit 1
END
host 9.0 12.2 13.0 80 90
says 'cuda speed  *no usable CUDA device: the driver takes CUDA 12.2, this program was built with 13.0$'
echo "1..$n"
