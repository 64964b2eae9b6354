# One scoring run in SHARDS parts: first the maxima, then the scores, then a merge for each of the CELLS. pipeline.mk
# runs it in a make of its own; SCORE is autoquant-score with its arguments, INPUTS those that it shares with the merge.
part := $(shell seq $(SHARDS))
Q    := $(if $V,,@)
.PHONY: all $(part:%=calibrate-%) $(part:%=score-%) $(CELLS:%=%/merge)
all: $(CELLS:%=%/merge)
$(part:%=calibrate-%): calibrate-%:
	$Q$(LAUNCH) $(SCORE) --calibrate --shard $*/$(SHARDS)
$(part:%=score-%): score-%: $(part:%=calibrate-%)
	$Q$(LAUNCH) $(SCORE) --shard $*/$(SHARDS)
$(CELLS:%=%/merge): %/merge: $(part:%=score-%)
	$Q$B/scores-merge $(INPUTS) --pair $*/config/pair.yaml $$(grep '^--granularity=' $*/config/args/autoquant-score) \
	  --log $*/log -o $* $*/part-*-of-$(SHARDS).journal
