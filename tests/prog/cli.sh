#!/usr/bin/env bash
# cli.sh: the command line of netc: exit codes, help, suggestions, streams, temporary files.
set -uo pipefail
bin=${NETC_BUILD_DIR:-build}
bin=$(cd "$bin" 2>/dev/null && pwd) || exit 2
netc=$bin/netc
[ -x "$netc" ] || { echo "no netc in $bin"; exit 2; }
unset NO_COLOR CLICOLOR_FORCE
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp" || exit 2
mkdir t
export TMPDIR=$tmp/t
failed=0

cat >good.net <<'NET'
net Tiny {
  input image: f32[1, 8, 8]; input label: class[3]
  c1: conv(4, 3x3) -> relu
  f2: dense(3)
  output prob = softmax(f2)
  loss ce: cross_entropy(f2, label)
}
NET
printf 'net A {\n  c1: conv(3,, 5)\n}\n' >bad.net

# expect CODE TEXT ARGS...: netc ARGS exits with CODE and says TEXT (on either stream).
expect() {
    local want=$1 text=$2 got=0
    shift 2
    "$netc" "$@" >out 2>err </dev/null || got=$?
    if [ $got -ne "$want" ] || { [ -n "$text" ] && ! grep -qF -e "$text" out err; }; then
        echo "FAIL netc $*: exit $got, wanted $want and '$text'"
        head -n 5 out err
        failed=1
    fi
}
check() { # check WHAT COMMAND...
    local what=$1
    shift
    "$@" || { echo "FAIL $what"; failed=1; }
}

# --- words ---
expect 2 'Usage: netc' # no arguments
expect 0 'Examples:' --help
expect 0 'netc 0.' --version
expect 0 'memplan' --help-passes
expect 2 "unknown verb 'chekc'; did you mean 'check'?" chekc good.net
expect 2 "unknown option '--verbos'; did you mean '--verbose'?" check --verbos good.net
expect 2 "unknown option '-z'" check -z good.net
expect 2 "--diagnostics cannot be 'xml'" check --diagnostics=xml good.net
expect 2 '--output needs a value' build good.net -o
expect 2 '--quiet takes no value' check --quiet=1 good.net
expect 2 "--json is not an option of 'netc check'" check --json good.net
expect 2 "'netc check' needs a file" check
expect 2 "'netc describe' takes one operand" describe good.net bad.net
expect 2 '-D wants NAME=VALUE' check -D classes good.net
expect 2 'unknown pass' build --stop-after=fusse good.net
expect 2 "unknown target 'z80'" build --target-cpu=z80 good.net
expect 2 "did you mean 'build'?" help biuld
expect 0 'netc build' help build
expect 0 'syntax error' explain E0001
expect 0 'E0017' explain
expect 2 "did you mean 'conv'?" explain cnov
for verb in check describe build run emit explain help; do
    expect 0 'Examples:' "$verb" --help
    check "help of $verb is on stdout, 80 columns at most" awk 'length > 80 { exit 1 }' out
    check "help of $verb is not empty" [ -s out ]
done

# --- exit codes and streams ---
expect 0 '' check good.net
check 'a good spec is silent' [ ! -s out -a ! -s err ]
expect 2 'bad.net:2:14: error[E0001]' check bad.net
check 'diagnostics go to stderr' [ ! -s out ]
expect 2 'bad.net:2:14' check good.net bad.net
expect 5 "cannot read 'none.net': No such file" check none.net
expect 5 'Is a directory' check .
expect 2 '"code":"E0001","severity":"error","file":"bad.net","line":2,"col":14' \
    check --diagnostics=json bad.net
expect 0 '[]' check --diagnostics=json good.net
expect 0 'net Tiny {' emit --as=ast good.net
expect 0 '' check --stop-after=ast good.net
expect 0 '' check -- good.net
head -c 10000000 /dev/zero | tr '\0' '#' >large.net
expect 2 'E0009' check large.net
"$netc" check - <bad.net 2>err && { echo "FAIL stdin"; failed=1; }
check 'stdin has a name' grep -qF '<stdin>:2:14: error' err
"$netc" emit --as=ast good.net >/dev/full 2>err
check 'a full disk is exit 5' [ $? -eq 5 ]

# --- colour ---
esc=$(printf '\033')
"$netc" check bad.net 2>err
check 'no colour off a terminal' sh -c "! grep -q '$esc' err"
"$netc" check --color=always bad.net 2>err
check 'colour when asked' grep -q "$esc" err
NO_COLOR=1 CLICOLOR_FORCE=1 "$netc" check bad.net 2>err
check 'NO_COLOR beats CLICOLOR_FORCE' sh -c "! grep -q '$esc' err"
CLICOLOR_FORCE=1 "$netc" check bad.net 2>err
check 'CLICOLOR_FORCE' grep -q "$esc" err

# --- programs ---
if [ -f "$bin/libnetrt.a" ]; then
    expect 0 'Tiny' describe good.net
    expect 0 'good  (' good.net
    check 'build makes the program' [ -x good ]
    expect 0 '' build -q good.net -o sub-name
    check 'quiet build says nothing' [ ! -s out ]
    check '-o names the program' [ -x sub-name ]
    expect 5 '' build good.net -o missing/folder/name
    expect 2 'cannot be written to standard output' build good.net -o -
    expect 0 'libgood.a' build --lib good.net
    check 'a library has a header' [ -s good.h ]
    expect 0 '' run good.net -- --help
    expect 2 '' run good.net -- no-such-verb
    expect 0 'program forward after pass fuse' build --dump=fuse --stop-after=fuse good.net -o stopped
    check 'a stopped build makes nothing' [ ! -e stopped ]
    expect 0 'define' emit --as=ll good.net
    expect 0 '' emit --as=obj good.net -o good.o
    check 'emit --as=obj writes' [ -s good.o ]
    expect 2 'error[E0001]' build bad.net
    check 'a wrong spec makes nothing' [ ! -e bad ]
fi
check 'no temporary file is left' [ -z "$(ls -A t)" ]
check 'no half-written file is left' [ -z "$(ls -A | grep -F .tmp)" ]
[ $failed -eq 0 ] && echo "cli: all good"
exit $failed
