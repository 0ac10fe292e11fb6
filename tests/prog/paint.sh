#!/usr/bin/env bash
# paint.sh: pictures by optimisation with NAME-viz: misleading ones (fool, fgsm, pgd), inverted
# layers (invert), dreams (dream), maximize by
# other presets, shape against texture (cue).  Figures that are
# known exactly, and the same bytes for any number of threads.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

# column COL of the row whose first column is KEY
cell() { awk -F, -v key="$2" -v col="$3" '$1 == key { print $col }' "$1"; }
near() { awk -v a="$1" -v b="$2" -v by="${3:-1e-5}" 'BEGIN { d = a - b; exit !(a != "" && d <= by && d >= -by) }'; }

# --- a linear net: score 0 = .25 sum, score 1 = -.5 sum, so the margin is w x with |w|_1 = 16 * .75 ---
cat >linear.net <<'N'
net Linear {
  input image: f32[1, 4, 4]
  input kind: class[2]
  a: image -> dense(1, bias = false, init = fill(0.25))
  b: image -> dense(1, bias = false, init = fill(-0.5))
  f: concat(a, b)
  output prob = softmax(f)
  loss ce: cross_entropy(f, kind)
  data  { train = folder("grey"); test = folder("grey"); pixels = range(0, 1) }
  train { optimizer = sgd(lr = 0.1); batch = 2; epochs = 1; seed = 1 }
}
N
mkdir -p grey/a grey/b
for c in a b; do
    { printf 'P2\n4 4\n255\n' && printf '102 %.0s' {1..16}; } >grey/$c/flat.pgm
done
run 0 -- netc build -q linear.net
run 0 -- ./linear train -q --lr=0 --steps=1 # weights as they are
for verb in "fgsm --eps=0.1" "pgd --eps=0.1 --step=0.04 --steps=5"; do
    # shellcheck disable=SC2086
    run 0 'eps 0.1 of 1' -- ./linear-viz $verb --out=l
    f=l/${verb%% *}-0.csv
    margin=$(awk -F, 'NR == 2 { b = $2; a = $3 } NR == 3 { print b - $2, a - $3 }' "$f")
    hold "$verb: the margin falls from 4.8 by eps |w|_1 = 1.2" near "${margin% *}" 4.8
    hold "$verb: the margin falls from 4.8 by eps |w|_1 = 1.2" near "${margin#* }" 3.6
done
run 0 -- ./linear-viz fgsm --eps=0.7 --out=l2 # pixels end at 0
hold "no pixel below 0: no more than the whole margin" near "$(cell l2/fgsm-0.csv 0 3)" 0
run 0 -- ./linear-viz fgsm --eps=0.4 --limit=2 --out=l
hold "both classes are the same picture: one answer of two is wrong at every eps" \
    awk -F, 'NR > 1 && ($2 != 2 || $4 != 50) { exit 1 } END { exit NR != 10 }' l/fgsm.csv
hold "confidence at eps 0 is softmax(4.8)" near "$(cell l/fgsm.csv 0 5)" 99.1837 1e-3
hold "the picture is written as numbers" [ "$(stat -c %s l/fgsm-0.npy)" = 192 ]
run 0 -- ./linear-viz fool --class=1 --rate=1 --out=l # black has margin 0 and keeps its class
mkdir cues && for f in 0-1 b-a1 1-1; do cp grey/a/flat.pgm cues/$f.pgm; done
run 0 'shape 1, texture 1, neither 0: shape bias 50.0 %' -- ./linear-viz cue cues --out=l
hold "probabilities of both cues" awk -F, '
    NR > 1 { p = $1 ~ /^0-1/ ? $4 : $1 ~ /^b-a1/ ? $5 : 1 - $4; n += p > 0.99183 && p < 0.99185 }
    END { exit n != 3 }' l/cue.csv
# the same by a table, of any data
printf '%s\n' picture,shape,texture 1,b,a1 b-a1.pgm,0,1 2,1,1 >pairs.csv
run 0 'shape 1, texture 1, neither 0: shape bias 50.0 %' -- ./linear-viz cue cues --cues=pairs.csv --out=l2
hold "words of the table, in its order" awk -F, '
    NR > 1 { s = s $2 $3 "," $7 ";" } END { exit s != "ba,"a";01,"b";11,no conflict;" }' \
    a="$(awk -F, '$1 ~ /^b-a/ { print $7 }' l/cue.csv)" b="$(awk -F, '$1 ~ /^0-1/ { print $7 }' l/cue.csv)" l2/cue.csv
printf '%s\n' 0,0,1 1,0 >pairs.csv
run 4 'pairs.csv:2: three fields' -- ./linear-viz cue cues --cues=pairs.csv
echo 3,0,1 >pairs.csv
run 4 'pairs.csv:1: there is no such picture' -- ./linear-viz cue cues --cues=pairs.csv
mkdir odd && cp grey/a/flat.pgm odd/flat.pgm
run 2 'not called SHAPE-TEXTURE' -- ./linear-viz cue odd --out=l
mv odd/flat.pgm odd/cat-b.pgm
run 2 "no class is called 'cat'" -- ./linear-viz cue odd --out=l
run 2 'share of the pixel range' '0.0314 is 8 of 255' -- ./linear-viz fgsm --eps=8
run 2 'no class 2' -- ./linear-viz fool --class=2

# --- on LeNet: the same bytes for 1 and 2 threads, the class wanted is reached ---
run 0 -- netc build -q "$src/specs/lenet.net" -o .
run 0 -- ./lenet train -q --data=digits:2400:1 --epochs=1
data=--data=digits:240:1
for t in 1 2; do
    run 0 -- ./lenet-viz fool --image=3 --class=4 $data --threads=$t --out=t$t
    run 0 -- ./lenet-viz pgd --image=3 --steps=10 $data --threads=$t --out=t$t
    run 0 -- ./lenet-viz pgd --limit=20 --steps=5 $data --threads=$t --out=t$t
    run 0 -- ./lenet-viz fgsm --limit=40 $data --threads=$t --out=t$t
done
for f in fool-3.png fool-3.npy fool-3.csv pgd-3.png pgd.csv fgsm.csv fgsm.svg; do
    same "1 and 2 threads" t1/$f t2/$f
done
hold "fool ends where the class wanted is predicted" \
    awk -F, 'END { exit !($5 == 4 && NR < 1002) }' t1/fool-steps-3.csv
hold "error grows with eps" awk -F, 'NR == 2 { a = $4 } END { exit !($4 > a + 20) }' t1/fgsm.csv

# --- a layer that loses nothing gives the picture back; a layer before a rectifier that is silent is
# --- refused ---
cat >keeps.net <<'N'
net Keeps {
  input image: f32[1, 28, 28]
  input kind: class[10]
  c1: conv(1, 1x1, bias = false, init = fill(-1.5))
  c2: conv(1, 1x1, bias = false, init = fill(1)) -> relu
  f:  dense(10)
  output prob = softmax(f)
  loss ce: cross_entropy(f, kind)
  data  { train = digits(60, seed = 1); test = digits(60, seed = 2); pixels = range(0, 1) }
  train { optimizer = sgd(lr = 0.1); batch = 2; epochs = 1; seed = 1 }
}
N
run 0 -- netc build -q keeps.net
run 0 -- ./keeps train -q --lr=0 --steps=1 --out=keeps-run
keeps=(--weights=keeps-run/last.safetensors --out=k)
for t in 1 2; do
    run 0 -- ./keeps-viz invert --layer=c1 --preset=mahendran2015 --tv=0 --alpha=0 --rate=0.1 "${keeps[@]}" --threads=$t --out=k$t
    run 0 -- ./lenet-viz invert --steps=40 --image=3 $data --threads=$t --out=k$t
done
hold "less than a thousandth of a pixel away" awk -F, '
    NR == 2 && $2 > 0.5 && $3 < 1e-8 && $4 < 1e-3 { good = 1 } END { exit !good }' k1/invert-0.csv
hold "every layer of LeNet gets nearer" awk -F, '
    NR > 1 && !($3 < $2 / 3) { exit 1 } END { exit NR != 4 }' k1/invert-3.csv
for f in invert-0.npy invert-3.png invert-3.csv invert-3.npy; do
    same "1 and 2 threads" k1/$f k2/$f
done
run 2 'c2 is silent' -- ./keeps-viz invert --layer=c2 "${keeps[@]}"
run 2 "did you mean 'mahendran2015'" -- ./keeps-viz invert --preset=mahendran15 "${keeps[@]}"

# --- dreams: a step that is not cut moves pixels by the rate on average; stopping and going on, by
# --- count and by Ctrl-C, ends with the bytes of a run without a stop ---
w=(-w run/last.safetensors -q)
{ printf 'P5\n40 52\n255\n' && printf 'd%.0s' {1..2080}; } >even.pgm
run 0 -- ./lenet-viz dream even.pgm "${w[@]}" --steps=3 --octaves=1 --jitter=0 --out=d
hold "mean change of a step = 1.5" awk -F, '
    NR > 1 && ($7 < 1.49999 || $7 > 1.50001 || $4 != 52 || $5 != 40) { exit 1 } END { exit NR != 4 }' d/dream-0.csv
dream=(dream --image=3 --frames=3 --steps=4 $data "${w[@]}")
run 0 -- ./lenet-viz "${dream[@]}" --threads=1 --out=d1
run 0 -- ./lenet-viz "${dream[@]}" --threads=2 --out=d2 --stop=17
hold_not "there is no film of a run that stopped" [ -e d2/dream-3.apng ]
run 0 -- ./lenet-viz "${dream[@]}" --threads=2 --out=d2 --resume
for f in dream-3.png dream-3.npy dream-3.csv dream-3-0000{0,1,2}.png dream-3.apng; do
    same "stopped, gone on, 1 and 2 threads" d1/$f d2/$f
done
hold "16 steps a frame, 4 octaves from 10 to 28 pixels" awk -F, '
    NR == 2 && ($4 != 10 || $2 != 3) { exit 1 } END { exit !(NR == 49 && $4 == 28 && $1 == 2) }' d1/dream-3.csv
hold "three frames" [ "$(grep -ao fcTL d1/dream-3.apng | wc -l)" = 3 ]
run 0 -- ./lenet-viz saliency d1/dream-3.apng "${w[@]}" --out=film # a PNG for who knows no films
run 0 -- ./lenet-viz saliency d1/dream-3-00000.png "${w[@]}" --out=first
same "its first frame" film/saliency-0.npy first/saliency-0.npy
run 2 'another run' -- ./lenet-viz "${dream[@]}" --rate=2 --out=d2 --resume
long=(dream --image=3 --steps=800 --threads=1 $data "${w[@]}")
run 0 -- ./lenet-viz "${long[@]}" --out=d3
stops=0
resume=()
for wait in 0.15 0.2 100; do
    timeout -s INT $wait ./lenet-viz "${long[@]}" --out=d4 "${resume[@]}" >stdout 2>stderr
    [ -e d4/dream-3.state ] && resume=(--resume) && stops=$((stops + 1))
done
hold "Ctrl-C leaves a state" [ $stops -gt 0 ]
same "interrupted $stops times" d3/dream-3.npy d4/dream-3.npy
same "interrupted $stops times" d3/dream-3.csv d4/dream-3.csv
run 0 -- ./lenet-viz dream "${w[@]}" --size=61 --steps=2 --layer=c1 --maps=0-3 --out=d
run 0 -- ./lenet-viz dream "${w[@]}" --class=4 --steps=2 --out=d
run 0 -- ./lenet-viz dream even.pgm "${w[@]}" --guide=even.pgm --steps=2 --out=d
run 2 'one of them' -- ./lenet-viz dream even.pgm --noise "${w[@]}"
run 2 'no class 10' -- ./lenet-viz dream --class=10 "${w[@]}"

# --- what excites a class: by frequencies, by natural pre-images, shifted ---
for t in 1 2; do
    for preset in olah mahendran2016 yosinski1; do
        run 0 -- ./lenet-viz maximize "${w[@]}" --preset=$preset --steps=40 --maps=0-2 --jitter=2 --threads=$t --out=x$t-$preset
    done
done
for preset in olah mahendran2016 yosinski1; do
    same "$preset, 1 and 2 threads" x{1,2}-$preset/maximize-f6.png
    hold "$preset gains" awk -F, 'NR > 1 && !($4 > $3 + 3) { exit 1 } END { exit NR != 4 }' x1-$preset/maximize-f6.csv
done

finish
