#!/usr/bin/env bash
# compare.sh: the verbs of NAME-viz that compare pictures, epochs or models (correspondence, invariance,
# evolution, diagnose) and occlusion of a linear score: cases known exactly, the same bytes for any
# threads, refusals.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

run 0 -- netc build -q "$src/specs/lenet.net" -o .
run 0 -- ./lenet train -q --data=digits:1200:1 --epochs=1
data=--data=digits:1200:1

# --- occlusion of a linear score: what it loses is w times what the square hides ---
cat >linear.net <<'N'
net Linear {
  input image: f32[1, 9, 9]
  input kind: class[2]
  f: dense(2, init = fill(1))
  output prob = softmax(f)
  loss ce: cross_entropy(f, kind)
  data { train = folder("pics"); test = folder("pics"); pixels = range(0, 255) }
  train { optimizer = sgd(lr = 0.1); batch = 2; epochs = 1; seed = 1 }
}
N
mkdir -p pics/a pics/b
pgm pics/a/noise.pgm 9 5
pgm pics/b/noise.pgm 9 6
run 0 -- netc build -q linear.net
run 0 -- ./linear train -q --lr=0 --steps=1 --out=lin
run 0 -- ./linear-viz occlude --weights=lin/last.safetensors --layer=f --side=3 --stride=1 --out=lin pics/a/noise.pgm
hold "every anchor, at the borders too" awk -F, '
    FNR == NR { p[n++] = $1; all += $1; next }
    FNR > 1 {
        hidden = 0
        for (y = $1 - 1; y <= $1 + 1; y++) for (x = $2 - 1; x <= $2 + 1; x++)
            if (y >= 0 && y < 9 && x >= 0 && x < 9) hidden += p[y * 9 + x]
        if ($3 != all - hidden) { print $0, all, hidden; exit bad = 1 }
        rows++
    }
    END { exit bad || n != 81 || rows != 81 }' <(tail -n +4 pics/a/noise.pgm | tr -s ' ' '\n' | sed '/^$/d; s/\..*//') lin/occlusion-0.csv

# --- correspondence, invariance ---
for i in 0 1 2; do
    pgm noise$i.pgm 28 $((i + 1))
done
printf 'part,picture,y,x,height,width\neye,0,4,5,6,7\neye,1,4,5,6,7\n' >eyes.csv
printf 'eye,noise0.pgm,4,5,6,7\neye,noise1.pgm,8,9,6,7\nnose,2,10,10,5,5\neye,noise2.pgm,1,2,6,7\n' >some.csv
run 0 -- ./lenet-viz correspondence noise0.pgm noise0.pgm --region=eyes.csv --out=cr
hold "the same picture twice: no sign differs; a random place is another one" awk -F, '
    $2 == "eye" { n++; bad = bad || $3 != 0 } $2 == "random" { m += $3 > 0 }
    END { exit !(n == 4 && !bad && m == 4) }' cr/correspondence.csv
run 4 "where 'nose' is in" -- ./lenet-viz correspondence noise{0,1,2}.pgm --region=some.csv --out=cr
sed -i '/nose/d' some.csv
for t in 1 2; do
    run 0 -- ./lenet-viz correspondence noise{0,1,2}.pgm --region=some.csv --threads=$t --out=cr$t
done
same "1 and 2 threads" cr1/correspondence.csv cr2/correspondence.csv
same "1 and 2 threads" cr1/correspondence.png cr2/correspondence.png
run 2 'at least 2' -- ./lenet-viz correspondence noise0.pgm --out=cr
echo 'eye,0,20,0,9,9' >outside.csv
run 4 'outside.csv:1' -- ./lenet-viz correspondence noise{0,1}.pgm --region=outside.csv --out=cr
run 0 -- ./lenet-viz invariance "$data" --limit=3 --layer=c1,s2,c3,s4,f5 --out=iv1
run 0 -- ./lenet-viz invariance "$data" --limit=3 --layer=c1,s2,c3,s4,f5 --out=iv2 --threads=2 --batch=11
same "1 and 2 threads, other batches" iv1/invariance.csv iv2/invariance.csv
same "1 and 2 threads, other batches" iv1/invariance.svg iv2/invariance.svg
hold "the plot is well-formed" xml iv1/invariance.svg
# fast convolutions sum in an order that depends on a cell's place: c3 is moved up to rounding
hold "nothing changes at the identity; a move by a multiple of the stride moves maps" awk -F, '
    ($2 == "translation" || $2 == "rotation") && $3 == 0 && $5 != 0 { exit 1 }
    $2 == "scale" && $3 == 1 && $5 != 0 { exit 1 }
    $2 == "translation" && $6 != "" { n[$4]++; if ($4 == "c1" ? $6 != 0 : $6 > 1e-5 * (1 + $5)) exit 1; far = far || $5 > 0.1 }
    END { exit !(far && n["c1"] == 51 && n["s2"] > 20 && n["c3"] > 20 && n["f5"] == 0) }' iv1/invariance.csv

# --- evolution: one training, its epochs kept ---
run 2 '--keep=1,x' -- ./lenet train --keep=1,x
run 0 -- ./lenet train -q --data=digits:600:1 --epochs=3 --keep=7,2 --out=kept
hold "only the epochs that were" [ "$(cd kept && echo epoch-*)" = epoch-2.safetensors ]
run 0 -- ./lenet train -q --data=digits:600:1 --epochs=3 --keep=0,1,3 --out=kept
hold "those of an earlier run are gone" \
    [ "$(cd kept && echo epoch-*)" = "epoch-0.safetensors epoch-1.safetensors epoch-3.safetensors" ]
same "the last epoch" kept/epoch-3.safetensors kept/last.safetensors
for t in 1 2; do
    run 0 -- ./lenet-viz evolution -q --run=kept --data=digits:600:1 --threads=$t --out=ev$t
done
same "1 and 2 threads" ev1/evolution-c3.png ev2/evolution-c3.png
run 0 -- ./lenet-viz deconv -q --weights=kept/epoch-1.safetensors --data=digits:600:1 --out=ev3
hold "each row is the first of deconv's nine at that epoch" awk -F, '
    FNR == NR { if (FNR > 1 && $3 == 1) top[$1, $2] = $4 "," $5; next }
    FNR > 1 && $1 == 1 { n++; if (top[$2, $3] != $4 "," $5) bad = 1 }
    END { exit !(n == 16 && !bad) }' <(cat ev3/deconv-c1.csv <(tail -n +2 ev3/deconv-c3.csv)) ev1/evolution.csv
run 5 'train with --keep=' -- ./lenet-viz evolution --run=nowhere --data=digits:600:1

# --- two models side by side ---
run 0 -- ./lenet-viz diagnose "$data" --with=run/last.safetensors --out=dg1
hold "against itself: no difference, equal rows of the table" bash -c "[ \"\$(tail -c \$((8 * 24 * 24 * 4)) \
    dg1/compared-c1.npy | tr -d '\\0' | wc -c)\" = 0 ] && [ \"\$(awk 'NR > 1 { print \$1, \$3, \$4, \$5, \$6, \$7 }' \
    stdout | sort | uniq -c | awk '{ print \$1 }' | xargs)\" = '2 2' ]"
sed 's/net LeNet/net Coarse/; s/c1:.*/c1: conv(12, 7x7, stride = 3) -> relu/; s/c3:.*/c3: conv(32, 3x3) -> relu/; /s4:/d' \
    "$src/specs/lenet.net" >coarse.net
run 0 -- netc build -q coarse.net
run 0 -- ./coarse train -q --data=digits:600:1 --steps=2 --out=runc
run 0 -- ./coarse-viz diagnose --weights=runc/last.safetensors "$data" --out=coarse-out
for t in 1 2; do
    run 0 -- ./lenet-viz diagnose "$data" --with=coarse-out --threads=$t --out=dg$t
done
same "1 and 2 threads" dg1/compared-c3.png dg2/compared-c3.png
hold "only a stride aliases" awk '$1 == "c1" && $2 == "LeNet" { a = /stride 1: .* aliased 0\.000/ }
    $1 == "c1" && $2 == "coarse-out" { b = /stride 3: / && !/aliased 0\.000/ && $3 == 12 } END { exit !(a && b) }' stdout
sed -i '2s/,24,/,x,/;2s/c1,12/c1,x/' coarse-out/diagnosis.csv
run 4 'diagnosis.csv:2' -- ./lenet-viz diagnose "$data" --with=coarse-out --out=dg1
run 5 'OTHER-viz diagnose' -- ./lenet-viz diagnose "$data" --with=cr --out=dg1
run 4 'does not fit' -- ./lenet-viz diagnose "$data" --with=runc/last.safetensors --out=dg1
finish
