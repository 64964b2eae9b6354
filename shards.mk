# One scoring run in SHARDS parts: first the maxima, then the scores. pipeline.mk runs it in a make of its own, and
# merges; SCORE is autoquant-score with its arguments.
part := $(shell seq $(SHARDS))
.PHONY: all $(part:%=calibrate-%) $(part:%=score-%)
all: $(part:%=score-%)
$(part:%=calibrate-%): calibrate-%:
	$(if $V,,@)$(LAUNCH) $(SCORE) --calibrate --shard $*/$(SHARDS)
$(part:%=score-%): score-%: $(part:%=calibrate-%)
	$(if $V,,@)$(LAUNCH) $(SCORE) --shard $*/$(SHARDS)
