# A sweep on Slurm: the same rules, run by jobs in this directory. Read by pipeline.mk.
#
# slurm-sweep    here: freezes all configurations, makes lm.json and calib.safetensors, submits the two below
# slurm-group    an array of jobs, one for each stale group of cells: what shares model, captions and granularity
# slurm-reports  a job after them: manifests, reports, index
#
# The jobs take programs, configuration and inputs as they find them (FROZEN): they may run side by side on many nodes,
# which never write the same file. Other makes are kept out until they are over (tmp/run/.slurm/jobs).
.PHONY: slurm-sweep slurm-group slurm-reports
$(if $(and $(filter slurm-%,$(asked)),$(word 2,$(grid_asked))),$(error slurm-sweep goes alone: $(wordlist 2,9,$(filter \
  slurm-%,$(asked)) $(filter-out slurm-%,$(grid_asked))) would not wait for the jobs))
$(if $(and $(filter slurm-group,$(asked)),$(if $(CELLS),,none)),$(error slurm-group is run by Slurm: this sweep has no \
  group $(or $(SLURM_ARRAY_TASK_ID),1)))
jobs_busy := $(if $(FROZEN),,$(if $(wildcard tmp/run/.slurm/jobs),$(shell sh conf/slurm.sh busy)))
$(if $(filter status,$(asked)),,$(if $(jobs_busy),$(error $(jobs_busy))))

# Which GPU computes, only a node can say: then every group is submitted, and its job scores what is stale there.
elsewhere := $(and $(filter slurm-sweep,$(asked)),$(filter 1,$(CUDA)),$(filter auto cuda,$(BACKEND)))
ifneq ($(filter slurm-group,$(asked)),)
$(CELLS:%=%/config/backend) &: FORCE
	+@b=$$($(print_backend)) || exit; for c in $(CELLS); do $(put_backend); done
endif

slurm-group: $(CELLS:%=%/scores.json) $(CELLS:%=%/records.safetensors)
# ($(MAKE) by another name: -n and -q must not submit)
this_make = $(MAKE)
slurm-sweep: $(CELLS:%=%/config/pair.yaml) $(foreach f,lm.json lm.id,$(MODEL_DIRS:%=%/$f)) \
             $(foreach f,calib.safetensors calib.id,$(all_data:%=%/$f)) $(BINS:%=%.id)
	$Qexport MODEL=$(call quoted,MODEL) DATASET=$(call quoted,DATASET) SET=$(call quoted,SET); \
	sh conf/slurm.sh submit '$(this_make)' $(words $(GROUPS)) $(if $(elsewhere),all,stale) $(SLURM)
