#!/usr/bin/env bash
# viz.sh: every verb of NAME-viz: files, determinism, figures that are known exactly, refusals.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

run 0 -- netc build -q "$src/specs/lenet.net" -o .
run 0 -- ./lenet train -q --data=digits:2400:1 --epochs=1
data=--data=digits:2400:1 # 400 test images

# --- the drawing, before there are weights ---
mkdir drawn && run 0 -- env -C drawn ../lenet-viz diagram
hold "a box for the input and each layer" [ "$(grep -c '<g' drawn/out/diagram.svg)" = 7 ]
hold "diagram.svg is well-formed" xml drawn/out/diagram.svg
run 2 'takes no file' -- ./lenet-viz diagram blank.pgm

# --- every verb writes its files, the same ones each time, whatever the threads ---
verbs=(filters activations deconv guided saliency)
for t in 1 2; do
    for verb in "${verbs[@]}"; do
        operands=("$data")
        [ "$verb" != filters ] || operands=()
        run 0 -- ./lenet-viz "$verb" --threads=$t "${operands[@]}" --out=v$t
        hold "$verb: no control characters" no_control stderr
    done
done
run 0 -- ./lenet-viz deconv -q --batch=17 "$data" --out=v1b
for f in filters-c1.png filters-c3.png activations-{c1,s2,c3,s4,f5,f6}.png deconv-c{1,3}.{png,csv} \
    guided-0.png saliency-0.png; do
    hold "$f is written" [ -s "v1/$f" ]
    same "1 and 2 threads" "v1/$f" "v2/$f"
done
for f in v1b/*; do
    same "deconv in other batches" "$f" "v1/${f#v1b/}"
done
for f in v1/*.png; do
    hold "$f is a PNG" [ "$(head -c 8 "$f" | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ]
done

# --- what the tables say ---
for layer in c1:16:1:5 c3:32:2:14; do # maps, stride and size of the receptive field
    IFS=: read -r name maps jump field <<<"$layer"
    hold "deconv-$name.csv: ranks 1..9, falling, one image per map, fields where units look" \
        awk -F, -v maps="$maps" -v jump="$jump" -v field="$field" '
        NR == 1 { next }
        NF != 14 || $3 != ($2 == map && NR > 2 ? rank + 1 : 1) || $3 > 9 { exit 1 }
        $3 > 1 && $4 + 0 > value + 0 { exit 1 }
        $3 > 1 && $4 == value && $5 + 0 < image + 0 { exit 1 }
        seen[$2, $5]++ { exit 1 }
        $10 != jump * $8 || $11 != jump * $9 || $12 != field || $13 != field { exit 1 }
        $4 <= 0 || $14 <= 0 || $2 >= maps || $2 < 0 { exit 1 }
        { map = $2; rank = $3; value = $4; image = $5; n++ }
        END { exit n < maps * 3 }' "v1/deconv-$name.csv"
done
# the largest value of the table is the one that `activations` finds in that image, another path
read -r value image < <(awk -F, 'NR > 1 && $4 + 0 > v { v = $4 + 0; i = $5 } END { print v, i }' v1/deconv-c1.csv)
run 0 "white = \\+$(printf '%.4g' "$value")\$" -- \
    ./lenet-viz activations --layer=c1 --image="$image" "$data" --out=again

# --- a case computed by hand: a 3x3 filter of ones over one picture with a bright corner ---
cat >known.net <<'SPEC'
net Known {
  input image: f32[1, 6, 6]
  input kind: class[2]
  c1: conv(1, 3x3, init = fill(1)) -> relu
  f2: dense(2)
  output prob = softmax(f2)
  loss ce: cross_entropy(f2, kind)
  data { train = folder("pics"); test = folder("pics"); pixels = range(0, 1) }
  train { optimizer = sgd(lr = 0.1); batch = 2; epochs = 1; seed = 1 }
}
SPEC
mkdir -p pics/a 'pics/<b>&"x"'
{ echo P2 6 6 255 && printf '0 0 0 %d %d %d\n' {0,0,0}{,,} {255,255,255}{,,}; } >pics/a/corner.pgm
{ echo P2 6 6 255 && printf '%d ' {51,51,51,51,51,51}{,,,,,}; } >"pics/<b>&\"x\"/flat.pgm"
run 0 -- netc build -q known.net -o known-net
run 0 -- ./known-net train -q --lr=0 --steps=1 --out=known # weights as they are
run 0 -- ./known-net-viz deconv --weights=known/last.safetensors --out=known
# corner: 9 bright pixels under the unit at (3, 3); flat: 9 * 0.2 everywhere, first position wins.
# Projected with ones, the activation itself is what each pixel gets.
hold "deconv of a known net" awk -F, '
    NR == 2 { a = $4 == 9 && $5 == 1 && $8 == 3 && $9 == 3 && $10 == 3 && $11 == 3 && $14 == 9 }
    NR == 3 { b = $4 > 1.79999 && $4 < 1.80001 && $8 == 0 && $9 == 0 && $14 == $4 && $6 ~ /flat/ }
    END { exit !(a && b && NR == 3) }' known/deconv-c1.csv

# --- filters: the deeper layer is the weighted sum of the first one's, moved by its stride ---
cat >sums.net <<'N'
net Sums {
  input image: f32[1, 12, 12]
  input kind: class[2]
  c1: conv(2, 2x2, init = fill(1)) -> relu
  c2: conv(1, 2x2, stride = 2, init = fill(0.5)) -> relu
  f3: dense(2)
  output prob = softmax(f3)
  loss ce: cross_entropy(f3, kind)
  data { train = folder("pics"); test = folder("pics"); pixels = range(0, 1) }
  train { optimizer = sgd(lr = 0.1); batch = 2; epochs = 1; seed = 1 }
}
N
floats() { tail -c +129 "$1" | od -An -v -tf4 | xargs; }
run 0 -- netc build -q sums.net -o sums-net
run 0 -- ./sums-net train -q --lr=0 --steps=1 --out=sums
run 0 -- ./sums-net-viz filters --kernels --weights=sums/last.safetensors --out=sums
hold "2 maps x 0.5, overlapping like 2x2 squares" [ "$(floats sums/filters-c2.npy)" = "1 2 1 2 4 2 1 2 1" ]
hold "kernels as they are" [ "$(floats sums/kernels-c2.npy)" = "0.5 0.5 0.5 0.5 0.5 0.5 0.5 0.5" ]
hold "RMS and strongest activation of every filter" awk -F, '
    NR == 2 { a = $1 == "c1" && $3 == 4 && $4 == 1 && $6 == 1 && $7 == 4 && $8 == "" }
    NR == 4 { b = $1 == "c2" && $3 == 8 && $4 == 0.5 && $7 == 16 }
    END { exit !(a && b && NR == 4) }' sums/filters.csv
sed 's/c1: conv(2, 2x2, init = fill(1))/c1: conv(2, 2x2, init = fill(-1))/' sums.net >dead.net
run 0 -- netc build -q dead.net -o dead-net
run 0 -- ./dead-net train -q --lr=0 --steps=1 --out=dead
run 0 '2 dead' -- ./dead-net-viz filters --layer=c1 --weights=dead/last.safetensors --out=dead

# --- receptive fields: the table of all layers ---
run 0 -- ./lenet-viz field -q --image=3 "$data" --out=fields
hold "fields, steps and starts of LeNet" diff - fields/field.csv <<'T'
layer,maps,height,width,field_h,field_w,step_y,step_x,start_y,start_x
c1,16,24,24,5,5,1,1,0,0
s2,16,12,12,6,6,2,2,0,0
c3,32,8,8,14,14,2,2,0,0
s4,32,4,4,16,16,4,4,0,0
f5,128,1,1,0,0,4,4,0,0
f6,10,1,1,0,0,4,4,0,0
T
run 2 'names no map of layer c1' -- ./lenet-viz field --layer=c1 --maps=16 "$data"

# --- projections of a map: other rules and starts; unpooling to centres, known exactly ---
run 0 'scanned 400 images in' 'projections in' -- ./lenet-viz deconv --rule=guided "$data" --out=px
run 0 -- ./lenet-viz deconv -q --rule=gradient --start=map --layer=c3 "$data" --out=px
run 0 -- ./lenet-viz deconv -q --start=layer --layer=c3 --maps=0-3 "$data" --out=px
hold "files are named after rule and start" \
    [ -s px/guided-c1.npy ] && [ -s px/gradient-c3-map.png ] && [ -s px/deconv-c3-layer.csv ]
cat >pooled.net <<'SPEC'
net Pooled {
  input image: f32[1, 6, 9]
  input kind: class[2]
  c1: conv(1, 1x1, init = fill(1)) -> relu
  p2: maxpool(3x3)
  c3: conv(1, 1x1, init = fill(2)) -> relu
  f4: dense(2)
  output prob = softmax(f4)
  loss ce: cross_entropy(f4, kind)
  data { train = folder("pools"); test = folder("pools"); pixels = range(0, 255) }
  train { optimizer = sgd(lr = 0.1); batch = 1; epochs = 1; seed = 1 }
}
SPEC
mkdir -p pools/a pools/b
{ echo P2 9 6 255 && printf '%d ' {1..17} 99 {19..54}; } | tee pools/a/one.pgm >pools/b/same.pgm
run 0 -- netc build -q pooled.net -o pooled
run 0 -- ./pooled train -q --lr=0 --steps=1 --out=pooled-run
run 0 -- ./pooled-viz deconv -q --layer=c3 --weights=pooled-run/last.safetensors --out=pool
run 0 -- ./pooled-viz deconv -q --layer=c3 --switches=centre --weights=pooled-run/last.safetensors --out=pool
# the strongest unit is the upper right one, 2 * 99: twice that at the pixel that won, or at the centre
floats() { tail -c +129 "$1" | od -An -v -w36 -tf4 | awk '{ $1 = $1 } 1'; }
floats pool/deconv-c3.npy | head -n 1 >true.txt
floats pool/deconv-c3-centre.npy | head -n 1 >centre.txt
hold "recorded switches: pixel (1, 2) of the window" [ "$(cat true.txt)" = '0 0 0 0 0 396 0 0 0' ]
hold "centres: pixel (1, 1)" [ "$(cat centre.txt)" = '0 0 0 0 396 0 0 0 0' ]
sed 's/Pooled/Chained/; s/c1: conv(1, 1x1, init = fill(1)) -> relu/c1: conv(1, 1x1, init = fill(1)) -> bn -> relu/' \
    pooled.net >chained.net # parameters are then called c1.conv1.weight
run 0 -- netc build -q chained.net -o chained
run 0 -- ./chained train -q --lr=0 --steps=1 --out=chained-run
run 0 'chain/deconv-c1.png' 'chain/deconv-c3.png' -- ./chained-viz deconv --weights=chained-run/last.safetensors --out=chain
run 0 -- ./chained-viz lrp -q --rule=alpha1 --weights=chained-run/last.safetensors --out=chain
run 2 'no max pooling' -- ./known-net-viz deconv --switches=centre --weights=known/last.safetensors

# --- the page ---
run 0 -- ./lenet-viz report "$data" --limit=90 --out=page
run 0 -- ./known-net-viz report --weights=known/last.safetensors --out=page2
links() { # every link of the page is a place in it, or a file beside it
    local page=$1 link
    grep -oE '(href|src)="[^"]*"' "$page/index.html" | sed 's/^[a-z]*="//; s/"$//' | grep -v '^data:' | sort -u |
        while read -r link; do
            case $link in
            '#'*) grep -q "id=\"${link#\#}\"" "$page/index.html" ;;
            *) [ -f "$page/$(printf '%b' "${link//%/\\x}")" ] ;;
            esac || { echo "no $link" && return 1; }
        done
}
for page in page page2; do
    hold "$page: no reference to anything outside" [ -z "$(grep -oE '(https?|ftp):|(src|href)="//' $page/index.html | head -n 1)" ]
    hold "$page: every link leads somewhere" links $page
    hold "$page: below 5 MB" [ "$(stat -c %s $page/index.html)" -lt 5000000 ]
    hold "$page: well-formed" xml $page/index.html
    hold "$page: no script" [ "$(grep -ciE '<script|javascript:| on[a-z]+=' $page/index.html)" = 0 ]
done
for text in 'Recognition' 'Training' 'The network' 'Filters' 'Activations' 'What excites each map' 'Saliency' \
    'Guided' 'Occlusion' 'Grad-CAM' 'Best images'; do
    hold "the page has $text" grep -q "<h2[^>]*>$text" page/index.html
done
hold "names are escaped" grep -q '&lt;b&gt;&amp;' page2/index.html
if have xxh128sum; then
    hold "the hash of the weights" grep -q "XXH3 $(xxh128sum <run/best.safetensors | cut -d' ' -f1)" page/index.html
fi
# the command under a sheet makes the same sheet
for verb in deconv occlude; do
    command=$(grep -oE "<code>\./lenet-viz $verb[^<]*" page/index.html | head -n 1 | sed 's/<code>//')
    # shellcheck disable=SC2086
    run 0 -- $command --out=alone
done
same "alone and in the report" alone/deconv-c1.png page/deconv/deconv-c1.png
same "alone and in the report" alone/occlusion-0.png page/occlude/occlusion-0.png

# --- the spec's own choice: options of one job do not reach the next ---
cp "$src/specs/lenet.net" . && cat >own.net <<'N'
include "lenet.net"
net Own extends LeNet {
  visualize {
    short: maximize(f6, steps = 3)
    long:  maximize(f6, steps = 30)
    usual: deconv(c1)
    wide:  occlude(side = 9, stride = 9, image = 2)
  }
}
N
sed -i '/long:/s/(f6.*)/(c3, maps = 2, steps = 30)/' own.net
run 0 -- netc build -q own.net
run 0 -- ./own-viz all -q "$data" --weights=run/best.safetensors --out=jobs
run 0 -- ./lenet-viz maximize -q --layer=c3 --maps=2 --steps=30 --out=jobsm
same "a job and the verb" jobs/long/maximize-c3.csv jobsm/maximize-c3.csv
same "a job and the verb" jobs/usual/deconv-c1.csv v1/deconv-c1.csv
hold "nothing else" [ "$(cd jobs && echo *)" = "long short usual wide" ]
for t in 1 2; do
    run 0 -- ./own-viz report -q "$data" --weights=run/best.safetensors --threads=$t --out=jobs$t
done
hold "the report shows them" [ "$(grep -c '<h2 id="job-' jobs1/index.html)" = 4 ]
same "1 and 2 threads" jobs1/index.html jobs2/index.html

# --- which pixels speak for a class ---
for t in 1 2; do
    for verb in smoothgrad integrated gradxinput gradcam; do
        run 0 -- ./lenet-viz $verb --image=3 "$data" --threads=$t --out=at$t
        cp stderr $verb.said
    done
done
for verb in smoothgrad integrated gradxinput gradcam; do
    same "$verb: 1 and 2 threads" at1/$verb-3.png at2/$verb-3.png
done
hold "integrated gradients are complete to 1 %" \
    awk '/off by/ { sub(/.*off by /, ""); good = $1 + 0 < 1 } END { exit !good }' integrated.said
run 0 -- ./lenet-viz integrated --steps=1 --image=3 "$data" --out=at1
hold "with one step they are not" \
    awk '/off by/ { sub(/.*off by /, ""); good = $1 + 0 > 1 } END { exit !good }' stderr
run 0 -- ./lenet-viz smoothgrad --noise=0 --samples=4 --image=3 "$data" --out=at1
run 2 'no such class' -- ./lenet-viz gradcam --class=10 "$data"

# --- exactly known: without biases, gradient x input sums to the score, integrated gradients are the
# --- same at any number of steps, and a linear head on mean maps is its own activation map ---
cat >bare.net <<'N'
net Bare {
  input image: f32[1, 28, 28]
  input digit: class[10]
  c1: conv(8, 5x5, bias = false) -> relu
  s2: maxpool(2x2)
  c3: conv(12, 3x3, bias = false) -> relu
  g:  global_avgpool
  f:  dense(10, bias = false)
  output prob = softmax(f)
  loss ce: cross_entropy(f, digit)
  data  { train = digits(600, seed = 1); test = digits(50, seed = 2); pixels = range(0, 1) }
  train { optimizer = sgd(lr = 0.1); batch = 16; epochs = 1 }
}
N
run 0 -- netc build -q bare.net
run 0 -- ./bare train -q --out=runb
for verb in gradxinput "integrated --steps=1" "integrated --steps=7"; do
    # shellcheck disable=SC2086
    run 0 -- ./bare-viz $verb --image=4 --weights=runb/last.safetensors --out=ob
    hold "$verb: the sum is the score" awk '/score/ {
        score = $0; sub(/.*score /, "", score); sum = $0; sub(/.*sum /, "", sum)
        d = score + 0 - (sum + 0); good = d * d < 1e-6 * (1 + score * score) } END { exit !good }' stderr
done

# --- relevance: without biases it is all there; a case worked by hand ---
for rule in epsilon alpha1 alpha2; do
    run 0 -- ./bare-viz lrp --rule=$rule --epsilon=0 --image=4 --weights=runb/last.safetensors --out=ob
    hold "lrp --rule=$rule: the sum is the score" awk '/sum of relevance/ {
        sum = $0; sub(/.*relevance /, "", sum); of = sum; sub(/.* of /, "", of)
        d = sum - of; n += d * d < 1e-10 * of * of } END { exit !n }' stderr
done
cat >hand.net <<'N'
net Hand {
  input image: f32[1, 1, 2]
  input kind: class[2]
  c1: conv(2, 1x1, bias = false) -> relu
  f2: dense(2, bias = false)
  output prob = softmax(f2)
  loss ce: cross_entropy(f2, kind)
  data  { train = folder("hands"); test = folder("hands"); pixels = range(0, 255) }
  train { optimizer = sgd(lr = 0.1); batch = 1; epochs = 1 }
}
N
run 0 -- netc build -q hand.net -o hand
header='{"c1.weight":{"dtype":"F32","shape":[2,1,1,1],"data_offsets":[0,8]},"f2.weight":{"dtype":"F32","shape":[2,4],"data_offsets":[8,40]}} '
{
    printf '\x85\0\0\0\0\0\0\0%s' "$header"
    printf '\0\0\x80\x3f\0\0\0\x40'                                 # c1: 1, 2
    printf '\0\0\0\x40\0\0\x80\xbf\0\0\x80\x3f\0\0\x40\xc0'         # f2, class 0: 2 -1 1 -3
    printf '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x20\x40'                   # class 1: 0 0 0 2.5
} >hand.safetensors
echo 'P2 2 1 255 3 1' >hand.pgm
# c1 = 3 1 | 6 2; score 5 = 6 - 1 + 6 - 6: positive parts 12, negative ones 7; all of a map's relevance is its pixel's
for known in epsilon:0:12:-7 alpha1:0:5:0 alpha2:0:10:-5 epsilon:1:3.26478:-1.194147; do
    IFS=: read -r rule eps left right <<<"$known"
    run 0 -- ./hand-viz lrp -q hand.pgm --class=0 --rule="$rule" --epsilon="$eps" --weights=hand.safetensors --out=oh
    hold "lrp --rule=$rule --epsilon=$eps as by hand" awk -v l="$left" -v r="$right" '
        { a = $1 - l; b = $2 - r } END { exit !(NR == 1 && a * a < 1e-9 && b * b < 1e-9) }' \
        <(tail -c +129 oh/lrp-0.npy | od -An -v -tf4)
done
# the same with a bn whose factor turns the signs: 8 - 5 = 3 is divided among what lowered the 5
sed 's/Hand/Turned/; /f2: dense/c\  c2: conv(2, 1x2, bias = false)\n  n2: bn -> relu\n  f3: dense(2, bias = false)' \
    hand.net | sed 's/softmax(f2)/softmax(f3)/; s/cross_entropy(f2/cross_entropy(f3/' >turned.net
run 0 -- netc build -q turned.net -o turned
header='{"c1.weight":{"dtype":"F32","shape":[2,1,1,1],"data_offsets":[0,8]},"c2.weight":{"dtype":"F32","shape":[2,2,1,2],"data_offsets":[8,40]},"f3.weight":{"dtype":"F32","shape":[2,2],"data_offsets":[40,56]},"n2.bias":{"dtype":"F32","shape":[2],"data_offsets":[56,64]},"n2.running_mean":{"dtype":"F32","shape":[2],"data_offsets":[64,72]},"n2.running_var":{"dtype":"F32","shape":[2],"data_offsets":[72,80]},"n2.weight":{"dtype":"F32","shape":[2],"data_offsets":[80,88]}}  '
{
    printf '\xd0\x01\0\0\0\0\0\0%s' "$header"
    printf '\0\0\x80\x3f\0\0\0\x40' # c1.weight
    printf '\0\0\0\x40\0\0\x80\xbf\0\0\x80\x3f\0\0\x40\xc0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x20\x40' # c2.weight
    printf '\0\0\x80\x3f\0\0\0\0\0\0\0\0\0\0\0\0' # f3.weight
    printf '\0\0\0\x41\0\0\0\0' # n2.bias
    printf '\0\0\0\0\0\0\0\0' # n2.running_mean
    printf '\x58\xff\x7f\x3f\x58\xff\x7f\x3f' # n2.running_var
    printf '\0\0\x80\xbf\0\0\x80\x3f' # n2.weight
} >turned.safetensors
for known in epsilon:-12:7 alpha1:0:3 alpha2:-3:6; do
    IFS=: read -r rule left right <<<"$known"
    run 0 -- ./turned-viz lrp -q hand.pgm --class=0 --rule="$rule" --epsilon=0 --weights=turned.safetensors --out=ot
    hold "lrp --rule=$rule through a bn as by hand" awk -v l="$left" -v r="$right" '
        { a = $1 - l; b = $2 - r } END { exit !(NR == 1 && a * a < 1e-9 && b * b < 1e-9) }' \
        <(tail -c +129 ot/lrp-0.npy | od -An -v -tf4)
done
run 0 -- ./lenet-viz lrp -q --rule=alpha2 --image=3 "$data" --threads=1 --out=at1
run 0 -- ./lenet-viz lrp -q --rule=alpha2 --image=3 "$data" --threads=2 --out=at2
same "lrp: 1 and 2 threads" at1/lrp-3.npy at2/lrp-3.npy

# --- pictures by climbing ---
for t in 1 2; do
    run 0 -- ./lenet-viz maximize -q --steps=60 --threads=$t --out=m$t
    run 0 -- ./lenet-viz maximize -q --steps=40 --layer=c3 --maps=0-7 --threads=$t --out=m$t
    run 0 -- ./lenet-viz maximize -q --preset=simonyan --class=7 --threads=$t --out=n$t
done
for f in maximize-{f6,c3}.{png,csv}; do
    same "1 and 2 threads" m1/$f m2/$f
done
same "1 and 2 threads" n1/maximize-f6.csv n2/maximize-f6.csv
hold "every class and every map, silent ones too, gains" awk -F, '
    NR > 1 && !($4 > $3 + 0.1) { exit 1 } END { if (NR < 9) exit 1 }' m1/maximize-{f6,c3}.csv
hold "the class model gains" awk -F, 'NR == 2 && $2 == 7 && $4 > $3 + 5 { good = 1 } END { exit !good }' \
    n1/maximize-f6.csv
run 2 "did you mean 'yosinski1'" -- ./lenet-viz maximize --preset=yosinsky1
run 2 'takes no picture' -- ./lenet-viz maximize cat.png
run 2 'no class 10' -- ./lenet-viz maximize --class=10

# --- occlusion ---
for t in 1 2; do
    run 0 -- ./lenet-viz occlude -q --image=5 "$data" --threads=$t --out=oc$t
done
same "1 and 2 threads" oc1/occlusion-5.png oc2/occlusion-5.png
same "1 and 2 threads" oc1/occlusion-5.csv oc2/occlusion-5.csv
hold "28 x 28 anchors, probabilities between 0 and 1, some of them far apart" awk -F, '
    NR == 1 { next } $4 < 0 || $4 > 1 || NF != 5 { exit 1 }
    { lo = NR == 2 || $3 < lo ? $3 : lo; hi = NR == 2 || $3 > hi ? $3 : hi }
    END { exit !(NR == 785 && hi > lo + 1) }' oc1/occlusion-5.csv
{ printf 'P5\n28 28\n255\n' && head -c 784 /dev/zero; } >blank.pgm
run 0 -- ./lenet-viz occlude -q blank.pgm --out=blank
hold "a square like the picture changes nothing, exactly" awk -F, '
    NR == 2 { a = $3; b = $4 } NR > 2 && ($3 != a || $4 != b) { exit 1 }' blank/occlusion-0.csv
hold "the same numbers as an array, three maps of 28 x 28" \
    grep -qa "'descr': '<f4'.*'shape': (3, 28, 28)" oc1/occlusion-5.npy
hold "its first number is the table's" [ "$(tail -c +129 oc1/occlusion-5.npy | head -c 4 | od -An -tf4 | awk '{ printf "%.4f", $1 }')" \
    = "$(awk -F, 'NR == 2 { printf "%.4f", $3 }' oc1/occlusion-5.csv)" ]
run 2 'leaves gaps' -- ./lenet-viz occlude "$data" --side=3 --stride=4
run 2 'no class 10' -- ./lenet-viz occlude "$data" --class=10

# --- the space of a layer ---
for t in 1 2; do
    run 0 -- ./lenet-viz embed -q "$data" --limit=150 --iterations=120 --threads=$t --out=em$t
done
for f in embed-f5{.png,.svg,.csv,.npy,-pictures.png,-pca.csv}; do
    same "1 and 2 threads" em1/$f em2/$f
done
hold "150 samples, ten classes, no two at one place" awk -F, '
    NR > 1 { n++; seen[$3] = 1; if (place[$(NF - 1), $NF]++) exit 1 }
    END { for (c in seen) k++; exit !(n == 150 && k == 10) }' em1/embed-f5.csv
hold "ratios fall, their sum stays below 1" awk -F, '
    NR > 1 { if (NR > 2 && $3 > last) exit 1; last = $3; sum = $4 } END { exit !(NR == 51 && sum > 0.9 && sum <= 1) }' \
    em1/embed-f5-pca.csv
hold "embed-f5.svg is well-formed" xml em1/embed-f5.svg
run 0 -- ./lenet-viz embed -q --method=pca --layer=c1,s4 "$data" --limit=60 --out=em1

# --- errors: the same count by two other ways ---
run 0 -- ./lenet eval -q --json "$data"
wrong=$(sed 's/.*"error":\([0-9.e-]*\).*/\1/' stdout | awk '{ print int($1 * 400 + 0.5) }')
run 0 -- ./lenet-viz errors -q "$data" --out=er
run 0 -- ./lenet-viz confusion -q "$data" --out=er
hold "as many errors as eval counts, losses falling" awk -F, -v wrong="$wrong" '
    NR > 1 { if ($3 == $4 || (NR > 2 && $5 + 0 > last)) exit 1; last = $5 + 0 }
    END { exit !(NR - 1 == wrong && wrong > 0) }' er/errors.csv
hold "the table beside its diagonal" awk -F, -v wrong="$wrong" '
    NR > 1 { for (i = 2; i <= NF; i++) { all += $i; if (i != NR) off += $i } }
    END { exit !(all == 400 && off == wrong) }' er/confusion.csv
run 2 'labelled data' -- ./lenet-viz errors blank.pgm --out=er

# --- neural collapse, of one file and along training ---
run 0 -- ./lenet-viz collapse "$data" --limit=300 --out=nc
hold "it prints NC1 to NC4" [ "$(grep -c 'NC[1-4]' stdout)" = 7 ]
run 0 -- ./lenet-viz collapse -q "$data" --limit=300 --out=nc run/last.safetensors run/best.safetensors
hold "two files, two rows" [ "$(wc -l <nc/collapse.csv)" = 3 ]
hold "collapse.svg is well-formed" xml nc/collapse.svg

# the mean of a 1x1 convolution's maps is a dense layer of the means, with the same weights: the same measures
collapse_of() { # NAME BODY SCORE TEXT: what it prints
    printf '%s\n' "net $1 {" ' input image: f32[1, 28, 28]' ' input kind: class[10]' \
        ' a: conv(6, 5x5, stride = 3) -> relu' " $2" " output prob = softmax($3)" " loss ce: cross_entropy($3, kind)" \
        ' train { optimizer = sgd(lr = 0.1); batch = 20; epochs = 1 } }' >"$1.net"
    run 0 -- netc build -q -O1 "$1.net" -o "$1"
    run 0 -- "./$1" train -q --data=digits:200:1 --out="$1.run"
    run 0 -- "./$1-viz" collapse --data=digits:200:1 --weights="$1.run/last.safetensors" --out="$1.run"
    hold "$1: $4" grep -q "$4" stdout
}
collapse_of MeanOfConv 'f: conv(10, 1x1) -> global_avgpool -> flatten' f 'which the 1x1 convolution f classifies'
collapse_of DenseOfMean 'p: global_avgpool -> flatten; f: dense(10)' f 'NC3'
hold "equal measures, NC3 too" awk -F, '
    FNR == 2 && NR == 2 { n = split($0, x); next }
    FNR == 2 { for (i = 2; i <= n; i++) if (x[i] == "" || (x[i] - $i) ^ 2 > 1e-8 * $i ^ 2) exit 1; ok = n == 9 }
    END { exit !ok }' MeanOfConv.run/collapse.csv DenseOfMean.run/collapse.csv
collapse_of MeanOfRelu 'f: conv(10, 1x1) -> relu; p: avgpool(8x8) -> flatten' p 'without weights: f is no .*(relu)'

# --- the plane: |x| of both coordinates has 4 pieces, twice folded 16 ---
run 0 -- netc build -q --net=Fold "$src/specs/xor.net" -o plane
printf '%s\n' 1,1,0 -1,1,1 1,-1,1 -1,-1,0 >four.csv
echo 1,x,0 >broken.csv
run 0 -- ./plane train -q --lr=0 --steps=1 --data=four.csv --out=pl
run 0 -- ./plane-viz fold -q --weights=pl/last.safetensors --range=-1.99,2.01 --out=pl
hold "linear pieces" diff pl/fold.csv <(printf '%s\n' layer,units,linear_pieces f1,4,4 g1,2,4 f2,4,16 s,2,16)
run 0 -- ./plane-viz fold four.csv --weights=pl/last.safetensors --out=pl4
hold "fold.svg is well-formed" xml pl4/fold.svg
hold "four samples in five grids and on the plane" [ "$(grep -c '<circle' pl4/fold.svg)" = 24 ]
run 0 -- ./plane-viz fold four.csv --threads=2 --weights=pl/last.safetensors --out=pl5
same "1 and 2 threads" pl4/fold.svg pl5/fold.svg
run 4 'broken.csv' -- ./plane-viz fold broken.csv --weights=pl/last.safetensors --out=pl5
run 2 'reads 784' 'embed' -- ./lenet-viz fold
run 2 'no range' -- ./plane-viz fold --weights=pl/last.safetensors --range=2

# --- what does not exist ---
run 2 "no layer is called 'c2'" 'layers are c1 s2 c3' -- ./lenet-viz saliency --layer=c2 "$data"
run 2 "no layer is called 'cc1'" -- ./lenet-viz activations --layer=c1,cc1 "$data"
run 2 'names no layer' -- ./lenet-viz guided --layer= "$data"
run 2 'there are 0 to 9' -- ./lenet-viz saliency --class=10 "$data"
run 2 '--maps=3-1' -- ./lenet-viz deconv --maps=3-1 "$data"
run 2 'names no map of layer c1' 'it has 0 to 15' -- ./lenet-viz deconv --layer=c1 --maps=99 "$data"
run 2 'no such' -- ./lenet-viz activations --layer=c1 --maps=99 "$data"
run 2 'no such' -- ./lenet-viz filters --layer=s2
run 2 'images 0 to 399' -- ./lenet-viz saliency --image=400 "$data"
run 2 "did you mean 'deconv'" -- ./lenet-viz decnov
run 2 '--limit' -- ./lenet-viz deconv --limit=0
mkdir empty && cd empty || exit 1
run 5 'no weights' 'lenet train' -- ../lenet-viz filters
cd ..

# --- a net of 1998: tanh has no deconvnet, but a gradient ---
run 0 -- netc build -q "$src/specs/lenet5.net" -o .
run 0 -- ./lenet5 train -q --data=digits:64:1 --steps=1 --out=run5
five=(--weights=run5/last.safetensors --data=digits:64:1 --out=o5)
run 2 'deconv' 'saliency' -- ./lenet5-viz deconv "${five[@]}"
run 2 'guided' 'saliency' -- ./lenet5-viz guided "${five[@]}"
run 2 'relevance is not defined' 'gradxinput' -- ./lenet5-viz lrp "${five[@]}"
run 0 -- ./lenet5-viz saliency "${five[@]}"
run 0 -- ./lenet5-viz activations "${five[@]}"
cp "$src/specs/lenet5.net" . && printf 'include "lenet5.net"\nnet Five extends %s {\n  visualize { top: deconv(c1); s: saliency() }\n}\n' \
    "$(sed -n 's/^net \([A-Za-z0-9]*\).*/\1/p' lenet5.net | head -n 1)" >five.net
run 0 -- netc build -q five.net
run 2 'top: deconvnet is not defined' -- ./five-viz report "${five[@]}"
hold "the page says why" grep -q 'Not shown: deconvnet is not defined' o5/index.html
hold "and shows the rest" [ -s o5/s/saliency-0.png ]
finish
