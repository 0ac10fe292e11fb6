#!/usr/bin/env bash
# badinput.sh: everything a user can get wrong: files that are missing, cut, damaged or lying, other
# networks' weights, folders of the wrong shape, full disks, rates that diverge.  Each gives its
# documented exit code, a message that names the file and the next step, and leaves earlier weights
# as they were; nothing crashes.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"
mounted=""
cleanup() { [ -z "$mounted" ] || umount "$mounted"; }

tiny tiny
sed 's/dense(24)/dense(25)/' tiny.net >other.net
run 0 -- netc build -q tiny.net
run 0 -- netc build -q other.net
run 0 -- ./tiny train -q --epochs=1
run 0 -- ./other train -q --steps=1 --out=other-run
good=run/last.safetensors
few=--data=digits:60
size=$(stat -c %s $good)

# patch FILE OFFSET HEX: writes bytes
patch() { printf "$(sed 's/../\\x&/g' <<<"$3")" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }
# flip FILE OFFSET: inverts one byte
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    patch "$1" "$2" "$(printf %02x $((byte ^ 255)))"
}
be32() { printf %08x "$1"; }

# --- weights ---
run 5 'nowhere.safetensors' -- ./tiny eval --weights=nowhere.safetensors $few
run 5 '/' -- ./tiny eval --weights=/ $few
run 4 'f4.weight' '24x|25x' -- ./tiny eval --weights=other-run/last.safetensors $few
run 0 'tensors taken' -- ./tiny eval --partial --weights=other-run/last.safetensors $few
run 4 'safetensors' -- ./tiny eval --weights=tiny.net $few
: >empty.safetensors
run 4 'empty.safetensors' -- ./tiny eval --weights=empty.safetensors $few
for n in 1 7 8 100 $((size / 2)) $((size - 1)); do
    head -c "$n" $good >cut.safetensors
    run 4 'cut.safetensors' -- ./tiny eval --weights=cut.safetensors $few
done
{ cat $good && echo x; } >long.safetensors
run 4 'long.safetensors' -- ./tiny eval --weights=long.safetensors $few
for at in 0 3 7 8 20 60 200 $((size - 1)) $((size / 2)) $((size - 4000)); do
    cp $good flipped.safetensors
    flip flipped.safetensors "$at"
    run 4 'flipped.safetensors' -- ./tiny eval --weights=flipped.safetensors $few
done
cp $good flipped.safetensors
patch flipped.safetensors 0 ffffffffffffff7f # header of 2^63 bytes
run 4 'flipped.safetensors' -- ./tiny eval --weights=flipped.safetensors $few
# NaN without a checksum, as another program might write it
header='{"x":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}'
{ printf '\x%02x\0\0\0\0\0\0\0' ${#header} | sed 's/^x/\\x/' | xargs -0 printf && printf %s "$header"; } >huge.safetensors 2>/dev/null
run 4 'huge.safetensors' -- ./tiny eval --weights=huge.safetensors $few

# --- checkpoints: a damaged one is not continued, and stays ---
cp -r run damaged
flip damaged/checkpoint.safetensors 4000
cp damaged/checkpoint.safetensors before
run 4 'damaged/checkpoint.safetensors' -- ./tiny train -q --resume --out=damaged
same "a damaged checkpoint stays" before damaged/checkpoint.safetensors
same "weights beside it stay" $good damaged/last.safetensors
run 5 'gone' -- ./tiny train -q --resume=gone.safetensors --out=damaged
run 4 'differ|fit|another|match' -- ./other train -q --resume --out=run

# --- idx files ---
idx() { # idx FOLDER COUNT LABELS: MNIST-like, COUNT images and LABELS labels 0..9
    mkdir -p "$1"
    {
        printf "$(sed 's/../\\x&/g' <<<"00000803$(be32 "$2")$(be32 28)$(be32 28)")"
        head -c $(($2 * 784)) /dev/zero | tr '\0' '@'
    } >"$1/train-images-idx3-ubyte"
    {
        printf "$(sed 's/../\\x&/g' <<<"00000801$(be32 "$3")")"
        for ((i = 0; i < $3; i++)); do printf "\\x0$((i % 10))"; done
    } >"$1/train-labels-idx1-ubyte"
}
idx good 40 40
cp good/train-images-idx3-ubyte good/t10k-images-idx3-ubyte
cp good/train-labels-idx1-ubyte good/t10k-labels-idx1-ubyte
run 0 -- ./tiny train -q --data=good --epochs=1 --out=idx
gzip -k good/t10k-images-idx3-ubyte
rm good/t10k-images-idx3-ubyte
run 0 -- ./tiny eval -q --data=good --weights=$good
idx fewer 40 39
run 4 'fewer/' '39' -- ./tiny train -q --data=fewer --out=x
for what in 0:00000804:magic 4:7fffffff:count 4:00000000:none 8:ffffffff:height 8:00000000:flat 8:00010000:tall; do
    IFS=: read -r at bytes name <<<"$what"
    rm -rf lying && cp -r good lying
    patch lying/train-images-idx3-ubyte "$at" "$bytes"
    run 4 'lying' -- ./tiny train -q --data=lying --out="x-$name"
done
rm -rf lying && cp -r good lying
truncate -s -1 lying/train-images-idx3-ubyte
run 4 'lying/train-images' -- ./tiny train -q --data=lying --out=x
rm -rf lying && cp -r good lying
truncate -s -20 lying/t10k-images-idx3-ubyte.gz
run 4 'lying/t10k-images-idx3-ubyte.gz' -- ./tiny eval -q --data=lying --weights=$good
patch good/train-labels-idx1-ubyte 12 0a # a label beyond the classes of the net
run 4 'good' '10' -- ./tiny train -q --data=good --out=x
hold_not "and nothing was trained" [ -e x/last.safetensors ]

# --- folders and pictures ---
run 5 'nowhere' -- ./tiny train -q --data=nowhere --out=x
run 5 'nowhere.png' -- ./tiny-viz saliency nowhere.png --weights=$good
run 2 'digits:' -- ./tiny train -q --data=digits:many --out=x
mkdir -p void flat classes/{0,1,2,3,4,5,6,7,8,9,ten}
run 4 'void' -- ./tiny train -q --data=void --out=x
for i in 1 2 3; do pgm flat/$i.pgm 28 $i; done
run 4 'flat' -- ./tiny train -q --data=flat --out=x
for c in classes/*; do cp flat/1.pgm "$c/a.pgm" && cp flat/2.pgm "$c/b.pgm"; done
run 4 'classes' '11' '10' -- ./tiny train -q --data=classes --out=x
rm -r classes/ten
run 0 -- ./tiny train -q --data=classes --epochs=1 --out=pictures
run 0 -- ./tiny eval -q --data=classes --weights=$good
# broken pictures: counted and skipped, with exit code 1; too many stop the training
if have convert && convert flat/1.pgm whole.png 2>/dev/null && convert flat/1.pgm whole.jpg 2>/dev/null; then
    run 0 -- ./tiny predict -q --weights=$good whole.png whole.jpg
    for f in whole.png whole.jpg; do
        for n in 0 1 20 60 $(($(stat -c %s $f) - 30)); do
            head -c "$n" $f >"cut.${f#*.}"
            run 1 'cut\.' -- ./tiny predict -q --weights=$good "cut.${f#*.}" flat/1.pgm
            run 4 'cut\.' -- ./tiny-viz saliency -q --weights=$good "cut.${f#*.}"
        done
    done
    cp whole.png wide.png
    patch wide.png 16 7fffffff # IHDR width; the CRC is wrong too
    run 1 'wide.png' -- ./tiny predict -q --weights=$good wide.png
fi
for text in 'P5 99999 99999 255' 'P5 -1 2 255' 'P5 28 28 255' 'P2 2 2 255 1 2 x 4' 'P6 28' 'GIF89a'; do
    echo "$text" >lie.pgm
    run 1 'lie.pgm' -- ./tiny predict -q --weights=$good lie.pgm
done
cp lie.pgm classes/3/broken.pgm
run 1 'broken.pgm' -- ./tiny eval -q --data=classes --weights=$good
run 4 '% *$|max-bad' -- ./tiny train -q --data=classes --epochs=1 --out=x
run 0 'broken.pgm' -- ./tiny train -q --data=classes --epochs=1 --max-bad=50 --out=x
echo "no such file.png" | ./tiny predict -q --weights=$good - >/dev/null 2>stderr
hold "a list with a missing picture: 1" [ $? -eq 1 ]
hold "its name is told" grep -q 'no such file.png' stderr

# --- places that cannot be written ---
cp $good kept
if [ "$(id -u)" -ne 0 ]; then
    mkdir locked && chmod 555 locked
    run 5 'locked' -- ./tiny train -q --out=locked
    run 5 'locked' -- ./tiny train -q --out=locked/below
    run 5 'locked' -- netc build -q tiny.net -o locked/tiny
    chmod 000 classes/4
    run 5 'classes/4' -- ./tiny eval -q --data=classes --weights=$good
    chmod 755 classes/4
    cp $good secret && chmod 000 secret
    run 5 'secret' -- ./tiny eval -q --weights=secret $few
fi
: >file
run 5 'file' -- ./tiny train -q --out=file
run 5 'file' -- ./tiny train -q --out=file/below
run 5 'file' -- ./tiny-viz filters --out=file --weights=$good
run 5 'no/where' -- netc build -q tiny.net -o no/where/tiny
run 5 '/proc' -- ./tiny train -q --out=/proc/netc-cannot
checks=$((checks + 1))
./tiny eval -q --weights=$good $few >/dev/full 2>stderr
[ $? -eq 5 ] || bad "a full standard output gives 5" stderr
checks=$((checks + 1))
./tiny info >/dev/full 2>stderr
[ $? -eq 5 ] || bad "info to a full standard output gives 5" stderr
mkdir disk
if [ "$(id -u)" -eq 0 ] && mount -t tmpfs -o size=256k tmpfs disk 2>/dev/null; then
    mounted=$work/disk
    sed 's/dense(24)/dense(250)/' tiny.net >large.net # 130 KB of weights, 260 KB of checkpoint
    run 0 -- netc build -q large.net
    run 5 'disk' -- ./large train -q --epochs=2 --out=disk/run
    hold "no half-written file stays" [ -z "$(find disk -name '*tmp*')" ]
    rm -rf disk/run
    head -c 150k /dev/zero >disk/fill
    run 0 -- ./tiny train -q --epochs=1 --out=disk/run
    cp disk/run/last.safetensors first
    head -c 1M /dev/zero >disk/fill2 2>/dev/null
    run 5 'disk' -- ./tiny train -q --epochs=4 --out=disk/run --resume
    same "a full disk leaves the earlier weights" first disk/run/last.safetensors
    run 5 'disk' -- ./tiny-viz activations --weights=$good $few --out=disk/viz
    run 5 'disk' -- netc build -q tiny.net -o disk/tiny
    rm -f disk/fill disk/fill2
    run 0 -- ./tiny train -q --epochs=2 --out=disk/run --resume
else
    echo "note: no full disk tried (needs root for a small tmpfs)"
fi
same "weights of the first run" kept $good

# --- divergence: 3, the layer is named, the last good checkpoint stays ---
run 3 'diverged at step' 'first in|c1|c3|f4|f5' 'lr' -- ./tiny train -q --lr=1e9 --out=wild
hold_not "no weights of NaN" [ -e wild/last.safetensors ]
cp -r run wild2
cp wild2/checkpoint.safetensors before
run 3 'diverged' 'kept' -- ./tiny train -q --epochs=9 --lr=1e9 --resume --out=wild2
same "the checkpoint of before" before wild2/checkpoint.safetensors
same "and the weights" $good wild2/last.safetensors

# --- command lines ---
run 2 'batch' -- ./tiny train --batch=0
run 2 'lr' -- ./tiny train --lr=fast
run 2 'operand|takes no' -- ./tiny train somewhere
[ -n "${CC:-}" ] || run 6 'memory' -- bash -c 'ulimit -v 400000; ./tiny train -q --batch=100000 --threads=1 --out=x'
checks=$((checks + 1))
netc build nowhere.net 2>stderr
[ $? -eq 5 ] && grep -q "cannot read 'nowhere.net'" stderr || bad "netc build without the file" stderr
finish
