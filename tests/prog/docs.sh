#!/usr/bin/env bash
# docs.sh: what README.md, LANGUAGE.md, HACKING.md and LOOK.md show is what the programs print today.
#
#   ```console blocks: each line "$ COMMAND" is run in an empty folder (with specs/ in it); the lines
#       behind it must be exactly its output; blanks at the end of lines and numbers of values (%12)
#       may differ.
#   <!-- from: operations --> ... <!-- end -->   is made from netc explain, every operation
#   <!-- from: codes --> ... <!-- end -->        the list of diagnostic codes
#
# bash tests/prog/docs.sh --bless writes the documents anew from what netc says now (read the diff).
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"
bless=${1:-}

# explain OPERATION as Markdown: title, formula, text, table of arguments, source.
operation() {
    netc explain "$1" | awk -v op="$1" '
        function flush() { if (text != "") print "\n" text; text = "" }
        NR == 1 { sub(/^[^:]*: /, ""); printf "#### `%s`: %s\n", op, $0; next }
        /^arguments:/ { flush(); args = 1; next }
        /^source:/ { args = 0; sub(/^source: */, ""); text = "Source: " $0; source = 1; next }
        NF == 0 { flush(); next }
        args && /^  / {
            name = $1
            sub(/^ +[^ ]+ +/, "")
            dflt = "required"
            if (match($0, /, default [^,]*$/)) {
                dflt = "`" substr($0, RSTART + 10) "`"
                $0 = substr($0, 1, RSTART - 1)
            } else
                sub(/, required$/, "")
            gsub(/\|/, ", ")
            if (!rows++) print "\n| argument | default | meaning |\n|---|---|---|"
            printf "| `%s` | %s | %s |\n", name, dflt, $0
            next
        }
        /^    / { sub(/^ +/, ""); printf "\n`%s`\n", $0; next }
        { gsub(/  +/, " "); sub(/ $/, ""); text = text (text ~ /[^ ]$/ ? " " : "") $0 }
        END { if (source) text = text "."; flush() }'
    echo
}

operations() {
    local op
    echo
    for op in $(netc explain | awk '!/^[EW][0-9]/ && NF > 1 { print $1 }'); do operation "$op"; done
}

codes() {
    printf '\n| code | meaning |\n|---|---|\n'
    netc explain | sed -nE 's/^([EW][0-9]{4})  (.*)$/| \1 | \2 |/p'
    echo
}

# made FILE: the document as it should be.
made() {
    local line state=text
    while IFS= read -r line; do
        case $state:$line in
        text:'```console')
            state=console
            rm -rf "$work/shell" && mkdir "$work/shell" && ln -s "$src/specs" "$work/shell/specs" &&
                mkdir "$work/shell/tests" && ln -s "$src/tests/import" "$work/shell/tests/import"
            ;;
        text:'<!-- from: operations -->' | text:'<!-- from: codes -->')
            printf '%s\n' "$line"
            if [ "$line" = '<!-- from: codes -->' ]; then codes; else operations; fi
            state=made
            continue
            ;;
        console:'$ '*)
            printf '%s\n' "$line"
            (cd "$work/shell" && bash -c "${line#\$ }" 2>&1 </dev/null) | sed 's/[[:space:]]*$//'
            continue
            ;;
        console:'```' | made:'<!-- end -->') state=text ;;
        console:* | made:*) continue ;;
        esac
        printf '%s\n' "$line"
    done <"$1"
}

unnumbered() { sed 's/%[0-9][0-9]*/%N/g' "$1"; }

for doc in README.md LANGUAGE.md HACKING.md LOOK.md; do
    made "$src/$doc" >"$work/$doc"
    if [ "$bless" = --bless ]; then
        cmp -s "$work/$doc" "$src/$doc" || { cp "$work/$doc" "$src/$doc" && echo "blessed $doc" >&2; }
    else
        hold "$doc shows what is printed (bash tests/prog/docs.sh --bless)" \
            diff -u <(unnumbered "$src/$doc") <(unnumbered "$work/$doc")
    fi
done
[ "$bless" = --bless ] && exit 0
finish
