#!/usr/bin/env bash
# lottery.sh: pruning with weights put back: exact counts, masks that training keeps, a run that is
# interrupted goes on to the same files; epochs kept by train.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

run 0 -- netc build -q "$src/specs/lenet_300_100.net" -o .
net=./lenet_300_100
small=(--data=digits:120:1 --epochs=2 -q)
run 0 -- $net lottery "${small[@]}" --rounds=2 --out=a
# Layers of 235,200, 30,000 and 1,000 weights: a fifth goes, of the last one a tenth.
hold "surviving weights" diff <(cut -d, -f3 a/lottery.csv) <(printf '%s\n' kept 266200 213060 170538)
hold "the plot is well-formed" xml a/lottery.svg
run 0 -- $net eval -q --data=digits:120:1 --weights=a/round-2/last.safetensors

# whenever it is interrupted: the same rounds in the end
timeout -s INT 0.5 $net lottery "${small[@]}" --rounds=2 --out=b >/dev/null 2>&1
run 0 -- $net lottery "${small[@]}" --rounds=1 --out=b --resume --threads=1
run 0 -- $net lottery "${small[@]}" --rounds=2 --out=b --resume
same "resumed" a/lottery.csv b/lottery.csv
same "resumed" a/round-2/start.safetensors b/round-2/start.safetensors
same "resumed" a/round-2/last.safetensors b/round-2/last.safetensors
run 2 'was begun with --prune=20%' -- $net lottery "${small[@]}" --prune=30% --out=b --resume

# the control has the ticket's masks and other weights; rewinding begins at a later epoch
run 0 -- $net lottery "${small[@]}" --rounds=1 --rewind=1 --control --prune=50 --output=0% --out=c
hold "one half, and the output layer whole" grep -q '^1,266200,133600,' c/lottery.csv
hold_not "the control starts elsewhere" cmp c/round-1/start.safetensors c/round-1-control/start.safetensors
hold "the epoch is kept" [ -s c/round-0/epoch-1.safetensors ]
hold "it has one epoch left" [ "$(grep -c ^test, c/round-1/log.csv)" = 1 ]
hold "the control has both" [ "$(grep -c ^test, c/round-1-control/log.csv)" = 2 ]

run 2 'no percentage' -- $net lottery --prune=120%
run 2 'leaves nothing of 2 epochs' -- $net lottery "${small[@]}" --rewind=2
run 2 'takes no operand' -- $net lottery digits:100

# --- epochs kept along the way ---
run 0 -- $net train "${small[@]}" --keep=0,2-5 --out=k
hold "epochs 0 and 2" [ "$(cd k && echo epoch-*)" = 'epoch-0.safetensors epoch-2.safetensors' ]
same "the last one" k/epoch-2.safetensors k/last.safetensors
run 2 'keep=2-1 cannot be read' -- $net train --keep=2-1
finish
