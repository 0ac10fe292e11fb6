#!/usr/bin/env bash
# accuracy.sh: lenet.net as it is shipped learns the drawn digits: at least 97 % on digits of a seed
# that training never saw, for 1 and 2 threads with the same bits.
# ctest-labels: slow
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

run 0 -- netc build -q "$src/specs/lenet.net" -o .
run 0 -- ./lenet train -q
run 0 -- ./lenet eval -q --json --data=digits:12000:977
hold "at least 97 % of digits of another seed: $(cut -c1-160 stdout)" \
    awk 'match($0, /"error":[0-9.e-]+/) { e = substr($0, RSTART + 8, RLENGTH - 8) } END { exit !(e != "" && e <= 0.03) }' stdout
grep -oE '"images":[0-9]+|"error":[0-9.e-]+' stdout | tr '\n' ' ' && echo
run 0 -- ./lenet train -q --threads=1 --epochs=2 --out=one
run 0 -- ./lenet train -q --threads=2 --epochs=2 --out=two
same "lenet with 1 and 2 threads" one/last.safetensors two/last.safetensors
if [ -n "${NETC_DATA_DIR:-}" ] && [ -d "$NETC_DATA_DIR/mnist" ]; then
    run 0 -- ./lenet train -q --data="$NETC_DATA_DIR/mnist" --epochs=2 --out=mnist
    run 0 -- ./lenet eval -q --json --data="$NETC_DATA_DIR/mnist" --weights=mnist/last.safetensors
    hold "at least 98 % on MNIST after 2 epochs" \
        awk 'match($0, /"error":[0-9.e-]+/) { e = substr($0, RSTART + 8, RLENGTH - 8) } END { exit !(e != "" && e <= 0.02) }' stdout
    grep -oE '"images":[0-9]+|"error":[0-9.e-]+' stdout | tr '\n' ' ' && echo
fi
finish
