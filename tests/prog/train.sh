#!/usr/bin/env bash
# train.sh: a training run can be repeated, resumed, killed and stopped, and what it leaves behind
# is well-formed: the same bits for any number of threads and whatever happened on the way.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

tiny tiny
run 0 -- netc build -q tiny.net
w=last.safetensors

# --- one run, its files, no control characters in a pipe ---
./tiny train --threads=1 --out=a >pipe 2>&1
hold "exit of train" [ $? -eq 0 ]
hold "no \\r, \\b or ESC in a pipe" no_control pipe
hold "an epoch has a line" grep -qE '^epoch 2/2 .*loss [0-9.]+' pipe
for f in last.safetensors best.safetensors checkpoint.safetensors log.csv log.jsonl loss.svg; do
    hold "train writes $f" [ -s "a/$f" ]
done
hold "no temporary file stays" [ -z "$(find a -name '*tmp*')" ]
hold "loss.svg is XML" xml a/loss.svg
columns=$(head -n 1 a/log.csv | tr ',' '\n' | wc -l)
hold "log.csv: every row has $columns cells" awk -F, -v n="$columns" 'NF != n { exit 1 }' a/log.csv
hold "log.csv: steps grow" awk -F, 'NR > 1 { if ($2 + 0 < s) exit 1; s = $2 + 0 }' a/log.csv
hold "log.csv: losses are numbers and fall from 2.3 to below 1.8" awk -F, '
    $1 == "train" { if ($5 !~ /^[0-9.e-]+$/) exit 1; if (!n++) f = $5; l = $5 }
    END { exit !(f < 4 && l < 1.8) }' a/log.csv
hold "log.csv: one test row per epoch" [ "$(grep -c ^test a/log.csv)" -eq 2 ]
if have jq; then
    hold "log.jsonl parses" jq -e .step,.loss a/log.jsonl
    hold "log.jsonl: schema first" [ "$(head -n 1 a/log.jsonl | jq .schema)" = 1 ]
    hold "log.jsonl tells the rows of log.csv" \
        [ "$(wc -l <a/log.jsonl)" -eq "$(wc -l <a/log.csv)" ]
fi

# --- the same bits again, and with other threads ---
for t in 1 2 3; do
    run 0 -- ./tiny train -q --threads=$t --out=t$t
    same "threads=$t: weights" a/$w t$t/$w
    same "threads=$t: checkpoint's plain weights" a/best.safetensors t$t/best.safetensors
done
run 0 -- ./tiny train -q --seed=2 --out=other
hold_not "another seed gives other weights" cmp -s a/$w other/$w

# --- resume: 2 + 2 epochs are 4 ---
times='s/,[^,]*,[^,]*$//' # rates and seconds differ from run to run
run 0 -- ./tiny train -q --epochs=4 --out=four
run 0 -- ./tiny train -q --epochs=2 --out=two
run 0 -- ./tiny train -q --epochs=4 --out=two --resume
same "2 epochs and 2 more" four/$w two/$w
same "the best ones too" four/best.safetensors two/best.safetensors
sed "$times" four/log.csv >four.csv
sed "$times" two/log.csv >two.csv
same "the log has neither gap nor duplicate" four.csv two.csv

# --- kill -9 in the middle, then resume with the same command ---
for moment in 7 23 50; do
    rm -rf k
    ./tiny train -q --epochs=4 --checkpoint-steps=5 --log-steps=1 --out=k 2>/dev/null &
    pid=$!
    for _ in $(seq 600); do # until the log shows that step
        [ -f k/log.csv ] && [ "$(wc -l <k/log.csv)" -gt $moment ] && break
        sleep 0.01
    done
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    hold "kill -9 came before the end" [ "$(tail -n 1 k/log.csv | cut -d, -f2)" != 76 ]
    run 0 -- ./tiny train -q --epochs=4 --checkpoint-steps=5 --log-steps=1 --out=k --resume
    same "killed after row $moment and resumed" four/$w k/$w
    hold "each step once in the log" \
        awk -F, '$1 == "train" { if ($2 != ++n) exit 1 } END { exit n != 76 }' k/log.csv
done

# --- Ctrl-C: the step is finished, everything saved, 130; TERM: 143 ---
for signal in INT TERM; do
    rm -rf i
    code=0
    # bash starts background jobs with SIGINT ignored; env puts the default back
    env --default-signal=INT ./tiny train --epochs=1000 --log-steps=1 --out=i >said 2>&1 &
    pid=$!
    for _ in $(seq 600); do
        [ -f i/log.csv ] && [ "$(wc -l <i/log.csv)" -gt 10 ] && break
        sleep 0.01
    done
    kill -$signal $pid
    wait $pid || code=$?
    hold "SIG$signal: exit code $code" [ $code -eq $((128 + $(kill -l $signal))) ]
    hold "SIG$signal: the way on is told" grep -qE 'resume' said
    hold "SIG$signal: weights saved" [ -s i/$w ]
    step=$(grep ^train i/log.csv | tail -n 1 | cut -d, -f2)
    run 0 'at step' -- ./tiny train --steps=$((step + 2)) --epochs=1000 --out=i --resume
    hold "SIG$signal: it continues at the last step logged" grep -q "at step $step," stderr
done

# --- what a run is given is part of it ---
run 2 'batch' -- ./tiny train -q --epochs=4 --batch=16 --out=two --resume
run 0 -- ./tiny eval -q --weights=a/$w --json
hold "eval --json parses" json stdout
cp stdout one.json
run 0 -- ./tiny eval -q --weights=a/$w --json --threads=2
same "eval does not depend on threads" one.json stdout
# Few images go through other kernels than full blocks: other roundings, the same answer.
run 0 -- ./tiny eval -q --weights=a/$w --json --threads=2 --batch=7
rounded() { sed -E 's/([0-9]\.[0-9]{5})[0-9]+/\1/g' "$1"; }
rounded one.json >one.rounded
rounded stdout >seven.rounded
same "eval does not depend on the batch but for rounding" one.rounded seven.rounded
run 0 -- ./tiny gradcheck --json
hold "gradcheck --json parses" json stdout
finish
