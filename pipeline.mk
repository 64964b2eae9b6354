# The data pipeline: configuration -> lm.json -> calib.safetensors -> scores -> manifest -> reports.
#
# tmp/run/MODEL/                       lm.json, once per model
# tmp/run/MODEL/DATASET-nN/            calib.safetensors, once per model, captions and size
# tmp/run/MODEL/DATASET-nN/PAIR/GRAN/  one cell: scores.json, records.safetensors, SCHEME_quant_manifest.json,
#                                      composed-config.yaml, per-layer-sensitivity.md, per-layer-sensitivity.json;
#                                      config/ is what the next run will use, the rest what the last one used
#
# What makes a result stale is content: configuration is composed into files that change only when their text does;
# models and captions enter through .id files that hold hashes; a tool enters through its .id (Makefile). So a touched
# file, a comment or a default spelled out reruns nothing. Recipes that find out what is stale are marked `+`: -n and -q
# run them too, and are exact. Files that one recipe makes together are .PRECIOUS: an error would delete all of them,
# whichever it touched, and each is written beside and renamed anyway.

PAIR        ?= fp4_fp8
CALIB_N     ?= 128
MODEL       ?= tiny_qwen3_vl
DATASET     ?= sample_captions
GRANULARITY ?= default
BACKEND     ?= auto
SET         ?=
MENU        ?= $(PAIR)
BITS        ?= 8
THREADS     ?= 0

.PHONY: sensitivity recipe report where deps help
asked    := $(or $(MAKECMDGOALS),all)
run_asked := $(filter sensitivity recipe tmp/run/%,$(asked))

# A variable's text as one word of the shell. What a makefile sets (config.mak) is expanded; what a user types is taken
# as it is, so that a path may hold a $.
# (Exported to recipes they would be expanded, too.)
unexport MODEL DATASET SET
given  = $(if $(filter file,$(origin $1)),$($1),$(value $1))
quoted = '$(subst ','\'',$(call given,$1))'

ifneq ($(run_asked)$(filter where,$(asked)),)
# Most variables become parts of file names and words of recipes: they are plain. The others hold anything on a line.
plain := PAIR GRANULARITY CALIB_N BACKEND THREADS BITS MENU
define newline


endef
one_line := $(foreach v,$(plain) MODEL DATASET SET LAUNCH,$(if $(findstring $(newline),$(value $v)),$v))
misuse := $(or $(addsuffix $() must be one line of text,$(firstword $(one_line))),$(shell export LC_ALL=C; \
  $(foreach v,$(plain),case $(call quoted,$v) in (''|-*|*[!A-Za-z0-9._/+$(if $(filter MENU,$v),\ )-]*) \
    echo '$v must be plain: letters, digits, and any of . _ - + /'; exit;; esac;) \
  $(foreach v,MODEL DATASET,case $(call quoted,$v) in ('') echo '$v must not be empty'; exit;; esac;) \
  case $(call quoted,BITS) in (*[!0-9.]*|*.*.*|.) echo 'BITS must be a number, such as 6 or 4.5';; esac))
$(if $(misuse),$(error $(misuse)))

# Directory names: a path or a Hugging Face id becomes its last part and a short hash of the whole.
slug = $(shell export LC_ALL=C; v=$(call quoted,$1); while [ "$${v%?/}" != "$$v" ]; do v=$${v%/}; done; \
         case $$v in ([!A-Za-z0-9]*|*[!A-Za-z0-9._-]*) printf %.60s-%.8s \
           "$$(printf %s "$${v##*/}" | tr -c A-Za-z0-9._- _)" "$$(printf %s "$$v" | sha256sum)";; \
         (*) printf %s "$$v";; esac)
MODEL_DIR := tmp/run/$(call slug,MODEL)
DATA_DIR  := $(MODEL_DIR)/$(call slug,DATASET)-n$(CALIB_N)
pair_name  = $(notdir $(patsubst %.yaml,%,$1))
cell       = $(DATA_DIR)/$(call pair_name,$1)/$(GRANULARITY)
manifest   = $(call cell,$1)/w$(subst _,_a,$(call pair_name,$1))_autoquant_lm_quant_manifest.json
R         := $(call cell,$(PAIR))
where:
	@echo $R
endif

# Reading a pipeline only makes sense when one of its goals is asked for.
ifneq ($(run_asked),)
# One make at a time: two with different settings would take each other's. The lock is a process, so that a killed make
# leaves none behind.
busy := $(shell mkdir -p tmp/run && { flock 9; p=$$(cat tmp/run/.make); \
  if [ "$$p" != $$PPID ] && [ "/proc/$$p/cwd" -ef . ] && cmp -s "/proc/$$p/comm" /proc/$$PPID/comm; then echo "$$p"; \
  else echo $$PPID >tmp/run/.make; fi; } 2>/dev/null 9>>tmp/run/.make)
$(if $(busy),$(error another make is at work in this tree (process $(busy)): wait for it or stop it))

# The cells this make is about: the pair, or the menu where only a recipe is asked for.
PAIRS_NOW := $(sort $(if $(filter-out recipe deps,$(asked)),$(PAIR)) $(if $(filter recipe,$(asked)),$(MENU)))
CELLS     := $(sort $(foreach p,$(PAIRS_NOW),$(call cell,$p)))
$(if $(filter $(words $(CELLS)),$(words $(PAIRS_NOW))),,$(error two pairs of the same name, in: $(PAIRS_NOW)))

replace = cmp -s $@.new $@ && rm $@.new || mv $@.new $@
# -n in a tree where this is not built yet
needs   = [ -e $1 ] || exit 0;

# ---- configuration, composed anew by every make; a file is touched only where its bytes change
CONFIGS := $(foreach f,composed-config.yaml pair.yaml args/autoquant-score args/manifest backend,$(CELLS:%=%/config/$f))
SHARED  := $(MODEL_DIR)/extract-lm.args $(DATA_DIR)/calib-pack.args
.PRECIOUS: $(CONFIGS) $(SHARED)
$(CONFIGS) $(SHARED) &: FORCE | $B/compose-config $B/autoquant-score
	+@$(call needs,$B/compose-config)$(call needs,$B/autoquant-score)set -e; \
	b=$$($B/autoquant-score --print-backend --backend $(BACKEND) --threads $(THREADS)); \
	$(foreach p,$(PAIRS_NOW),$B/compose-config --pair $p --model $(call quoted,MODEL) --dataset $(call quoted,DATASET) \
	  --granularity $(GRANULARITY) --calib-n $(CALIB_N) --set $(call quoted,SET) -o $(call cell,$p)/config; \
	  [ "$$b" = "$$(cat $(call cell,$p)/config/backend 2>&1)" ] || echo "$$b" >$(call cell,$p)/config/backend;) \
	a=$(firstword $(CELLS))/config/args; \
	cmp -s $$a/extract-lm $(MODEL_DIR)/extract-lm.args || cp $$a/extract-lm $(MODEL_DIR)/extract-lm.args; \
	cmp -s $$a/calib-pack $(DATA_DIR)/calib-pack.args || cp $$a/calib-pack $(DATA_DIR)/calib-pack.args

# ---- the model: size and times of its files decide whether extract-lm looks again, its hashes what follows
$(MODEL_DIR)/files.id: FORCE $(MODEL_DIR)/extract-lm.args
	+@$(call needs,$(MODEL_DIR)/extract-lm.args)d=$$(tail -n 1 $(MODEL_DIR)/extract-lm.args); \
	stat -L -c '%n %s %.9Y %i' "$$d"/config.json "$$d"/*.safetensors* >$@.new 2>&1; $(replace)
$(MODEL_DIR)/lm.json: $(MODEL_DIR)/extract-lm.args $(MODEL_DIR)/files.id $B/extract-lm.id
	$(call say,EXTRACT,$@)
	$Q$B/extract-lm @$< -o $@
$(MODEL_DIR)/lm.id: $(MODEL_DIR)/lm.json
	+@$(call needs,$<)jq -S 'del(.files)' $< >$@.new && { $(replace); }

# ---- the captions: packed again when captions or tokenizer change, scored again when the tokens do
$(DATA_DIR)/text.id: FORCE $(DATA_DIR)/calib-pack.args
	+@$(call needs,$(DATA_DIR)/calib-pack.args)m=$$(sed -n 's/^--model=//p' $(DATA_DIR)/calib-pack.args); \
	cat "$$(tail -n 1 $(DATA_DIR)/calib-pack.args)" "$$m"/tokenizer.json "$$m"/tokenizer_config.json 2>&1 | \
	  sha256sum >$@.new; $(replace)
$(DATA_DIR)/calib.safetensors: $(DATA_DIR)/calib-pack.args $(DATA_DIR)/text.id $B/calib-pack.id
	$(call say,PACK,$@)
	$Q$B/calib-pack @$< -o $@
$(DATA_DIR)/calib.id: $(DATA_DIR)/calib.safetensors
	+@$(call needs,$<)head -c 65536 $< | grep -a -o '"\(tokens_sha256\|seq_len\)":"[0-9a-f]*"' >$@.new && { $(replace); }

# ---- scores: all stale cells of this make in one process and one pass over the model. They are the one costly result,
# so times do not count: scores.key holds the hashes of what they were made from and of scores.json, scores.due those of
# now, with an old date where both are equal.
define due_rule
$1/scores.due: FORCE $(MODEL_DIR)/lm.id $(DATA_DIR)/calib.id $B/autoquant-score.id \
               $1/config/pair.yaml $1/config/args/autoquant-score $1/config/backend
	+@$(call needs,$1){ cat $$(filter-out FORCE,$$^) | sha256sum; sha256sum <$1/scores.json; } >$$@ 2>/dev/null; \
	! cmp -s $$@ $1/scores.key || touch -d 2000-01-01 $$@
endef
$(foreach c,$(CELLS),$(eval $(call due_rule,$c)))
SCORES := $(CELLS:%=%/scores.json) $(CELLS:%=%/records.safetensors)
.PRECIOUS: $(SCORES)
$(SCORES) &: $(CELLS:%=%/scores.due) | $(MODEL_DIR)/lm.json $(DATA_DIR)/calib.safetensors
	$Qset --; due=; for c in $(CELLS); do \
	  if [ ! -e $$c/scores.json ] || [ ! -e $$c/records.safetensors ] || [ $$c/scores.due -nt $$c/scores.json ]; then \
	    due="$$due $$c"; set -- "$$@" --cell $$c/config/pair.yaml=$$c; fi; done; \
	[ $$# != 0 ] || exit 0; set -- $B/autoquant-score --lm $(MODEL_DIR)/lm.json --calib $(DATA_DIR)/calib.safetensors \
	  --backend $(BACKEND) --threads $(THREADS) @$(firstword $(CELLS))/config/args/autoquant-score "$$@"; \
	$(if $(V),,printf '  %-9s %s\n' SCORE $(DATA_DIR);) $(LAUNCH) "$$@" && \
	for c in $$due; do { head -n 1 $$c/scores.due; sha256sum <$$c/scores.json; } >$$c/scores.key; done

# ---- manifest and reports of a cell
2_digits = . * 100 | round / 100
report_summary = "most sensitive to $1:", (.layer_sensitivity[:5][] | "  \(.sensitivity)  \(.layer)"), \
  "budget of \(.scheme.auto_quantize_bits | $(2_digits)) bits: score \(.autoquant_state.score) at \
  \(.autoquant_state.constraints.effective_bits | $(2_digits)) bits"
# cell_rules,PAIR,DIRECTORY,MANIFEST
define cell_rules
$3: $2/scores.json $2/records.safetensors $(MODEL_DIR)/lm.id $2/config/args/manifest $B/manifest.id \
    | $(MODEL_DIR)/lm.json
	$$(call say,MANIFEST,$$@)
	$Q$B/manifest @$2/config/args/manifest --lm $(MODEL_DIR)/lm.json -o $$@ $$<
$2/composed-config.yaml: $2/config/composed-config.yaml | $3
	@cp $$< $$@.new && mv $$@.new $$@
$2/per-layer-sensitivity.json: $3 $B/report-json.id
	$$(call say,REPORT,$$@)
	$Q$B/report-json -o $$@ $$<
$2/per-layer-sensitivity.md: $3 $2/composed-config.yaml $B/report-md.id | $2/per-layer-sensitivity.json
	$$(call say,REPORT,$$@)
	$Q$B/report-md --composed $2/composed-config.yaml -o $$@ $$<
	@jq -r '$(call report_summary,$1)' $2/per-layer-sensitivity.json
endef
$(foreach p,$(PAIRS_NOW),$(eval $(call cell_rules,$(call pair_name,$p),$(call cell,$p),$(call manifest,$p))))

# `+`, so that -q still says whether anything is stale
results = +@$(if $(findstring q,$(firstword -$(MAKEFLAGS))),:,printf '  %-9s %s\n' RESULT $1)
sensitivity: $R/per-layer-sensitivity.md $R/per-layer-sensitivity.json
	$(call results,$R)

# ---- the best mix of the menu's pairs under a budget
RECIPE := $(DATA_DIR)/recipe-$(subst $() ,+,$(strip $(sort $(call pair_name,$(MENU)))))-$(GRANULARITY)-$(BITS)bits.json
recipe_summary = "score \(.score) at \(.effective_bits | $(2_digits)) effective bits \
  (budget \(.adjusted_bits | $(2_digits))):", \
  (.menu[] | "  \(.groups) groups  \(.pair)")
$(RECIPE): $(foreach p,$(sort $(MENU)),$(call cell,$p)/scores.json) $(MODEL_DIR)/lm.id $B/recipe-search.id | \
           $(MODEL_DIR)/lm.json
	$(call say,SEARCH,$@)
	$Q$B/recipe-search --lm $(MODEL_DIR)/lm.json --bits $(BITS) -o $@ $(filter %/scores.json,$^)
	@jq -r '$(recipe_summary)' $@
recipe: $(RECIPE)
	$(call results,$(RECIPE))
endif

# Reports again from every manifest under tmp/run; never scores.
report: $B/report-md $B/report-json | $(filter sensitivity recipe,$(asked))
	@n=0; for m in $$(find tmp/run -name '*_quant_manifest.json' 2>/dev/null | sort); do \
	  d=$$(dirname $$m); c=; [ ! -e $$d/composed-config.yaml ] || c="--composed $$d/composed-config.yaml"; \
	  $B/report-md $$c -o $$d/per-layer-sensitivity.md $$m || exit; \
	  $B/report-json -o $$d/per-layer-sensitivity.json $$m || exit; \
	  echo "$$d/per-layer-sensitivity.md"; n=$$((n + 1)); done; \
	[ $$n != 0 ] || { echo 'report: no manifest under tmp/run yet; `make sensitivity` makes one' >&2; exit 1; }

deps:
	@sh conf/install-packages.sh

help:
	@printf '%s\n' 'make [deps] sensitivity   score one pair, write manifest and reports' \
	  'make recipe MENU="a b"    best mix of these pairs and NONE under BITS bits' \
	  'make report               reports again from all manifests; never scores' \
	  'make where                directory of the run' \
	  'make deps                 install what is missing (Debian, Ubuntu)' \
	  'make all | check | check-asan | bench | fuzz | lint | clean' '' 'variables (current value):' \
	  '  PAIR=$(PAIR)   a file, or one of:' '    $(basename $(notdir $(sort $(wildcard conf/quant_pair/*.yaml))))' \
	  '  CALIB_N=$(CALIB_N)   captions to calibrate on: 16, 128, 512 or any number' \
	  '  MODEL='$(call quoted,MODEL)'   a name in conf/model, a directory, or a Hugging Face id in the local cache' \
	  '  DATASET='$(call quoted,DATASET)'   a name in conf/dataset, or a captions file' \
	  '  BACKEND=$(BACKEND)   auto, cpu, ref; cuda with CUDA=1      THREADS=$(THREADS)   0 = all' \
  '  GRANULARITY=$(GRANULARITY)' \
	  '  SET='$(call quoted,SET)'   overrides, e.g. SET="autoquant.dtype=fp32"; keys: $B/compose-config --help-keys' \
	  '  MENU=$(MENU)   BITS=$(BITS)   LAUNCH=$(LAUNCH)   prefix of heavy commands' \
  '  CUDA=$(CUDA)   1 builds the GPU backend for SM=$(SM) with NVCC=$(NVCC)' \
  '  MODE=$(MODE)   release, debug or asan   MARCH=$(MARCH)   CC=$(CC)   BLAS_LIBS=$(BLAS_LIBS)' \
  '  WERROR=$(WERROR)   1: warnings are errors   V=$(V)   1: print commands' \
  '  JOBS=$(or $(JOBS),2)   of check   SECONDS=$(or $(SECONDS),60)   of each fuzzer' \
  'config.mak, where it is there, sets variables for every make in this directory.'
