# The data pipeline: configuration -> lm.json -> calib.safetensors -> scores -> manifest -> reports.
#
# tmp/run/MODEL/                       lm.json, once per model
# tmp/run/MODEL/DATASET-nN/            calib.safetensors, once per model, captions and size
# tmp/run/MODEL/DATASET-nN/PAIR/GRAN/  one cell: composed-config.yaml, pair.yaml, args/, scores.json, records.safetensors,
#                                      SCHEME_quant_manifest.json, per-layer-sensitivity.md, per-layer-sensitivity.json
#
# What makes a result stale is content: configuration is composed into args/STAGE files that change only when their text
# does; models and captions enter through .id files that hold hashes; a tool enters through its .id (Makefile). So a
# touched file, a comment or a default spelled out reruns nothing.

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

# A variable's text as one word of the shell, whatever it holds.
quoted = '$(subst ','\'',$(value $1))'
# Directory names: a path or a Hugging Face id becomes its last part and a short hash of the whole.
slug   = $(shell printf '%s\n' $(call quoted,$1) | { read -r v; case $$v in (*[!A-Za-z0-9._-]*) \
           printf %s-%.8s "$$(printf %s "$${v%/}" | sed 's|.*/||; s|[^A-Za-z0-9._-]|_|g')" \
           "$$(printf %s "$$v" | sha256sum)";; (*) printf %s "$$v";; esac; })
MODEL_DIR := tmp/run/$(call slug,MODEL)
DATA_DIR  := $(MODEL_DIR)/$(call slug,DATASET)-n$(CALIB_N)
pair_name  = $(notdir $(patsubst %.yaml,%,$1))
cell       = $(DATA_DIR)/$(call pair_name,$1)/$(GRANULARITY)
manifest   = $(call cell,$1)/w$(subst _,_a,$(call pair_name,$1))_autoquant_lm_quant_manifest.json
R         := $(call cell,$(PAIR))

# The cells this make is about: the pair, or the menu where only a recipe is asked for.
asked     := $(or $(MAKECMDGOALS),all)
PAIRS_NOW := $(sort $(if $(filter-out recipe deps,$(asked)),$(PAIR)) $(if $(filter recipe,$(asked)),$(MENU)))
CELLS     := $(foreach p,$(PAIRS_NOW),$(call cell,$p))

.PHONY: sensitivity recipe report where deps help
# Reading a pipeline only makes sense when one of its goals is asked for.
ifneq ($(filter sensitivity recipe,$(asked))$(filter tmp/run/%,$(asked)),)

replace = cmp -s $@.new $@ && rm $@.new || mv $@.new $@

# ---- configuration, composed anew by every make; a file is touched only where its bytes change
CONFIGS := $(foreach c,$(CELLS),$c/composed-config.yaml $c/pair.yaml $c/args/autoquant-score $c/args/manifest)
SHARED  := $(MODEL_DIR)/extract-lm.args $(DATA_DIR)/calib-pack.args
$(CONFIGS) $(SHARED) &: FORCE | $B/compose-config
	+@set -e; mkdir -p $(DATA_DIR); $(foreach p,$(PAIRS_NOW),$B/compose-config --pair $p --model $(call quoted,MODEL) \
	  --dataset $(call quoted,DATASET) --granularity $(GRANULARITY) --calib-n $(CALIB_N) --set $(call quoted,SET) \
	  -o $(call cell,$p);) \
	a=$(firstword $(CELLS))/args; \
	cmp -s $$a/extract-lm $(MODEL_DIR)/extract-lm.args || cp $$a/extract-lm $(MODEL_DIR)/extract-lm.args; \
	cmp -s $$a/calib-pack $(DATA_DIR)/calib-pack.args || cp $$a/calib-pack $(DATA_DIR)/calib-pack.args
$(call stamp,$(DATA_DIR)/backend,$(BACKEND))

# ---- the model: size and times of its files decide whether extract-lm looks again, its hashes what follows
$(MODEL_DIR)/files.id: FORCE $(MODEL_DIR)/extract-lm.args
	+@d=$$(tail -n 1 $(MODEL_DIR)/extract-lm.args); stat -L -c '%n %s %Y %i' "$$d"/config.json "$$d"/*.safetensors* >$@.new 2>&1; $(replace)
$(MODEL_DIR)/lm.json: $(MODEL_DIR)/extract-lm.args $(MODEL_DIR)/files.id $B/extract-lm.id
	$(call say,EXTRACT,$@)
	$Q$B/extract-lm @$< -o $@
$(MODEL_DIR)/lm.id: $(MODEL_DIR)/lm.json
	+@jq -S 'del(.files)' $< >$@.new && { $(replace); }

# ---- the captions: packed again when captions or tokenizer change, scored again when the tokens do
$(DATA_DIR)/text.id: FORCE $(DATA_DIR)/calib-pack.args
	+@m=$$(sed -n 's/^--model=//p' $(DATA_DIR)/calib-pack.args); \
	cat "$$(tail -n 1 $(DATA_DIR)/calib-pack.args)" "$$m"/tokenizer.json "$$m"/tokenizer_config.json 2>&1 | sha256sum >$@.new; $(replace)
$(DATA_DIR)/calib.safetensors: $(DATA_DIR)/calib-pack.args $(DATA_DIR)/text.id $B/calib-pack.id
	$(call say,PACK,$@)
	$Q$B/calib-pack @$< -o $@
$(DATA_DIR)/calib.id: $(DATA_DIR)/calib.safetensors
	+@head -c 65536 $< | grep -a -o '"tokens_sha256":"[0-9a-f]*"' >$@.new && { $(replace); }

# ---- scores: all stale cells of this make in one process and one pass over the model
SCORES     := $(CELLS:%=%/scores.json)
SCORE_DEPS := $(MODEL_DIR)/lm.id $(DATA_DIR)/calib.id $(DATA_DIR)/backend $B/autoquant-score.id
$(SCORES) &: $(SCORE_DEPS) $(CELLS:%=%/pair.yaml) $(CELLS:%=%/args/autoquant-score) | $(MODEL_DIR)/lm.json $(DATA_DIR)/calib.safetensors
	$Qset --; for c in $(CELLS); do \
	  for d in $(SCORE_DEPS) $$c/pair.yaml $$c/args/autoquant-score; do \
	    if [ ! -e $$c/scores.json ] || [ $$d -nt $$c/scores.json ]; then set -- "$$@" --cell $$c/pair.yaml=$$c; break; fi; done; done; \
	[ $$# = 0 ] || { set -- $B/autoquant-score --lm $(MODEL_DIR)/lm.json --calib $(DATA_DIR)/calib.safetensors \
	  --backend $(BACKEND) --threads $(THREADS) @$(firstword $(CELLS))/args/autoquant-score "$$@"; \
	  $(if $(V),,printf '  %-9s %s\n' SCORE $(DATA_DIR);) $(LAUNCH) "$$@"; }

# ---- manifest and reports of a cell
define cell_rules
$(call manifest,$1): $(call cell,$1)/scores.json $(MODEL_DIR)/lm.id $(call cell,$1)/args/manifest $B/manifest.id | $(MODEL_DIR)/lm.json
	$$(call say,MANIFEST,$$@)
	$Q$B/manifest @$(call cell,$1)/args/manifest --lm $(MODEL_DIR)/lm.json -o $$@ $$<
$(call cell,$1)/per-layer-sensitivity.json: $(call manifest,$1) $B/report-json.id
	$$(call say,REPORT,$$@)
	$Q$B/report-json -o $$@ $$<
$(call cell,$1)/per-layer-sensitivity.md: $(call manifest,$1) $(call cell,$1)/composed-config.yaml $B/report-md.id | $(call cell,$1)/per-layer-sensitivity.json
	$$(call say,REPORT,$$@)
	$Q$B/report-md --composed $(call cell,$1)/composed-config.yaml -o $$@ $$<
	@jq -r '"most sensitive to $(call pair_name,$1):", (.layer_sensitivity[:5][] | "  \(.sensitivity)  \(.layer)"), "budget of \(.scheme.auto_quantize_bits) bits: score \(.autoquant_state.score) at \(.autoquant_state.constraints.effective_bits) bits"' $(call cell,$1)/per-layer-sensitivity.json
endef
$(foreach p,$(PAIRS_NOW),$(eval $(call cell_rules,$p)))
sensitivity: $R/per-layer-sensitivity.md $R/per-layer-sensitivity.json

# ---- the best mix of the menu's pairs under a budget
RECIPE := $(DATA_DIR)/recipe-$(subst $() ,+,$(strip $(call pair_name,$(MENU))))-$(GRANULARITY)-$(BITS)bits.json
$(RECIPE): $(foreach p,$(MENU),$(call cell,$p)/scores.json) $(MODEL_DIR)/lm.id $B/recipe-search.id | $(MODEL_DIR)/lm.json
	$(call say,SEARCH,$@)
	$Q$B/recipe-search --lm $(MODEL_DIR)/lm.json --bits $(BITS) -o $@ $(filter %/scores.json,$^)
	@jq -r '"score \(.score) at \(.effective_bits) effective bits (budget \(.adjusted_bits)):", (.menu[] | "  \(.groups) groups  \(.pair)")' $@
recipe: $(RECIPE)
endif

# Reports again from every manifest under tmp/run; never scores.
report: $B/report-md $B/report-json
	@n=0; for m in $$(find tmp/run -name '*_quant_manifest.json' 2>/dev/null | sort); do \
	  d=$$(dirname $$m); c=; [ ! -e $$d/composed-config.yaml ] || c="--composed $$d/composed-config.yaml"; \
	  $B/report-md $$c -o $$d/per-layer-sensitivity.md $$m && $B/report-json -o $$d/per-layer-sensitivity.json $$m || exit; \
	  echo "$$d/per-layer-sensitivity.md"; n=$$((n + 1)); done; \
	[ $$n != 0 ] || { echo 'report: no manifest under tmp/run yet; `make sensitivity` makes one' >&2; exit 1; }

where:
	@echo $R

deps:
	@sh conf/install-packages.sh

help:
	@printf '%s\n' 'make [deps] sensitivity   score one pair, write manifest and reports' \
	  'make recipe MENU="a b"    best mix of these pairs and NONE under BITS bits' \
	  'make report               reports again from all manifests; never scores' \
	  'make where                directory of the run' \
	  'make deps                 install what is missing (Debian, Ubuntu)' \
	  'make all | check | check-asan | bench | fuzz | lint | clean' '' 'variables (current value):' \
	  '  PAIR=$(PAIR)   one of: $(basename $(notdir $(sort $(wildcard conf/quant_pair/*.yaml)))), or a file' \
	  '  CALIB_N=$(CALIB_N)   captions to calibrate on: 16, 128, 512 or any number' \
	  '  MODEL='$(call quoted,MODEL)'   a name in conf/model, a directory, or a Hugging Face id in the local cache' \
	  '  DATASET='$(call quoted,DATASET)'   a name in conf/dataset, or a captions file' \
	  '  BACKEND=$(BACKEND)   auto, cpu or ref      THREADS=$(THREADS)   0 = all      GRANULARITY=$(GRANULARITY)' \
	  '  SET='$(call quoted,SET)'   overrides, e.g. SET="autoquant.dtype=fp32"; keys: $B/compose-config --help-keys' \
	  '  MENU=$(MENU)   BITS=$(BITS)   LAUNCH=$(LAUNCH)   prefix of heavy commands'
