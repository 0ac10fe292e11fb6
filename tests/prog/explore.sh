#!/usr/bin/env bash
# explore.sh: NAME-viz serve: what it answers, what it refuses, and its page in a browser that clicks.
# Needs curl; the browser's part needs chromium (skipped, with a line, where it is not).
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"
have curl || skip "curl is not there"

tiny small
run 0 -- netc build -q small.net
run 0 -- ./small train -q --epochs=1
code=0
timeout 2 ./small-viz serve --port=0 >said 2>why || code=$?
if [ $code -ne 124 ] && grep -qE 'without libmicrohttpd|is not there' why; then
    skip "$(head -n 1 why)"
fi
rm said
server=0 browser=0
cleanup() {
    [ $server -eq 0 ] || kill $server 2>/dev/null
    [ $browser -eq 0 ] || kill $browser 2>/dev/null
    wait 2>/dev/null
}
./small-viz serve --port=0 --data=digits:600:1 >said 2>why &
server=$!
for _ in {1..100}; do
    [ ! -s said ] || break
    sleep 0.05
done
[ -s said ] || { bad "it says where it is" why && finish; }
url=$(head -n 1 said)
url=${url%/}
port=${url##*:}
hold "it says where it is" grep -qE '^http://127\.0\.0\.1:[0-9]+/$' said
hold "nothing is written" [ ! -e out ]

# status URL [CURL'S OPTIONS...]
status() { curl -s --max-time 20 --path-as-is -o got -w '%{http_code}' "${@:2}" "$url$1"; }
gives() { hold "$2 for $1" [ "$(status "${@:1:1}" "${@:3}")" = "$2" ]; }

# --- answers ---
gives / 200
gives /model.json 200
hold "the model as JSON" json got
hold "its layers" grep -q '"label":"c3","maps":8,"height":4,"width":4' got
gives /diagram.svg 200
hold "the drawing is well-formed" xml got
for path in picture.png?image=3 'maps.png?image=3&layer=0' 'maps.png?image=3&layer=0&each=1' \
    'map.png?image=3&layer=2&map=7' 'projection.png?image=3&layer=2&map=1&rule=0'; do
    gives "/$path" 200
    hold "$path is a PNG" [ "$(head -c 8 got | od -An -tx1 | tr -d ' \n')" = 89504e470d0a1a0a ]
done
for path in answer.json?image=5 'layer.json?image=5&layer=1' 'unit.json?image=5&layer=2&map=3' 'top.json?layer=0&map=0'; do
    gives "/$path" 200
    hold "$path is JSON" json got
done
# the same unit of the same picture, whatever was asked before
status '/unit.json?image=5&layer=2&map=3' >/dev/null && cp got first
status '/projection.png?image=5&layer=2&map=3&rule=1' >/dev/null && cp got picture1
status '/projection.png?image=9&layer=0&map=1&rule=2' >/dev/null
status '/unit.json?image=5&layer=2&map=3' >/dev/null
same "a unit again" first got
status '/projection.png?image=5&layer=2&map=3&rule=1' >/dev/null
same "a projection again" picture1 got

# --- refusals ---
for path in /nothing /../../../../etc/passwd /%2e%2e/%2e%2e/etc/passwd //etc/passwd /small.net /run/last.safetensors \
    /model.json/.. '/maps.json?image=1'; do
    gives "$path" 404
done
for query in 'maps.png?image=0' 'maps.png?image=0&layer=99' 'maps.png?image=0&layer=-1' 'maps.png?image=100000&layer=0' \
    'map.png?image=0&layer=0&map=6' 'unit.json?image=0&layer=0&map=0&y=99&x=0' 'answer.json?image=-1' \
    'projection.png?image=0&layer=0&map=0&rule=3' 'answer.json?image=1e3' 'tops.png?layer=0&map=0'; do
    gives "/$query" 400
    hold "$query: and why" grep -q '"error":"' got
done
gives / 403 -H "Host: evil.example:$port"
gives / 403 -H 'Host: 127.0.0.1:1'
gives /model.json 403 -H 'Sec-Fetch-Site: cross-site'
gives /scan 403 -X POST -H 'Origin: http://evil.example'
gives / 405 -X DELETE
gives / 404 -X POST
gives /drop 400 -X POST --data-binary 'no picture'
hold "and why" grep -q 'no picture' got
head -c 17000000 /dev/zero >large
gives /drop 413 -X POST --data-binary @large
gives /model.json 413 -X GET --data-binary @said
curl -s -D heads -o got "$url/"
hold "the page may load nothing from elsewhere" grep -qi "^content-security-policy: default-src 'none'" heads
hold "the page has no other address" [ "$(grep -ciE 'https?://' got)" = 0 ]
hold "only this machine is let in" [ "$(ss -Hltn "sport = :$port" 2>/dev/null | grep -vc '127.0.0.1:')" = 0 ]
for _ in {1..900}; do printf 'url = "%s/nothing"\n' "$url"; done >many
hold "too many questions a second are refused" grep -q '^429' <(curl -s -K many -o /dev/null -w '%{http_code}\n')
sleep 2.2

# --- a picture dropped in is a picture like those of the data ---
pgm dropped.pgm 28 4
gives /drop 200 -X POST --data-binary @dropped.pgm
hold "it has a number" grep -q '{"image":-1}' got
gives '/answer.json?image=-1' 200
mkdir -p one && cp dropped.pgm one/
status '/maps.png?image=-1&layer=0' >/dev/null && cp got dropped.png
hold "its maps" [ -s dropped.png ]

# --- the scan finds what the verb deconv finds ---
gives /scan 200 -X POST
for _ in {1..200}; do
    status '/top.json?layer=0&map=2' >/dev/null
    ! grep -q '"state":"done"' got || break
    sleep 0.05
done
run 0 -- ./small-viz deconv -q --layer=c1 --data=digits:600:1 --out=d
hold "the strongest of a map" grep -q "\"top\":\\[{\"image\":$(awk -F, '$2 == 2 && $3 == 1 { print $5 }' d/deconv-c1.csv)," got
gives '/tops.png?layer=0&map=2&rule=1' 200

# --- the page, in a browser ---
if ! have chromium; then
    echo "explore: chromium is not there: the page itself is not tried"
else
    # The browser's own protocol: JSON, ended by a 0 byte, in through one pipe and out through another.
    mkfifo into from
    chromium --headless --no-sandbox --disable-gpu --no-first-run --window-size=1300,1000 --disable-background-networking \
        --user-data-dir="$work/profile" --remote-debugging-pipe about:blank 3<into 4>from >chromium.out 2>&1 &
    browser=$!
    exec 7>into 8<from
    id=0 session="" events=events
    : >$events
    cdp() { # cdp METHOD PARAMS: its answer in $answer; events go to a file
        id=$((id + 1))
        printf '{"id":%d,"method":"%s","params":%s%s}\0' $id "$1" "$2" "${session:+,\"sessionId\":\"$session\"}" >&7
        while IFS= read -r -d '' -t 30 answer <&8; do
            case $answer in
            "{\"id\":$id,"*) return 0 ;;
            *) printf '%s\n' "$answer" >>$events ;;
            esac
        done
        answer=""
        return 1
    }
    field() { sed -E "s/.*\"$1\":\"([^\"]*)\".*/\\1/" <<<"$answer"; }
    js() { # js EXPRESSION: a text, in $value
        cdp Runtime.evaluate "{\"expression\":\"$1\",\"awaitPromise\":true,\"returnByValue\":true}"
        value=$(sed -E 's/.*"type":"[a-z]*","value":"?([^"}]*).*/\1/' <<<"$answer")
    }
    settle() { # until nothing is on its way
        for _ in {1..200}; do
            js "String(document.body.dataset.busy === undefined && document.body.dataset.layer)"
            [[ ! $value =~ ^[0-9]+$ ]] || return 0
            sleep 0.05
        done
        return 1
    }
    hash() { js "document.getElementById('$1').toDataURL()"; }
    press() {
        cdp Input.dispatchKeyEvent "{\"type\":\"keyDown\",\"key\":\"$1\"}"
        cdp Input.dispatchKeyEvent "{\"type\":\"keyUp\",\"key\":\"$1\"}"
        settle
    }
    click() { # click SELECTOR X Y, in parts of its size
        js "var r=document.querySelector('$1').getBoundingClientRect();[r.left+r.width*$2,r.top+r.height*$3].join(' ')"
        local at=($value) kind
        for kind in mousePressed mouseReleased; do
            cdp Input.dispatchMouseEvent "{\"type\":\"$kind\",\"x\":${at[0]},\"y\":${at[1]},\"button\":\"left\",\"clickCount\":1}"
        done
        settle
    }
    is() { # is WHAT EXPRESSION VALUE
        js "String($2)"
        hold "$1: $2 is '$value', not '$3'" [ "$value" = "$3" ]
    }
    changes() { # changes WHAT CANVAS COMMAND...: the canvas is another one afterwards
        hash "$2"
        local before=$value
        "${@:3}"
        hash "$2"
        hold "$1 changes $2" [ "$before" != "$value" ]
    }
    cdp Target.createTarget '{"url":"about:blank"}'
    cdp Target.attachToTarget "{\"targetId\":\"$(field targetId)\",\"flatten\":true}"
    session=$(field sessionId)
    cdp Runtime.enable '{}'
    cdp Log.enable '{}'
    cdp Page.enable '{}'
    cdp Page.navigate "{\"url\":\"$url/\"}"
    hold "the page loads" settle
    is "its title" document.title "Tiny explorer"
    is "the first picture" "document.body.dataset.image" 0
    is "five answers" "document.querySelectorAll('.bar').length" 5
    is "nine strongest" "document.querySelectorAll('#nine button').length" 9
    js "document.body.dataset.map"
    map=$value
    other=$((map == 0 ? 1 : 0))
    changes "a click on a map" projection click '#maps' "$(awk -v m=$other 'BEGIN { print (m + 0.5) / 6 }')" 0.5
    is "the map clicked" "document.body.dataset.map" $other
    changes "a click on a cell" projection click '#map' 0.3 0.3
    changes "the next picture" picture click '#after' 0.5 0.5
    is "the next picture" "document.body.dataset.image" 1
    changes "arrow right" map press ArrowRight
    is "arrow right" "document.body.dataset.map" $((other + 1))
    changes "arrow left" map press ArrowLeft
    is "arrow left" "document.body.dataset.map" $other
    changes "arrow down" maps press ArrowDown
    is "arrow down" "document.body.dataset.layer" 1
    press ArrowUp
    is "arrow up" "document.body.dataset.layer" 0
    changes "a picture by key" picture press .
    is "a picture by key" "document.body.dataset.image" 2
    changes "a layer's button" maps click '#layers button:nth-child(3)' 0.5 0.5
    is "a layer's button" "document.body.dataset.layer" 2
    js "document.getElementById('net').open = true; diagram().then(() => String(boxes().filter(b => layerOf(b) >= 0).length))"
    hold "the drawing has boxes to choose from: '$value'" [ "$value" -ge 3 ]
    is "the box of the layer shown" "document.querySelector('#diagram .on').dataset.layer.split(' ').includes(model.layers[2].label)" true
    changes "a box of the drawing" maps click '#diagram [data-layer]' 0.5 0.5
    is "a box of the drawing" "document.body.dataset.layer" 0
    click '#layers button:nth-child(3)' 0.5 0.5
    js "document.getElementById('net').open = false"
    changes "another rule" projection press r
    changes "one of the nine" picture click '#nine button:nth-child(2)' 0.5 0.5
    js "dropped(new Blob(['P2 2 2 255 0 200 90 255'])).then(() => document.body.dataset.image)"
    hold "a picture dropped in is shown: '$value'" [ "$value" -lt 0 ]
    is "and named" "document.getElementById('caption').textContent" "a picture dropped in"
    is "no word of an error" "document.getElementById('error').textContent" ""

    # --- the report, from its folder ---
    printf 'include "small.net"\nnet Shown extends Tiny {\n  visualize { %s }\n}\n' \
        'f: filters(); a: activations(); top: deconv(limit = 60); s: saliency(); o: occlude()' >shown.net
    run 0 -- netc build -q shown.net
    run 0 -- ./shown-viz report -q --data=digits:600:1 --weights=run/best.safetensors --out=page
    cdp Page.navigate "{\"url\":\"file://$work/page/index.html\"}"
    for _ in {1..100}; do
        js "document.readyState + document.querySelectorAll('h2').length"
        [[ ! $value =~ ^complete[1-9] ]] || break
        sleep 0.05
    done
    is "the report" document.title Shown
    is "every picture of the report is there" \
        "[...document.images].every(i => i.complete && i.naturalWidth > 0) && document.images.length > 5" true
    is "every place that it names is there" \
        "[...document.querySelectorAll('nav a')].every(a => document.getElementById(a.hash.slice(1)))" true
    is "nothing is wider than the page" "document.documentElement.scrollWidth <= innerWidth" true
    hold_not "no error in the console" grep -E 'Runtime.exceptionThrown|"level":"error"|"type":"(error|assert)"' $events
    exec 7>&- 8<&-
    kill $browser 2>/dev/null
    wait $browser 2>/dev/null
    browser=0
fi

kill -TERM $server
code=0
wait $server || code=$?
server=0
hold "SIGTERM ends it, exit code $code" [ $code -eq 0 ]
hold_not "no complaint" grep -qE 'Sanitizer|runtime error' why
run 2 'serve' -- ./small-viz serve --port=70000
run 5 'nothing.safetensors' -- ./small-viz serve --weights=nothing.safetensors
finish
