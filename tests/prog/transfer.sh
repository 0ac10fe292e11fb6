#!/usr/bin/env bash
# transfer.sh: what README and LANGUAGE.md say of transfer, with data that are there or with drawn
# digits: LeNet learns MNIST; its last layer alone is trained on Fashion-MNIST, which gives what a
# classifier on f5's values gives; then all of it at a fifth of the rate, which gives more; the
# classifiers of heads.net; one layer trained alone.
# ctest-labels: slow
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"
data=${NETC_DATA_DIR:-none}
epochs=3
if [ -d "$data/mnist" ] && [ -d "$data/fashion-mnist" ]; then
    first=$data/mnist second=$data/fashion-mnist epochs=1
else
    first=digits:6000 second=digits:6000:5
fi
error() { # NET DIR DATA
    "./$1" eval -q --json --data="$3" --weights="$2/last.safetensors" |
        grep -o '"error":[0-9.]*' | head -1 | cut -d: -f2
}
less() { awk -v x="$1" -v y="$2" 'BEGIN { exit !(x < y) }'; }

cp "$src"/specs/{lenet,heads,one_layer}.net .
cat >moved.net <<'END'
include "lenet.net"
net Last extends LeNet {
  train { load = weights("lenet/last.safetensors", skip = "f6.*"); only = "f6"; epochs = 3 }
}
net All extends LeNet {
  train { load = weights("last/last.safetensors"); epochs = 3 }
  set train.optimizer = sgd(lr = 0.01, momentum = 0.9, decay = 1e-3)
}
END
run 0 -- netc build -q lenet.net -o lenet.run
run 0 -- netc build -q --net=Last moved.net -o last.run
run 0 -- netc build -q --net=All moved.net -o all.run
run 0 -- ./lenet.run train -q --epochs=$epochs --data="$first" --out=lenet
run 0 -- ./last.run train -q --epochs=$epochs --data="$second" --out=last
run 0 -- ./all.run train -q --epochs=$epochs --data="$second" --out=all
start=$(error lenet.run lenet "$first") last=$(error last.run last "$second")
all=$(error all.run all "$second")
echo "first task $start, last layer alone $last, all of it $all"
hold "LeNet learns" less "$start" 0.05
hold "the last layer learns" less "$last" 0.35
hold "all layers learn more" less "$all" "$last"
run 0 -- ./lenet.run features -q --data="$second" --layers=f5 --limit=20000 --epochs=4 --out=lenet -o f5.csv
hold "as a classifier on f5, within 8 %" awk -F, -v e="$last" \
    'NR == 2 { d = 100 - $3 - 100 * e; exit !(d * d < 64) }' f5.csv

cp lenet/last.safetensors lenet/best.safetensors
for v in F5.softmax F5.svm S4.softmax S4.svm; do
    run 0 -- netc build -q --variant=$v heads.net -o "$v"
    run 0 -- "./$v" train -q --epochs=1 --data="$second" --out="$v.a"
    e=$(error "$v" "$v.a" "$second")
    echo "$v: $e"
    hold "$v learns" less "$e" 0.4
done
run 0 -- netc build -q --variant=Only.c3 one_layer.net -o c3
run 0 -- ./c3 train -q --epochs=$epochs --data="$first" --out=c3.a
e=$(error c3 c3.a "$first")
echo "c3 alone: $e"
hold "one layer alone learns" less "$e" 0.3
finish
