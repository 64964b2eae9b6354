#!/bin/sh
# Fifty kills of a sweep at random moments: tests/pipe/shards.sh with more of them.
KILLS=50 exec sh tests/pipe/shards.sh
