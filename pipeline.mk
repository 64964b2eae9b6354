# The data pipeline: configuration -> lm.json -> calib.safetensors -> scores -> manifest -> reports.
#
# tmp/run/MODEL/                       lm.json, once per model
# tmp/run/MODEL/DATASET-nN/            calib.safetensors, once per model, captions and size
# tmp/run/MODEL/DATASET-nN/PAIR/GRAN/  one cell: scores.json, records.safetensors, SCHEME_quant_manifest.json,
#                                      composed-config.yaml, per-layer-sensitivity.md, per-layer-sensitivity.json,
#                                      gemm.json where a GPU scored; *.journal after a scoring run was stopped;
#                                      config/ is what the next run will use, the rest what the last one used
#
# A goal names a grid of cells: MODELS x DATASETS x CALIB_NS x GRANULARITIES x PAIRS. `sensitivity` is a grid of one.
#
# What makes a result stale is content: configuration is composed into files that change only when their text does;
# models and captions enter through .id files that hold hashes; a tool enters through its .id (Makefile). So a touched
# file, a comment or a default spelled out reruns nothing. Recipes that find out what is stale are marked `+`: -n and -q
# run them too, and are exact. Files that one recipe makes together are .PRECIOUS: an error would delete all of them,
# whichever it touched, and each is written beside and renamed anyway.

PAIR        ?= fp4_fp8
PAIRS       ?= fp4_fp8 fp4_fp16 fp8_fp8 fp8_fp16 int8_fp8 int8_fp16
CALIB_N     ?= 128
CALIB_NS    ?= 16 128 512
MODEL       ?= tiny_qwen3_vl
MODELS      ?=
DATASET     ?= sample_captions
DATASETS    ?=
GRANULARITY ?= default
GRANULARITIES ?= $(GRANULARITY)
BACKEND     ?= auto
SET         ?=
SPEED       ?=
JSON        ?=
MENU        ?= $(PAIR)
BITS        ?= 8
THREADS     ?= 0
GPU_MEMORY  ?=
SHARDS      ?= 1
PASS_BLOCKS ?= 0
FROM        ?=
SLURM       ?=

.PHONY: sensitivity sweep three-phase recipe report publish import config config-help where deps doctor help
.PHONY: plan status
asked     := $(or $(MAKECMDGOALS),all)
# those of slurm.mk submit a sweep and are run by its jobs
sweeps     := sweep slurm-sweep slurm-group slurm-reports
grid_asked := $(filter sensitivity three-phase recipe publish tmp/run/% plan status $(sweeps),$(asked))
# those that only look: at the cells that `sweep` would make, or `sensitivity` where PAIR or CALIB_N says which
looks      := $(filter plan status,$(asked))
$(if $(and $(looks),$(filter-out $(looks),$(grid_asked))),$(error $(firstword $(looks)) goes without other goals))
# -k: what failed is listed at the end, by a make around the one that works
keeps_going := $(findstring k,$(firstword -$(MAKEFLAGS)))
around      := $(if $(and $(keeps_going),$(if $(WITHIN)$(filter $(looks) slurm-sweep,$(asked)),,outer)),$(grid_asked))
ifneq ($(around),)
grid_asked :=
$(around): keep-going
keep-going: FORCE
	+@export MODEL=$(call quoted,MODEL) DATASET=$(call quoted,DATASET) SET=$(call quoted,SET); \
	$(MAKE) --no-print-directory WITHIN=1 $(around) || { [ ! -e tmp/run/.cells ] || [ ! -x $B/plan-run ] || \
	  $B/plan-run --build $B --failed @tmp/run/.cells >&2; exit 1; }
endif

# A variable's text as one word of the shell. What a makefile sets (config.mak) is expanded; what a user types is taken
# as it is, so that a path may hold a $.
# (Exported to recipes they would be expanded, too.)
unexport MODEL DATASET SET FROM SPEED
given  = $(if $(filter file,$(origin $1)),$($1),$(value $1))
quoted = '$(subst ','\'',$(call given,$1))'

ifneq ($(grid_asked)$(around)$(filter where config import,$(asked)),)
# Most variables become parts of file names and words of recipes: they are plain. The others hold anything on a line.
lists := PAIRS CALIB_NS MODELS DATASETS GRANULARITIES MENU
plain := PAIR GRANULARITY CALIB_N BACKEND THREADS GPU_MEMORY SHARDS PASS_BLOCKS BITS $(lists)
define newline


endef
one_line := $(foreach v,$(plain) MODEL DATASET SET FROM LAUNCH SLURM SPEED,$(if $(findstring \
  $(newline),$(value $v)),$v))
misuse := $(or $(addsuffix $() must be one line of text,$(firstword $(one_line))),$(shell export LC_ALL=C; \
  $(foreach v,$(plain),case $(call quoted,$v) in \
    (-*|*[!A-Za-z0-9._/+$(if $(filter $v,$(lists)),\ )-]*) \
    echo '$v must be plain: letters, digits, and any of . _ - + /'; exit;; esac;) \
  $(foreach v,PAIR GRANULARITY CALIB_N BACKEND THREADS SHARDS PASS_BLOCKS BITS MENU MODEL DATASET PAIRS CALIB_NS \
    GRANULARITIES,\
    case $(call quoted,$v) in (*[!\ ]*) ;; (*) echo '$v must not be empty'; exit;; esac;) \
  $(foreach v,CALIB_N CALIB_NS SHARDS,case ' '$(call quoted,$v) in (*[!0-9\ ]*|*\ 0*) \
    echo '$v must be whole numbers above 0'; exit;; esac;) \
  case $(call quoted,PASS_BLOCKS) in (*[!0-9]*) echo 'PASS_BLOCKS must be a whole number'; exit;; esac; \
  case $(call quoted,BITS) in (*[!0-9.]*|*.*.*|.) echo 'BITS must be a number, such as 6 or 4.5';; esac))
$(if $(misuse),$(error $(misuse)))
# Directory names: a path or a Hugging Face id becomes its last part and a short hash of the whole.
slug = $(shell export LC_ALL=C; v=$(call quoted,$1); while [ "$${v%?/}" != "$$v" ]; do v=$${v%/}; done; \
         case $$v in ([!A-Za-z0-9]*|*[!A-Za-z0-9._-]*) printf %.60s-%.8s \
           "$$(printf %s "$${v##*/}" | tr -c A-Za-z0-9._- _)" "$$(printf %s "$$v" | sha256sum)";; \
         (*) printf %s "$$v";; esac)

# ---- the grid. Models and datasets are names of variables, since their texts may hold anything; each knows its slug.
named    = $(if $(strip $($1S)),$(foreach v,$(sort $($1S)),$(eval $1.$v := $v)$1.$v),$1)
M_VARS  := $(call named,MODEL)
D_VARS  := $(call named,DATASET)
$(foreach v,$(M_VARS) $(D_VARS),$(eval slug.$v := $(call slug,$v)))
typed    = $(if $(filter command,$(firstword $(origin $1))),$($1),$2)
one_cell := $(and $(looks),$(call typed,PAIR)$(call typed,CALIB_N),$(if $(call typed,PAIRS)$(call typed,CALIB_NS),,one))
whole   := $(filter three-phase $(sweeps) $(if $(one_cell),,$(looks)),$(asked))
PAIRS_NOW := $(sort $(if $(filter $(sweeps) $(looks),$(whole)),$(PAIRS)) $(if $(one_cell),$(PAIR)) \
  $(if $(filter three-phase,$(asked)),int8_int8) \
  $(if $(filter recipe,$(asked)),$(MENU)) $(if $(filter sensitivity where config tmp/run/%,$(asked)),$(PAIR)) \
  $(if $(whole),,$(if $(filter publish,$(asked)),$(call typed,PAIRS,$(PAIR)))))
NS_NOW    := $(sort $(if $(whole),$(CALIB_NS),$(if $(filter publish,$(asked)),$(call typed,CALIB_NS,$(CALIB_N)))) \
  $(if $(filter sensitivity recipe where config tmp/run/%,$(asked))$(one_cell),$(CALIB_N)))
GRANS_NOW := $(sort $(if $(whole)$(filter publish,$(asked)),$(GRANULARITIES),$(GRANULARITY)))
# a pair or a granularity may be a file: its name
name_of    = $(notdir $(patsubst %.yaml,%,$1))
MODEL_DIRS := $(foreach m,$(M_VARS),tmp/run/$(slug.$m))
# data_dir,MODEL VARIABLE,DATASET VARIABLE,N
data_dir   = tmp/run/$(slug.$1)/$(slug.$2)-n$3
all_data   = $(foreach m,$(M_VARS),$(foreach d,$(D_VARS),$(foreach n,$(NS_NOW),$(call data_dir,$m,$d,$n))))
# cells_of,DATA DIRECTORY,GRANULARITY
cells_of   = $(foreach p,$(PAIRS_NOW),$1/$(call name_of,$p)/$2)
GROUPS    := $(foreach d,$(all_data),$(foreach g,$(GRANS_NOW),$d@$(call name_of,$g)))
# a job of an array scores the group of its number
GROUPS    := $(if $(filter slurm-group,$(asked)),$(word $(or $(SLURM_ARRAY_TASK_ID),1),$(GROUPS)),$(GROUPS))
CELLS     := $(foreach g,$(GROUPS),$(call cells_of,$(word 1,$(subst @, ,$g)),$(word 2,$(subst @, ,$g))))
DATA_DIR  := $(call data_dir,$(firstword $(M_VARS)),$(firstword $(D_VARS)),$(CALIB_N))
GRAN      := $(call name_of,$(GRANULARITY))
R         := $(DATA_DIR)/$(call name_of,$(PAIR))/$(GRAN)
# DIR/PAIR/GRANULARITY -> PAIR; its manifest
cell_pair  = $(notdir $(patsubst %/,%,$(dir $1)))
manifest   = $1/w$(subst _,_a,$(call cell_pair,$1))_autoquant_lm_quant_manifest.json
where:
	@echo $R
endif

# Reading a pipeline only makes sense when one of its goals is asked for.
ifneq ($(grid_asked),)
# One make at a time: two with different settings would take each other's. The lock is a process, so that a killed make
# leaves none behind; jobs that were submitted hold one too.
ifeq ($(FROZEN),)
busy := $(shell mkdir -p tmp/run && { flock 9; p=$$(cat tmp/run/.make); \
  if [ "$$p" != $$PPID ] && [ "/proc/$$p/cwd" -ef . ] && cmp -s "/proc/$$p/comm" /proc/$$PPID/comm; then echo "$$p"; \
  else echo $$PPID >tmp/run/.make; fi; } 2>/dev/null 9>>tmp/run/.make)
$(if $(and $(busy),$(if $(filter status,$(asked)),,all)),$(error another make is at work in this tree (process \
  $(busy)): wait for it or stop it))
endif
include slurm.mk
$(if $(filter $(words $(sort $(CELLS))),$(words $(CELLS))),,$(error two pairs of the same name, \
  or two granularities, in: $(PAIRS_NOW), $(GRANS_NOW)))
$(if $(and $(filter publish,$(asked)),$(word 2,$(D_VARS))),$(error publish takes one dataset: what it writes is \
  named by model, pair, granularity and size))

# the cells, one a line, for what takes many: a command line is bounded
lines_of = $(subst $() ,$(newline),$(strip $1))
cell_list := tmp/run/$(if $(looks),.looked-at,.cells)
$(if $(filter slurm-group,$(asked)),,$(file >$(cell_list),$(call lines_of,$(CELLS))))
replace = cmp -s $@.new $@ && rm $@.new || mv $@.new $@
# -n in a tree where this is not built yet
needs   = [ -e $1 ] || exit 0;
same    = cmp -s $1 $2 || { cp $1 $2.new && mv $2.new $2; }
# of GPUs; what applies here is part of the backend's line, so that scores follow a table that changes
GEMM_ARGS := --gemm-tables conf/gemm
# a GPU is known where it is: there, it is asked
backend_launch := $(if $(and $(filter 1,$(CUDA)),$(filter auto cuda,$(BACKEND))),$(LAUNCH))
print_backend  := $(backend_launch) $B/autoquant-score --print-backend --backend $(BACKEND) $(GEMM_ARGS) \
  --threads $(THREADS)
# the line $b into the cell $c
put_backend = { read -r was <$$c/config/backend; } 2>/dev/null || was=; \
  [ "$$b" = "$$was" ] || echo "$$b" >$$c/config/backend

# ---- configuration of all cells, composed anew by every make; a file is touched only where its bytes change
CONFIGS := $(foreach f,composed-config.yaml pair.yaml args/autoquant-score args/manifest backend,$(CELLS:%=%/config/$f))
SHARED  := $(MODEL_DIRS:%=%/extract-lm.args) $(all_data:%=%/calib-pack.args)
# compose,MODEL VARIABLE,DATASET VARIABLE
compose_args = --model=$(call given,$1)$(newline)--dataset=$(call given,$2)$(newline)--set=$(call \
  given,SET)$(newline)$(call lines_of,$(foreach n,$(NS_NOW),$(foreach p,$(PAIRS_NOW),$(foreach g,$(GRANS_NOW),\
  --cell=$p,$g,$n=$(call data_dir,$1,$2,$n)/$(call name_of,$p)/$(call name_of,$g)/config))))
compose_file = tmp/run/.compose-$(slug.$1)-$(slug.$2)
compose = $(file >$(compose_file),$(call compose_args,$1,$2))$B/compose-config @$(compose_file);
.PRECIOUS: $(CONFIGS) $(SHARED)
ifeq ($(FROZEN),)
$(CONFIGS) $(SHARED) &: FORCE | $B/compose-config $B/autoquant-score
	+@$(call needs,$B/compose-config)$(call needs,$B/autoquant-score)set -e; \
	$(if $(elsewhere),,b=$$($(print_backend));) \
	$(foreach m,$(M_VARS),$(foreach d,$(D_VARS),$(call compose,$m,$d))) \
	$(if $(elsewhere),,while read -r c; do $(put_backend); done <$(cell_list);) \
	$(foreach m,$(M_VARS),a=$(call data_dir,$m,$(firstword $(D_VARS)),$(firstword $(NS_NOW)))/$(first_cell)/config/args; \
	  $(call same,$$a/extract-lm,tmp/run/$(slug.$m)/extract-lm.args);) \
	$(foreach d,$(all_data),$(call same,$d/$(first_cell)/config/args/calib-pack,$d/calib-pack.args);)
endif
first_cell = $(call name_of,$(firstword $(PAIRS_NOW)))/$(call name_of,$(firstword $(GRANS_NOW)))

# ---- a model: size and times of its files decide whether extract-lm looks again, its hashes what follows
define model_rules
$1/files.id: FORCE $1/extract-lm.args
	+@$$(call needs,$1/extract-lm.args)d=$$$$(tail -n 1 $1/extract-lm.args); \
	stat -L -c '%n %s %.9Y %i' "$$$$d"/config.json "$$$$d"/*.safetensors* >$$@.new 2>&1; $$(replace)
$(if $(looks),$1/lm.json: ;,$1/lm.json: $1/extract-lm.args $1/files.id $B/extract-lm.id
	$$(call say,EXTRACT,$$@)
	$Q$B/extract-lm @$$< -o $$@)
$1/lm.id: $1/lm.json
	+@$$(call needs,$$<)jq -S 'del(.files)' $$< >$$@.new && s=$$$$(sha256sum <$$@.new) && echo "$$$$s" >$$@.new && \
	{ $$(replace); }
endef
$(if $(FROZEN),,$(foreach d,$(MODEL_DIRS),$(eval $(call model_rules,$d))))

# ---- captions: packed again when captions or tokenizer change, scored again when the tokens do
define data_rules
$1/text.id: FORCE $1/calib-pack.args
	+@$$(call needs,$1/calib-pack.args)m=$$$$(sed -n 's/^--model=//p' $1/calib-pack.args); \
	cat "$$$$(tail -n 1 $1/calib-pack.args)" "$$$$m"/tokenizer.json "$$$$m"/tokenizer_config.json 2>&1 | \
	  sha256sum >$$@.new; $$(replace)
$(if $(looks),$1/calib.safetensors: ;,$1/calib.safetensors: $1/calib-pack.args $1/text.id $B/calib-pack.id
	$$(call say,PACK,$$@)
	$Q$B/calib-pack @$$< -o $$@)
$1/calib.id: $1/calib.safetensors
	+@$$(call needs,$$<)head -c 65536 $$< | grep -a -o '"\(tokens_sha256\|seq_len\)":"[0-9a-f]*"' >$$@.new && \
	{ $$(replace); }
endef
$(if $(FROZEN),,$(foreach d,$(all_data),$(eval $(call data_rules,$d))))

# ---- logs: DIR/log of a cell begins with its last scoring; the programs add what they say, an error being the last
# line of one that failed (cli.h). What fails without a program's word - a launcher, a kill - gets such a line here.
# or_log_failure: goes behind a command; the CELLS are the arguments of the script
or_log_failure = || { code=$$?; for c; do grep -qs '^[^ ]* error: ' $$c/log || \
  echo "$$(date -u +%FT%TZ) error: exit code $$code$$([ $$code -le 128 ] || echo ", killed")" >>$$c/log; done; false; }

# ---- scores: all stale cells that share model, captions and granularity in one process and one pass over the model.
# They are the one costly result, so times do not count: scores.key lists what they were made from, one line an input
# (lib/stale.h), and the hash of scores.json; scores.due lists the same of now, with an old date where both are equal.
# What a stopped run has done is in journals, which are deleted after the key is written, or here.
define due_rule
$1/scores.due: FORCE $2/lm.id $3/calib.id $B/autoquant-score.id \
               $1/config/pair.yaml $1/config/args/autoquant-score $1/config/backend
	+@$$(call needs,$1)set --; for f in $$(filter-out FORCE,$$^); do [ ! -e $$$$f ] || set -- "$$$$@" $$$$f; done; \
	{ awk 'FNR == 1 { name = FILENAME; sub(".*\/", "", name) } { print name, $$$$0 }' "$$$$@" </dev/null; \
	printf 'result '; sha256sum <$1/scores.json; } >$$@ 2>/dev/null; \
	! cmp -s $$@ $1/scores.key || { touch -d 2000-01-01 $$@; \
	  $(if $(looks),:,for j in $1/*.journal; do [ ! -e $$$$j ] || rm $$$$j; done); }
endef
# Of the scripts below, $1 is the MODEL DIRECTORY, $2 the DATA DIRECTORY, $3 the GRANULARITY, $4 the CELLS.
# The stale cells as arguments $@; without any the script ends.
n_args    = $$\#
find_due  = set --; for c in $4; do \
  if [ ! -e $$c/scores.json ] || [ ! -e $$c/records.safetensors ] || [ $$c/scores.due -nt $$c/scores.json ]; \
  then set -- "$$@" $$c; fi; done; [ $(n_args) != 0 ] || exit 0
say_score = $(if $V,,printf '  %-9s %s\n' SCORE "$2 $3 ($(n_args) pair$$([ $(n_args) = 1 ] || echo s))";)
inputs    = --lm $1/lm.json --calib $2/calib.safetensors
scorer    = $B/autoquant-score $(inputs) --backend $(BACKEND) $(GEMM_ARGS) --threads $(THREADS) \
  $(GPU_MEMORY:%=--gpu-memory %) --pass-blocks $(PASS_BLOCKS) --resume @$(firstword $4)/config/args/autoquant-score
start_log = echo "$$(date -u +%FT%TZ) start $$$$ $$(uname -n)" >$$c/log
write_key = { grep -v '^result ' $$c/scores.due; printf 'result '; sha256sum <$$c/scores.json; } >$$c/scores.key && \
  rm -f $$c/*.journal
# -k: where a group fails, each of its cells is tried alone, and one that fails then fails where its manifest is made
# (but a recipe reads scores themselves). So the others come through.
alone     := $(if $(keeps_going),$(if $(filter recipe,$(asked)),,yes))
is_scored  = [ "$$(grep -v '^result ' $1/scores.due)" = "$$(grep -v '^result ' $1/scores.key 2>/dev/null)" ]
# score,M,D,G,CELLS,COMMAND: COMMAND takes cells and logs in $args
score     = $(find_due); $(say_score) score() { args=; for c; do \
    args="$$args --cell $$c/config/pair.yaml=$$c --log $$c/log"$(if $(dry),,; $(start_log)); done; \
  $5 $(if $(dry),,$(or_log_failure) && for c; do $(write_key) || return; done); }; \
  score "$$@" $(if $(alone),|| { [ $(n_args) != 1 ] && for c; do score $$c || :; done; })
in_one    = $(LAUNCH) $(scorer) --keep-journal $$args
# SHARDS: parts and merges are goals of a make of their own, which shares the jobs of this one (-n runs it, too).
in_parts  = printf '%s\n' $$args >$2/.score-$3 && $(MAKE) --no-print-directory -f shards.mk V=$V B=$B \
  LAUNCH=$(call quoted,LAUNCH) SHARDS=$(SHARDS) CELLS="$$*" INPUTS='$(inputs)' SCORE='$(scorer) @$2/.score-$3'
dry       = $(if $(filter 1,$(SHARDS)),,$(findstring n,$(firstword -$(MAKEFLAGS))))
define score_one
	$Q$$(call score,$1,$2,$3,$4,$$(call in_one,$1,$2,$3,$4))
endef
# (`:` is what -q finds to do)
define score_parts
	+$Q$$(if $$(findstring q,$$(firstword -$$(MAKEFLAGS))),exit 0;) [ -d $2 ] || exit 0; \
	$$(call score,$1,$2,$3,$4,$$(call in_parts,$1,$2,$3,$4))
	@:
endef
# after the jobs of slurm.mk: what has no scores
define score_none
	@$$(call find_due,$1,$2,$3,$4); sh conf/slurm.sh missing $$(or_log_failure) $(if $(alone),|| :)
endef
# group_rules,MODEL DIRECTORY,DATA DIRECTORY,GRANULARITY,CELLS
define group_rules
$(foreach c,$4,$(eval $(call due_rule,$c,$1,$2)))
.PRECIOUS: $(4:%=%/scores.json) $(4:%=%/records.safetensors)
$(4:%=%/scores.json) $(4:%=%/records.safetensors) &: $(4:%=%/scores.due) | $1/lm.json $2/calib.safetensors \
  $B/scores-merge
$(call score_$(if $(filter slurm-reports,$(asked)),none,$(if $(filter 1,$(SHARDS)),one,parts)),$1,$2,$3,$4)
endef
$(foreach g,$(GROUPS),$(eval $(call group_rules,$(patsubst %/,%,$(dir $(word 1,$(subst @, ,$g)))),$(word \
  1,$(subst @, ,$g)),$(word 2,$(subst @, ,$g)),$(call cells_of,$(word 1,$(subst @, ,$g)),$(word 2,$(subst @, ,$g))))))

# ---- manifest and reports of a cell
2_digits = . * 100 | round / 100
report_summary = "most sensitive to $1:", (.layer_sensitivity[:5][] | "  \(.sensitivity)  \(.layer)"), \
  "budget of \(.scheme.auto_quantize_bits | $(2_digits)) bits: score \(.autoquant_state.score) at \
  \(.autoquant_state.constraints.effective_bits | $(2_digits)) bits"
# cell_rules,CELL,MODEL DIRECTORY,MANIFEST
define cell_rules
$3: $1/scores.json $1/records.safetensors $2/lm.id $1/config/args/manifest $B/manifest.id | $2/lm.json
	$(if $(alone),@$$(call is_scored,$1))
	$$(call say,MANIFEST,$$@)
	$Q$B/manifest --log $1/log @$1/config/args/manifest --lm $2/lm.json -o $$@ $$<
$1/composed-config.yaml: $1/config/composed-config.yaml | $3
	@cp $$< $$@.new && mv $$@.new $$@
$1/per-layer-sensitivity.json: $3 $B/report-json.id
	$$(call say,REPORT,$$@)
	$Q$B/report-json --log $1/log -o $$@ $$<
$1/per-layer-sensitivity.md: $3 $1/composed-config.yaml $B/report-md.id | $1/per-layer-sensitivity.json
	$$(call say,REPORT,$$@)
	$Q$B/report-md --log $1/log --composed $1/composed-config.yaml -o $$@ $$<
	$(if $(whole),,@jq -r '$(call report_summary,$(call cell_pair,$1))' $1/per-layer-sensitivity.json)
endef
$(foreach c,$(CELLS),$(eval $(call cell_rules,$c,$(subst $() ,/,$(wordlist 1,3,$(subst /, ,$c))),$(call manifest,$c))))
REPORTS := $(CELLS:%=%/per-layer-sensitivity.md) $(CELLS:%=%/per-layer-sensitivity.json)

# `+`, so that -q still says whether anything is stale
results = +@$(if $(findstring q,$(firstword -$(MAKEFLAGS))),:,printf '  %-9s %s\n' RESULT $1)
sensitivity: $R/per-layer-sensitivity.md $R/per-layer-sensitivity.json
	$(call results,$R)

# ---- a whole grid, and its cells side by side
INDEX := $(if $(word 2,$(MODEL_DIRS)),tmp/run,$(MODEL_DIRS))/sensitivity-index
.PRECIOUS: $(INDEX).md $(INDEX).json
$(INDEX).args: FORCE | $(SHARED)
	+@$(call needs,$(@D))cp $(cell_list) $@.new && { $(replace); }
$(INDEX).md $(INDEX).json &: $(INDEX).args $(foreach c,$(CELLS),$(call manifest,$c)) $B/report-index.id
	$(call say,INDEX,$(INDEX).md)
	$Q$B/report-index -o $(INDEX).md --json $(INDEX).json @$<
sweep three-phase slurm-reports: $(REPORTS) $(INDEX).md $(INDEX).json
	$(call results,$(INDEX).md)

# ---- what would be done, and what is: never runs a stage. `status` beside a make or jobs at work reads what they
# have frozen.
ifneq ($(looks),)
ids    := $(foreach t,extract-lm calib-pack manifest report-json report-md report-index,$B/$t.id)
frozen := $(CELLS:%=%/scores.due) $(MODEL_DIRS:%=%/files.id) $(all_data:%=%/text.id) $(ids) | $B/plan-run
look    = $B/plan-run --build $B $(if $(whole),--index $(INDEX)) $(if $(filter-out 0,$(JSON)),--json) @$(cell_list)
status: $(if $(busy)$(jobs_busy),,$(frozen))
	@$(look) --status
# speeds of the device that will score: measured once here, or what device-speed said elsewhere
ifeq ($(strip $(SPEED)),)
speed := tmp/run/.speed-$(subst /,_,$(BACKEND)).json
$(call stamp,$(speed:.json=.machine),$(shell printf '%s %s %s' "$$(uname -n)" "$$(nproc)" '$(THREADS)'))
$(speed): $(speed:.json=.machine) $B/device-speed.id
	@$(backend_launch) $B/device-speed --json --threads $(THREADS) $(BACKEND) >$@.new && mv $@.new $@ || { \
	  rm -f $@ $@.new; \
	  echo 'plan: so no times are predicted here; SPEED=FILE takes what `device-speed --json` printed elsewhere' >&2; }
plan: $(speed)
speed_word := $(speed)
else
speed_word := $(call quoted,SPEED)
endif
plan: $(frozen)
	@set -- --device $(speed_word) $(GPU_MEMORY:%=--gpu-memory %) \
	  --pass-blocks $(PASS_BLOCKS) --shards $(SHARDS); \
	$(if $(strip $(SPEED)),,[ -e $(speed) ] || set --;) $(look) "$$@"
endif
publish: $(REPORTS) $B/publish-run
	$Q$B/publish-run --root models @tmp/run/.cells

# ---- the best mix of the menu's pairs under a budget
RECIPE := $(DATA_DIR)/recipe-$(subst $() ,+,$(strip $(sort $(call name_of,$(MENU)))))-$(GRAN)-$(BITS)bits.json
recipe_summary = "score \(.score) at \(.effective_bits | $(2_digits)) effective bits \
  (budget \(.adjusted_bits | $(2_digits))):", \
  (.menu[] | "  \(.groups) groups  \(.pair)")
$(RECIPE): $(foreach p,$(sort $(MENU)),$(DATA_DIR)/$(call name_of,$p)/$(GRAN)/scores.json) \
           $(firstword $(MODEL_DIRS))/lm.id $B/recipe-search.id | $(firstword $(MODEL_DIRS))/lm.json
	$(call say,SEARCH,$@)
	$Q$B/recipe-search --lm $(firstword $(MODEL_DIRS))/lm.json --bits $(BITS) -o $@ $(filter %/scores.json,$^)
	@jq -r '$(recipe_summary)' $@
recipe: $(RECIPE)
	$(call results,$(RECIPE))
endif

# Reports again from every manifest under tmp/run and models; never scores.
report: $B/report-md $B/report-json | $(filter sensitivity sweep three-phase recipe,$(asked))
	@n=0; for m in $$(find tmp/run models -name '*_quant_manifest.json' 2>/dev/null | sort); do \
	  d=$$(dirname $$m); c=; [ ! -e $$d/composed-config.yaml ] || c="--composed $$d/composed-config.yaml"; \
	  $B/report-md $$c -o $$d/per-layer-sensitivity.md $$m || exit; \
	  $B/report-json -o $$d/per-layer-sensitivity.json $$m || exit; \
	  echo "$$d/per-layer-sensitivity.md"; n=$$((n + 1)); done; \
	[ $$n != 0 ] || { echo 'report: no manifest under tmp/run yet; `make sensitivity` makes one' >&2; exit 1; }

# A manifest from elsewhere becomes a finished run.
import: $B/import-manifest $B/report-md $B/report-json
	@[ -n $(call quoted,FROM) ] || { echo 'import: say FROM=path/to/manifest.json' >&2; exit 2; }
	$Qd=$$($B/import-manifest --root tmp/run $(call quoted,FROM)) || exit; for m in "$$d"/*_quant_manifest.json; do \
	  $B/report-md -o "$$d/per-layer-sensitivity.md" "$$m" && \
	  $B/report-json -o "$$d/per-layer-sensitivity.json" "$$m" || exit; done; printf '  %-9s %s\n' RESULT "$$d"

config: $B/compose-config
	@$B/compose-config --pair $(PAIR) --model $(call quoted,MODEL) --dataset $(call quoted,DATASET) \
	  --granularity $(GRANULARITY) --calib-n $(CALIB_N) --set $(call quoted,SET) --print
config-help: $B/compose-config
	@$B/compose-config --help-keys

deps:
	@sh conf/install-packages.sh
doctor:
	@sh conf/doctor.sh $B '$(NVCC)' $(call quoted,MODEL) $(call quoted,DATASET)

help:
	@printf '%s\n' 'make [deps] sensitivity   score one pair, write manifest and reports' \
	  'make sweep                PAIRS x CALIB_NS (x GRANULARITIES, DATASETS, MODELS): reports and an index' \
	  'make slurm-sweep          the same as jobs of Slurm; SLURM="--partition=gpu --gpus=1" are options of sbatch' \
	  'make three-phase          int8_int8 with 16, 128 and 512 captions' \
	  'make recipe MENU="a b"    best mix of these pairs and NONE under BITS bits' \
	  'make plan                 cells of a sweep (or of PAIR, CALIB_N): what is stale and why, time, memory, disk' \
	  'make status               the same cells: done, running, failed with the first error line, to do' \
	  'make report               reports again from all manifests; never scores' \
	  'make publish              artifacts of PAIR (or PAIRS=, CALIB_NS= as given) into models/' \
	  'make import FROM=FILE     a manifest of the reference stack as a finished run' \
	  'make config, config-help  the composed configuration; all keys' \
	  'make where                directory of the run' \
	  'make doctor               what is installed and found, what computes here and how fast' \
	  'make deps                 install what is missing (Debian, Ubuntu)' \
	  'make all | check | check-long | check-asan | check-cuda | check-sanitizers | check-slurm' \
	  '     | bench | fuzz | lint | clean' '' \
	  'variables (current value):' \
	  '  PAIR=$(PAIR)   a file, or one of:' '    $(basename $(notdir $(sort $(wildcard conf/quant_pair/*.yaml))))' \
	  '  PAIRS=$(PAIRS)   of a sweep' \
	  '  CALIB_N=$(CALIB_N)   captions to calibrate on: 16, 128, 512 or any number' \
	  '  CALIB_NS=$(CALIB_NS)   of a sweep' \
	  '  MODEL='$(call quoted,MODEL)'   a name in conf/model, a directory, or a Hugging Face id in the local cache' \
	  '  MODELS=$(MODELS)   of a sweep, instead of MODEL; plain names' \
	  '  DATASET='$(call quoted,DATASET)'   a name in conf/dataset, or a captions file' \
	  '  DATASETS=$(DATASETS)   of a sweep, instead of DATASET; plain names' \
	  '  GRANULARITY=$(GRANULARITY)   a file, or one of:' \
	  '    $(basename $(notdir $(sort $(wildcard conf/quant_granularity/*.yaml))))' \
	  '  GRANULARITIES=$(GRANULARITIES)   of a sweep' \
	  '  BACKEND=$(BACKEND)   auto, cpu, ref; cuda with CUDA=1      THREADS=$(THREADS)   0 = all' \
	  '  SET='$(call quoted,SET)'   overrides, e.g. SET="autoquant.dtype=fp32"; keys: make config-help' \
	  '  GPU_MEMORY=$(GPU_MEMORY)   of the GPU to stay below, e.g. 12G; empty: all that is free' \
	  '  SHARDS=$(SHARDS)   parts of each scoring run, side by side under -j; LAUNCH is put before each' \
	  '  PASS_BLOCKS=$(PASS_BLOCKS)   blocks of a pass, which is what a kill can cost; 0 = all' \
	  '  SPEED='$(call quoted,SPEED)'   of plan: printed by device-speed --json   JSON=$(JSON)   1: as JSON' \
	  '  MENU=$(MENU)   BITS=$(BITS)   FROM='$(call quoted,FROM)'   LAUNCH=$(LAUNCH)   prefix of heavy commands' \
	  '  SLURM=$(SLURM)   of slurm-sweep' \
	  '  CUDA=$(CUDA)   1 builds the GPU backend for SM=$(SM) with NVCC=$(NVCC)' \
	  '  MODE=$(MODE)   release, debug or asan   MARCH=$(MARCH)   CC=$(CC)   BLAS_LIBS=$(BLAS_LIBS)' \
	  '  WERROR=$(WERROR)   1: warnings are errors   V=$(V)   1: print commands' \
	  '  JOBS=$(or $(JOBS),2)   of check   SECONDS=$(or $(SECONDS),60)   of each fuzzer' \
	  'config.mak, where it is there, sets variables for every make in this directory.'
