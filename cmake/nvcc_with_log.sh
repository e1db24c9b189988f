#!/usr/bin/env bash
# nvcc_with_log.sh <log> <command>...: runs the command; what ptxas reports goes to the log, the rest to stderr.
log=$1
shift
"$@" 2>"$log.all"
status=$?
grep -v -E "^ptxas info|^ +[0-9]+ bytes stack|^ptxas \. info" "$log.all" >&2
mv "$log.all" "$log"
exit $status
