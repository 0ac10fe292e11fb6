#!/usr/bin/env bash
# cli.sh: command lines of netc and of the programs it makes: help, mistakes with suggestions, JSON,
# every kind of output, the same bytes from any folder.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

tiny tiny
run 0 -- netc build tiny.net
hold "build tells what it made" grep -qE '^tiny-viz +\([0-9]+ KiB' stdout

narrow() { awk 'length($0) > 80 { print; bad = 1 } END { exit bad }' "$1"; }
help_of() { # help_of PROGRAM VERB: 0, on stdout, examples first, at most 80 columns
    run 0 -- "$1" "$2" --help
    hold "$1 $2 --help: 80 columns" narrow stdout
    hold "$1 $2 --help: on standard output" [ -s stdout ]
    hold "$1 $2 --help: examples before options" \
        awk '/^Examples:/ { e = NR } /^Options:/ { o = NR } END { exit !(e && (!o || e < o)) }' stdout
    hold "$1 $2 --help: nothing on stderr" [ ! -s stderr ]
    for flag in $(grep -oE '^ {1,6}(-., )?--[a-z-]+' stdout | grep -oE -- '--[a-z-]+' | sort -u); do
        hold_not "$1 $2 $flag is known to the parser" \
            bash -c "'$1' '$2' $flag --help </dev/null 2>&1 | grep -q unknown"
    done
}
for verb in check describe build run emit import explain help; do help_of netc $verb; done
for verb in train eval predict info gradcheck bench data; do help_of ./tiny $verb; done
for verb in filters activations deconv guided saliency report; do help_of ./tiny-viz $verb; done
for program in netc ./tiny ./tiny-viz; do
    for flag in --help -h --version; do
        run 0 -- $program $flag
        hold "$program $flag: 80 columns" narrow stdout
    done
    code=0
    $program >stdout 2>stderr || code=$?
    hold "$program without a verb: 2" [ $code -eq 2 ]
    hold "$program without a verb: help on stderr" [ -s stderr -a ! -s stdout ]
    run 2 'unknown' -- $program --nonsense
done
run 2 "unknown verb 'bulid'; did you mean 'build'" -- netc bulid tiny.net
run 2 "unknown verb 'trian'; did you mean 'train'" -- ./tiny trian
run 2 "unknown verb 'filtres'; did you mean 'filters'" -- ./tiny-viz filtres
run 2 "did you mean '?--target-cpu" -- netc build --target-cup=native tiny.net
run 2 'did you mean --epochs' -- ./tiny train --epoch=1
run 2 'did you mean --layer' -- ./tiny-viz deconv --layers=c1
run 2 'epochs' -- ./tiny train --epochs=many
run 2 'needs a value' -- ./tiny train --epochs
run 2 'choices are|one of' -- netc emit --as=nothing tiny.net
run 2 'needs a file' -- netc build
run 2 "not an option of 'netc check'" -- netc check -o x tiny.net

# --- JSON that others can read ---
run 0 -- netc describe --json tiny.net
hold "describe --json" json stdout
run 0 -- ./tiny train -q --epochs=1
for command in 'info --json' 'eval --json' 'gradcheck --json' 'bench --json --runs=2 --batch=4' \
    'predict --json run/p.pgm'; do
    [ -f run/p.pgm ] || pgm run/p.pgm 28 1
    # shellcheck disable=SC2086
    run 0 -- ./tiny $command
    hold "$command parses" json stdout
done
run 0 -- ./tiny train --epochs=1 --json --progress=json --out=j
if have jq; then
    hold "train --progress=json: one value a line" jq -e . stderr
    [ ! -s stdout ] || hold "train --json" jq -e . stdout
fi
echo 'net N { input image: f32[1, 8, 8]; c1: conv(4, 9x9) }' >wrong.net
checks=$((checks + 1))
netc check --diagnostics=json wrong.net 2>stderr
{ [ $? -eq 2 ] && { ! have jq || jq -e ".[].code" stderr >/dev/null; }; } || bad "diagnostics as JSON" stderr
run 2 'wrong.net:1:[0-9]+: error' -- netc check wrong.net
run 0 -- netc check tiny.net "$src"/specs/*.net

# --- where a build goes ---
mkdir dir
run 0 -- netc build -q tiny.net -o dir
run 0 -- netc build -q tiny.net -o new/
run 0 -- netc build -q tiny.net -o "a b"
run 0 -- netc build -q tiny.net -o .
for f in dir/tiny dir/tiny-viz new/tiny new/tiny-viz "a b" "a b-viz"; do
    hold "$f is a program" "./$f" --version
    same "programs do not depend on their place" tiny-viz "${f%-viz}-viz"
done
run 0 -- netc tiny.net -q
run 0 -- netc run tiny.net -q -- info
hold "run: the program's own output" grep -q 'conv 6x6' stdout
run 2 'did you mean' -- netc run tiny.net -- trian
run 4 'safetensors' -- netc run tiny.net -- eval --weights=tiny.net

# --- every stage can be seen, and is the same from another folder ---
mkdir elsewhere && cp tiny.net elsewhere/
for kind in ast graph plan dot ll asm obj header; do
    run 0 -- netc emit --as=$kind tiny.net -o one.$kind
    (cd elsewhere && netc emit --as=$kind "$work/elsewhere/tiny.net" -o ../two.$kind)
    hold "emit --as=$kind has something" [ -s one.$kind ]
    same "emit --as=$kind from another folder" one.$kind two.$kind
    [ $kind = obj ] || { netc emit --as=$kind tiny.net >three.$kind && same "emit to stdout" one.$kind three.$kind; }
done
cp one.ast again.net
run 0 -- netc emit --as=ast again.net -o again.ast
same "the printed source reads back" one.ast again.ast
run 0 -- netc emit --as=ll tiny.net -o with.ll
have llvm-as-19 && hold "the IR is IR" llvm-as-19 -o /dev/null with.ll
(cd elsewhere && netc build -q tiny.net)
same "programs built in two folders" tiny elsewhere/tiny
hold_not "no path of this machine in the program" grep -qF "$work" tiny
for mode in forward train look; do run 0 -- netc emit --as=plan --mode=$mode tiny.net; done
run 0 -- netc explain
code=$(grep -oE '\bE[0-9]{4}\b' stdout | head -n 1)
run 0 -- netc explain "$code" conv
run 2 "did you mean 'conv'|nothing to explain" -- netc explain convv
# which net: the file's own before those that it includes
printf 'include "tiny.net"\nnet Mine { input x: f32[3]\n  d: dense(2)\n  output o = d }\n' >mine.net
run 0 -- netc describe mine.net
hold "the file's own net" grep -q Mine stdout
printf 'include "tiny.net"\n' >none.net
run 0 -- netc describe none.net
hold "else the included one" grep -qi tiny stdout
printf 'include "tiny.net"\nnet A { input x: f32[3]\n  d: dense(2)\n  output o = d }\nnet B extends A { }\nnet C extends A { }\n' >two.net
run 2 'two.net:5:5.*E0120.*defines 2 nets: B, C' -- netc describe two.net
checks=$((checks + 1))
netc describe tiny.net >/dev/full 2>stderr
[ $? -eq 5 ] || bad "a full standard output gives 5" stderr
finish
