#!/usr/bin/env bash
# tests/lint.sh: the rules of the house that a grep can hold.  One check per rule; each prints what
# breaks it as file:line.  The last line is "N passed, N failed".
set -uo pipefail
shopt -s lastpipe # rule counts at the end of pipelines
cd "$(dirname "$0")/.." || exit 1

if git rev-parse --git-dir >/dev/null 2>&1; then
    mapfile -t all < <(git ls-files -co --exclude-standard | sort | while read -r f; do
        [ ! -f "$f" ] || echo "$f"
    done)
else
    mapfile -t all < <(find . -type f -not -path './build*' -not -path './out/*' | sed 's|^\./||' | sort)
fi
# pick REGEX: the files of the tree whose path matches
pick() { printf '%s\n' "${all[@]}" | grep -E "$1"; }
passed=0 failed=0

# rule TEXT: stdin lists the breaches; none is a pass.
rule() {
    local found
    found=$(cat)
    if [ -z "$found" ]; then
        passed=$((passed + 1))
    else
        failed=$((failed + 1))
        printf 'lint: %s\n' "$1"
        printf '  %s\n' "${found//$'\n'/$'\n  '}"
    fi
}

# without PATHS-REGEX BREACH-REGEX: lines matching the second in the files matching the first;
# an optional third regex names files let off.
without() {
    local files
    mapfile -t files < <(pick "$1" | grep -vE "${3:-^$}")
    [ ${#files[@]} -eq 0 ] || grep -nHE -- "$2" "${files[@]}"
}

# --- who may see whom (architecture: each room knows only the rooms below it) ---------------------
c='[^/]*\.[ch]$'
without '^(compiler|runtime|grammar)/' '# *include *<llvm' '^compiler/emit/([^/]*\.c|[^/]*_private\.h)$' |
    rule 'only compiler/emit includes <llvm-c/...>, and no header that others see'
without "^compiler/emit/$c" '# *include *"(ir/graph|ir/op|passes/|front/|codegen/)' |
    rule 'emit never sees the graph: only shapes, layouts and strides'
without "^compiler/passes/$c" '# *include *"(emit|codegen)/' |
    rule 'passes see neither emit nor codegen'
without "^compiler/front/$c" '# *include *"(emit|codegen)/' |
    rule 'the front end sees neither emit nor codegen'
without "^compiler/(ir|ops)/$c" '# *include *"(front|codegen|driver)' |
    rule 'ir and ops see neither front nor codegen'
without "^compiler/base/$c" '# *include *"([^b]|b[^a]|ba[^s]|base[^/])' |
    rule 'base includes only base'
without "^runtime/([a-z]+/)?$c" '# *include *"' | grep -vE '"(rt_[a-z0-9_]*|netrt)\.h"' |
    rule 'the runtime includes only its own headers'
without "^runtime/data/$c" '# *include *"rt_(cli|look|viz|train|bench|report)' |
    rule 'data knows neither programs nor techniques'
without '^compiler/' '# *include *"(rt_|netrt)' '^compiler/(front|codegen|words)/|^compiler/import/store\.c$|^compiler/(netc|driver[^/]*)\.[ch]$' |
    rule 'only front and codegen see rt_abi.h, only import/store.c the weights reader, only words the look programs'
without "^compiler/passes/$c" 'switch *\([^)]*(\.|->|\<)op\>|case OP_' |
    rule 'passes reach operators through flags and hooks, never by a switch'

# --- what the code may not call -------------------------------------------------------------------
without '^(compiler|runtime)/.*\.[chly]$' '\<(system|popen|sprintf|vsprintf|strcpy|strcat|gets|strtok|atoi|atof|alloca)\(' |
    grep -vE '^[^:]*:[0-9]*: *(\*|/\*|//)' |
    rule 'no shell, no unbounded copies, no parsing without error reports'
without '^compiler/.*\.[ch]$' '\<exit\(' '^compiler/netc\.c$|^compiler/base/bug\.c$' |
    grep -vE '^[^:]*:[0-9]*: *(\*|/\*|//)' |
    rule 'one exit of the compiler, in netc.c'
without '^(compiler|runtime)/' '#.*pragma omp.*(atomic|reduction)' |
    rule 'sums have a fixed order: no omp atomic, no omp reduction'

# --- sizes and text -------------------------------------------------------------------------------
mapfile -t text < <(pick '\.(c|h|l|y|def|txt|net|md|sh|yml|json|cmake)$|^(check|quickstart|tests/run|tests/packages|\.ci/run)$')
mapfile -t code < <(pick '\.(c|h|l|y|def|sh)$|^(check|quickstart|tests/run)$')
awk 'FNR == 1201 { print FILENAME ": more than 1200 lines" }' "${code[@]}" |
    rule 'files have at most 1200 lines'
# A function is a line in column 0 that ends a parameter list, up to the "}" in column 0.
mapfile -t units < <(pick '\.c$')
awk '
    FNR == 1 { start = 0 }
    /^[A-Za-z_].*[(),]( __attribute__.*)?( \{)?$/ && !/[;=]/ && !start { start = FNR; head = $0 }
    /^}$/ {
        if (start && FNR - start + 1 > 100)
            print FILENAME ":" start ": " FNR - start + 1 " lines: " head
    }
    /^}/ || (/;$/ && /^[^ ]/) { start = 0 }' "${units[@]}" /dev/null |
    rule 'functions have at most 100 lines'
grep -nHP '\t' "${text[@]}" | rule 'no tabs'
grep -nHE ' +$' "${code[@]}" | rule 'no blanks at line ends'
grep -nHE '(^|[^A-Za-z0-9_.])/(wor[k]|hom[e]|roo[t]|tm[p]/[a-z])/' "${text[@]}" |
    rule 'no absolute path of anybody'\''s machine'
grep -nHE '\<(TOD[O]|FIXM[E]|XX[X])\>' "${text[@]}" | rule 'nothing is left to be done in a comment'
pick '\.[chlydef]+$' | grep -E '\.(c|h|l|y|def)$' | while read -r f; do
    head -n 1 "$f" | grep -qE '^(/\*|%\{|%top|%code|#)' || echo "$f:1: $(head -n 1 "$f")"
done | rule 'each file opens with a comment that says what it does'

# --- diagnostics: every code used has an explanation and the other way round ----------------------
table=compiler/front/diag_codes.def
if [ -f $table ]; then
    row='^ *[A-Z_]+\( *"?[EW][0-9]{4}\>'
    mapfile -t users < <(pick '^(compiler|grammar)/.*\.[chlydef]+$' | grep -vFx $table)
    comm -3 <(grep -hvE '^ *(\*|/\*|//)' "${users[@]}" | grep -oE '"[EW][0-9]{4}"' | tr -d '"' | sort -u) \
        <(grep -oE "$row" $table | grep -oE '[EW][0-9]{4}' | sort -u) |
        sed -e 's/^\t\(.*\)/\1: explained, but no code reports it/' -e '/:/!s/$/: reported, but not explained/' |
        rule "every diagnostic code has its row in $table"
    grep -oE "$row" $table | grep -oE '[EW][0-9]{4}' | sort | uniq -d | rule 'a code has one row'
fi

# --- scripts --------------------------------------------------------------------------------------
for f in check quickstart tests/run tests/packages .ci/run $(pick '^tests/.*\.sh$'); do
    bash -n "$f" 2>&1
done | rule 'scripts parse'
if command -v shellcheck >/dev/null; then
    shellcheck -x check quickstart tests/run tests/packages tests/lint.sh .ci/run 2>&1 |
        rule 'scripts are clean for shellcheck'
fi

echo "$passed passed, $failed failed"
[ $failed -eq 0 ]
