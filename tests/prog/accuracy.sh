#!/usr/bin/env bash
# accuracy.sh: the LeNets as they are shipped learn.  lenet.net on the drawn digits: at least 97 % on
# digits of a seed that training never saw, the same bits for 1 and 2 threads.  With real MNIST in
# NETC_DATA_DIR: lenet.net at least 99.0 % in 5 epochs, lenet5.net (the network of 1998) an error of
# at most 1.2 % in 20.
# ctest-labels: slow
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

# error_at_most LIMIT WHAT: reads the JSON that eval left in stdout
error_at_most() {
    hold "$2: error at most $1" \
        awk -v limit="$1" 'match($0, /"error":[0-9.e-]+/) { e = substr($0, RSTART + 8, RLENGTH - 8) }
            END { exit !(e != "" && e + 0 <= limit + 0) }' stdout
    grep -oE '"images":[0-9]+|"error":[0-9.e-]+' stdout | tr '\n' ' ' && echo
}

run 0 -- netc build -q "$src/specs/lenet.net" -o .
run 0 -- ./lenet train -q
run 0 -- ./lenet eval -q --json --data=digits:12000:977
error_at_most 0.03 "digits of another seed"
run 0 -- ./lenet train -q --threads=1 --epochs=2 --out=one
run 0 -- ./lenet train -q --threads=2 --epochs=2 --out=two
same "lenet with 1 and 2 threads" one/last.safetensors two/last.safetensors
if [ -n "${NETC_DATA_DIR:-}" ] && [ -d "$NETC_DATA_DIR/mnist" ]; then
    run 0 -- ./lenet train -q --data="$NETC_DATA_DIR/mnist" --epochs=5 --out=mnist
    run 0 -- ./lenet eval -q --json --data="$NETC_DATA_DIR/mnist" --weights=mnist/last.safetensors
    error_at_most 0.01 "lenet.net on MNIST, 5 epochs"
    run 0 -- netc build -q "$src/specs/lenet5.net" -o .
    run 0 -- ./lenet5 train -q --threads=1 --data="$NETC_DATA_DIR/mnist" --epochs=20 --out=mnist5
    run 0 -- ./lenet5 eval -q --json --data="$NETC_DATA_DIR/mnist" --weights=mnist5/last.safetensors
    error_at_most 0.012 "lenet5.net on MNIST, 20 epochs"
else
    echo "NETC_DATA_DIR names no mnist: the checks on real digits are skipped"
fi
finish
