# qsens: build, tests and checks. The data pipeline is pipeline.mk.
# make help shows the targets; make [MODE=release|debug|asan] builds into tmp/build/MODE.
MAKEFLAGS += --no-builtin-rules --no-builtin-variables
.SUFFIXES:
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
export LC_ALL := C
$(if $(filter grouped-target,$(.FEATURES)),,$(error qsens needs GNU Make 4.3 or newer, this is $(MAKE_VERSION)))
$(if $(and $(filter clean,$(MAKECMDGOALS)),$(filter-out clean,$(MAKECMDGOALS))),$(error clean goes alone: it removes \
  what the other goals are about to use))
-include config.mak

# `CC ?= cc` would leave CC empty under --no-builtin-variables
CC    := $(if $(filter default undefined,$(origin CC)),cc,$(CC))
MODE  ?= release
# -march of this machine: set MARCH=x86-64-v3 (or another) for binaries that must run elsewhere
MARCH ?= native
BLAS_LIBS ?= -lopenblas
# CUDA=1 builds the GPU backend too, for the architectures of SM that the toolkit knows and, through PTX, newer ones
CUDA  ?= 0
SM    ?= 80 86 89 90 100 120
NVCC  ?= $(or $(firstword $(wildcard $(addsuffix /nvcc,$(CUDA_HOME)/bin $(subst :, ,$(PATH)) /usr/local/cuda/bin))),\
           nvcc)
B     := tmp/build/$(MODE)$(if $(filter 1,$(CUDA)),-cuda)

WARN      := -Wall -Wextra -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wwrite-strings \
             $(if $(filter 1,$(WERROR)),-Werror)
O_release := -O3 -g
O_debug   := -O0 -g3
O_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
$(if $(O_$(MODE)),,$(error MODE=$(MODE) is not one of release, debug, asan))
# no -ffast-math: every rounding is part of the result. errno and traps of libm are not.
CFLAGS    := -std=c11 $(WARN) $(O_$(MODE)) -march=$(MARCH) -fno-math-errno -fno-trapping-math -ffp-contract=off \
             -ffile-prefix-map=$(CURDIR)=. -pthread
CPPFLAGS  := -Ilib -D_GNU_SOURCE
LDFLAGS   := -Wl,--as-needed
LDLIBS    := $(BLAS_LIBS) -ljansson -lyaml -lpcre2-8 -lutf8proc -lm

NVFLAGS   := -std=c++20 -O3 -fmad=false --extended-lambda -lineinfo -Ilib -D_GNU_SOURCE \
             -Xcompiler -Wall -Xcompiler -Wextra $(if $(filter 1,$(WERROR)),-Werror all-warnings)
# nothing refers to the GPU table but a weak symbol: programs that use a backend ask for it by name
USE_BACKEND := autoquant-score device-speed plan-run
CUDA_LINK := $(if $(filter 1,$(CUDA)),-u be_cuda_ops)
CUDA_LIBS := $(if $(filter 1,$(CUDA)),$(foreach d,$(patsubst %/bin/nvcc,%/lib64,$(filter %/bin/nvcc,$(NVCC))),-L$d \
             -Wl,-rpath,$d) -lcublasLt -lcudart -lstdc++)

CU_O   := $(if $(filter 1,$(CUDA)),$(patsubst %,$B/%.o,$(wildcard lib/*.cu)))
LIB_O  := $(patsubst %,$B/%.o,$(wildcard lib/*.c)) $(CU_O)
STAGES := $(basename $(notdir $(wildcard stages/*.c)))
BINS   := $(STAGES:%=$B/%)
MAIN_O := $(STAGES:%=$B/stages/%.c.o)
UNIT   := $(patsubst tests/%.c,$B/t/%.t,$(wildcard tests/unit/test_*.c tests/ops/test_*.c tests/parity/test_*.c))
REPLAY := $(patsubst tests/fuzz/%.c,$B/t/fuzz/%.replay,$(wildcard tests/fuzz/fuzz_*.c))
BENCH  := $(patsubst tests/bench/%.c,$B/bench/%,$(wildcard tests/bench/*.c))
BENCH_O := $(if $(CU_O),$(patsubst %,$B/%.o,$(wildcard tests/bench/*.cu)))
.PHONY: all check check-long check-asan check-cuda check-sanitizers check-slurm fuzz bench lint clean FORCE
all: $(BINS)

# One short line per command; V=1 shows the commands themselves.
Q   := $(if $(V),,@)
say  = $(if $(V),,@printf '  %-9s %s\n' $1 '$2')

# A job of slurm.mk takes what it finds, programs and configuration, as it is.
FROZEN := $(filter slurm-group slurm-reports,$(MAKECMDGOALS))

# stamp,FILE,TEXT: while the Makefile is read, rewrite FILE only if TEXT changed (keeps -n and -q exact)
stamp = $(if $(FROZEN),,$(shell mkdir -p $(dir $1))$(if $(subst x$(strip $(file <$1))x,,x$(strip $2)x),$(file \
  >$1,$(strip $2))))
# (without the directory, so that a tree may be moved or copied with what it has built)
$(call stamp,$B/cc.flags,$(CC) $(CPPFLAGS) $(subst $(CURDIR),,$(CFLAGS)))
$(call stamp,$B/ld.flags,$(CC) $(subst $(CURDIR),,$(CFLAGS)) $(LDFLAGS) $(LDLIBS))
$(call stamp,$B/commit,$(or $(shell git rev-parse HEAD 2>/dev/null),unknown))

# Libraries are looked for when they are needed, never while the Makefile is read; `deps`, if asked for, comes first.
$B/libraries.ok: tests/libraries.c $B/ld.flags | $(filter deps,$(MAKECMDGOALS))
	@for p in $(firstword $(CC)) ar objcopy jq; do \
	  command -v $$p >/dev/null || { echo "missing program $$p: run \`make deps\`" >&2; exit 1; }; done
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $B/libraries $< $(LDLIBS) 2>$B/libraries.log || { \
	  sed -n "s/.*error: '*\([^ ':]*\.h\)'*\(:\| file not\).*/missing header \1: run \`make deps\`/p; \
	    s/.*\(cannot\|unable to\) find \(library \)*-l\([^ :]*\).*/missing library \3: run \`make deps\`/p" \
	    $B/libraries.log | grep . || \
	  { grep -m 1 -i error $B/libraries.log || echo '$(CC) failed'; echo '($B/libraries.log has it all)'; }; exit 1; } >&2
	@touch $@

$(filter-out $(CU_O),$(LIB_O)) $(MAIN_O): $B/%.o: % $B/cc.flags | $B/libraries.ok
	$(call say,CC,$<)
	$Qmkdir -p $(@D)
	$Q$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$B/lib/version.c.o: private CPPFLAGS += -DQSENS_BUILD='"$(MODE), $(MARCH)"'
# The toolkit is asked for its architectures when something is compiled for them, never while the Makefile is read.
$(if $(CU_O),$(call stamp,$B/nv.flags,$(NVCC) $(realpath $(NVCC)) $(NVFLAGS) $(SM)))
$B/nv.archs: conf/cuda-archs.sh $B/nv.flags
	@sh $< '$(NVCC)' $(call quoted,SM) >$@
$(CU_O) $(BENCH_O): $B/%.o: % $B/nv.archs
	$(call say,NVCC,$<)
	$Qmkdir -p $(@D)
	$Q$(NVCC) $(NVFLAGS) $$(cat $B/nv.archs) -MMD -MP -MF $(@:.o=.d) -c -o $@ $<
$B/libqsens.a: $(LIB_O)
	$Qrm -f $@ && ar rcsD $@ $^
$(BINS): $B/%: $B/stages/%.c.o $B/libqsens.a $B/ld.flags $B/commit
	$(call say,LINK,$@)
	$Q$(CC) $(CFLAGS) $(LDFLAGS) $(if $(filter $(USE_BACKEND),$(@F)),$(CUDA_LINK)) -o $@.new $< \
	  $B/libqsens.a $(LDLIBS) $(CUDA_LIBS)
	@printf '%-40.40s' "$$(cat $B/commit)" >$@.commit && objcopy --update-section qsens_commit=$@.commit $@.new && \
	  rm $@.commit
	@mv $@.new $@
# NAME.id changes only when generated code does: a comment or a commit never reruns a stage
ifeq ($(FROZEN),)
$(BINS:%=%.id): %.id: %
	+@objcopy -S -R .note.gnu.build-id -R qsens_commit $< $@.o && sha256sum <$@.o >$@.new && rm $@.o && \
	  { cmp -s $@.new $@ && rm $@.new || mv $@.new $@; }
endif

# ---- tests
TEST_CC = $(CC) $(CPPFLAGS) -Itests $(CFLAGS) -MMD -MP
$(UNIT): $B/t/%.t: tests/%.c $B/libqsens.a $B/cc.flags
	$(call say,TEST,$<)
	$Qmkdir -p $(@D)
	$Q$(TEST_CC) $(LDFLAGS) $(CUDA_LINK) -o $@ $< $B/libqsens.a $(LDLIBS) $(CUDA_LIBS)
$(REPLAY): $B/t/fuzz/%.replay: tests/fuzz/%.c tests/fuzz/replay.c $B/libqsens.a $B/cc.flags
	$(call say,TEST,$<)
	$Qmkdir -p $(@D)
	$Q$(TEST_CC) -MF $@.d $(LDFLAGS) -o $@ $< tests/fuzz/replay.c $B/libqsens.a $(LDLIBS)
$(BENCH): $B/bench/%: tests/bench/%.c $(BENCH_O) $B/libqsens.a $B/cc.flags
	$(call say,TEST,$<)
	$Qmkdir -p $(@D)
	$Q$(TEST_CC) $(LDFLAGS) $(CUDA_LINK) -o $@ $< $(BENCH_O) $B/libqsens.a $(LDLIBS) $(CUDA_LIBS)
CLI_TESTS := $(wildcard tests/cli/*.sh tests/pipe/*.sh)
export QSENS_BUILD_DIR := $B
# what a test needs to go on with this build in a copy of the tree
export QSENS_MAKE := $(MAKE) MODE='$(MODE)' CUDA='$(CUDA)' CC='$(CC)' MARCH='$(MARCH)' BLAS_LIBS='$(BLAS_LIBS)' \
                     WERROR='$(WERROR)' SM='$(SM)' NVCC='$(NVCC)'
check: $(UNIT) $(REPLAY) $(BINS)
	prove -j$(or $(JOBS),2) -e '' $(UNIT) $(REPLAY) $(CLI_TESTS)
# what takes minutes, or data that is not in the repository
LONG := $(patsubst tests/%.c,$B/t/%,$(wildcard tests/long/*.c))
$(LONG): $B/t/%: tests/%.c $B/libqsens.a $B/cc.flags
	$(call say,TEST,$<)
	$Qmkdir -p $(@D)
	$Q$(TEST_CC) -MF $@.d $(LDFLAGS) -o $@ $< $B/libqsens.a $(LDLIBS)
check-long: $(LONG) $(BINS)
	QSENS_PAIRS='$(PAIRS)' prove -e '' $(wildcard tests/long/*.sh)
# on a GPU host: the tests that run the model or its ops, none of them skipped
check-cuda:
	$(MAKE) CUDA=1 run-cuda
run-cuda: $(foreach t,$(UNIT),$(if $(filter ops parity,$(subst /, ,$t)),$t)) $B/autoquant-score
	REQUIRE=cuda prove -j$(or $(JOBS),2) -e '' $(filter %.t,$^)
# on a GPU host: the bundled model under compute-sanitizer
check-sanitizers:
	$(MAKE) CUDA=1 run-sanitizers
run-sanitizers: $B/bench/bench_gemm $(BINS)
	prove -v -e '' tests/cuda/sanitizers.sh
# where Slurm can be started, as root; skipped elsewhere, unless REQUIRE=slurm
check-slurm: $(BINS)
	prove -e '' tests/slurm/sweep.sh
check-asan:
	$(MAKE) MODE=asan check
bench: $(BENCH) $(BINS)
	@for b in $(BENCH); do echo "== $$b"; $$b || exit 1; done

# libFuzzer builds of tests/fuzz, one minute each
FUZZERS := $(REPLAY:%.replay=%.fuzz)
$(FUZZERS): $B/t/fuzz/%.fuzz: tests/fuzz/%.c $(wildcard lib/*.c lib/*.h) | $B/libraries.ok
	$(call say,FUZZER,$<)
	$Qmkdir -p $(@D)
	$Qclang $(CPPFLAGS) -Itests -std=c11 -O1 -g -fsanitize=fuzzer,address,undefined -pthread -o $@ $< lib/*.c \
	  $(LDFLAGS) $(LDLIBS)
fuzz: $(FUZZERS)
	@for f in $(notdir $(FUZZERS:%.fuzz=%)); do echo "== $$f"; mkdir -p tmp/fuzz/$$f; \
	  $B/t/fuzz/$$f.fuzz -max_total_time=$(or $(SECONDS),60) -timeout=10 -max_len=65536 \
	    tmp/fuzz/$$f tests/fuzz/corpus/$${f#fuzz_} || exit 1; done
lint:
	sh tests/lint.sh

-include $(LIB_O:.o=.d) $(BENCH_O:.o=.d) $(MAIN_O:.o=.d) $(UNIT:.t=.d) $(REPLAY:%=%.d) $(BENCH:%=%.d) $(LONG:%=%.d)
-include pipeline.mk
clean:
	rm -rf tmp
