#!/usr/bin/env bash
# import.sh: networks and weights of other programs, from their file to a compiled program's scores.
# The small vectors of tests/import with the scores of onnxruntime and of plain loops; with
# NETC_DATA_DIR Caffe's LeNet on MNIST, the logits that came with it, and the sizes of all nets there.
# shellcheck source=tests/prog/common.inc
. "$(dirname "$0")/common.inc"

vectors=$src/tests/import
data=${NETC_DATA_DIR:-}

# scores PROGRAM: a C program that prints the scores of NAME for one input, from lib/libNAME.a
cat >scores.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include "netrt.h"
extern const rt_model MODEL;
int main(int argc, char **argv) {
    netrt *net;
    netrt_options options = {0};
    rt_error err = {0};
    int64_t shape[3], n;
    if (netrt_open(&MODEL, &options, &net, &err) || netrt_load(net, argv[1], 0, &err)) {
        fprintf(stderr, "%s\n", err.text);
        return err.code;
    }
    netrt_shape(net, shape);
    n = shape[0] * shape[1] * shape[2];
    float *x = malloc((size_t)n * 4), *y = malloc((size_t)netrt_classes(net) * 4);
    for (int i = 2; i < argc; i++) {
        FILE *f = fopen(argv[i], "rb");
        int64_t read = 0;
        for (; f && fread(x, 4, (size_t)n, f) == (size_t)n; read++) {
            if (netrt_forward(net, x, 1, y, NULL, &err))
                return 9;
            for (int64_t k = 0; k < netrt_classes(net); k++)
                printf("%.7g\n", y[k]);
        }
        if (!read)
            return 9;
        fclose(f);
    }
    netrt_close(net);
    free(x);
    free(y);
    return 0;
}
END
cat >floats.c <<'END'
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv) { /* skips argv[1] bytes, then writes argv[2] as value / 256 */
    for (long i = 0, c; argc > 2 && (c = getchar()) != EOF && i < atol(argv[1]) + atol(argv[2]); i++) {
        float x = (float)c / 256;
        if (i >= atol(argv[1]))
            fwrite(&x, 4, 1, stdout);
    }
    return 0;
}
END
cat >cifar.c <<'END'
#include <stdio.h>
int main(int argc, char **argv) { /* CIFAR records less the mean image argv[1]; labels on stderr */
    static float mean[3072], x[3072];
    FILE *f = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!f || fread(mean, 4, 3072, f) != 3072)
        return 9;
    for (int label; (label = getchar()) != EOF;) {
        for (int i = 0; i < 3072; i++)
            x[i] = (float)getchar() - mean[i];
        fwrite(x, 4, 3072, stdout);
        fprintf(stderr, "%d\n", label);
    }
    return fclose(f);
}
END
cat >stats.c <<'END'
#include <stdio.h>
#include <stdlib.h>
#include <math.h>
/* stats NPY CxHxW..: of each blob in a vector of them mean, maximum, first number and the middle;
 * with "map" in front: of each map mean, deviation and the number in the middle */
int main(int argc, char **argv) {
    FILE *f = fopen(argv[1], "rb");
    int map = argc > 2 && argv[2][0] == 'm';
    if (!f || fseek(f, 128, SEEK_SET))
        return 9;
    for (int i = 2 + map; i < argc; i++) {
        long c = 0, h = 0, w = 0;
        sscanf(argv[i], "%ldx%ldx%ld", &c, &h, &w);
        float *x = malloc((size_t)(c * h * w) * 4);
        if (fread(x, 4, (size_t)(c * h * w), f) != (size_t)(c * h * w))
            return 9;
        for (long k = 0; k < (map ? c : 1); k++) {
            double sum = 0, squares = 0, most = -1e30;
            long n = map ? h * w : c * h * w;
            float *at = x + k * n;
            for (long j = 0; j < n; j++) {
                sum += at[j];
                squares += (double)at[j] * at[j];
                most = at[j] > most ? at[j] : most;
            }
            sum /= (double)n;
            if (map)
                printf("%.7g\n%.7g\n%.7g\n", sum, sqrt(squares / (double)n - sum * sum),
                       at[h / 2 * w + w / 2]);
            else
                printf("%.7g\n%.7g\n%.7g\n%.7g\n", sum, most, x[0],
                       x[(c / 2 * h + h / 2) * w + w / 2]);
        }
        free(x);
    }
    return fclose(f);
}
END
for helper in floats cifar stats; do
    hold "a helper compiles" "${CC:-cc}" $helper.c -o $helper -lm
done
headers=$bin/include/netc
[ -f "$headers/netrt.h" ] || headers=$src/runtime
# program NAME: compiles NAME.net and the C program above to NAME.scores
program() {
    run 0 -- netc build -q "$1.net" --lib -o "lib$1.a"
    hold "$1: the C program" "${CC:-cc}" "-DMODEL=$1_model" -I "$headers" scores.c "lib$1.a" \
        -L "$bin" -lnetrt -lpng -lturbojpeg -lz -lgomp -lm -o "$1.scores"
}
# near WANT GOT LIMIT: numbers in columns differ by at most LIMIT, relative to the largest
near() {
    [ "$(wc -l <"$1")" = "$(wc -l <"$2")" ] && [ -s "$1" ] && paste "$1" "$2" | awk -v limit="$3" '
        { d = $1 > $2 ? $1 - $2 : $2 - $1; m = d > m ? d : m; a = $1 < 0 ? -$1 : $1; s = a > s ? a : s }
        END { if (m > limit * (s > 1 ? s : 1)) { print "largest difference " m; exit 1 } }'
}

# --- the vectors ---
for name in small_caffe.caffemodel small_v1.caffemodel torch.onnx residual.onnx; do
    stem=${name%.*}
    run 0 -- netc import "$vectors/$name"
    hold "$name: two files are named" [ "$(wc -l <stdout)" = 2 ]
    same "$name: the spec" "$stem.net" "$vectors/$stem.net"
    run 0 -- netc check -Werror "$stem.net"
    program "$stem"
    "./$stem.scores" "$stem.safetensors" "$vectors/$stem.in" >got || bad "$stem does not run"
    hold "$stem: scores of the oracle" near "$vectors/$stem.want" got 1e-5
done
run 0 -- netc import --plain "$vectors/residual.onnx" -o flat
same "plain or folded: the same weights" flat.safetensors residual.safetensors
program flat
./flat.scores flat.safetensors "$vectors/residual.in" >got
hold "plain: scores of the oracle" near "$vectors/residual.want" got 1e-5
run 0 -- netc import "$vectors/weights_only.caffemodel" --prototxt="$vectors/small.prototxt" -o bin/
hold "-o FOLDER/ keeps the name" [ -s bin/weights_only.net -a -s bin/weights_only.safetensors ]
hold "a description gives the same weights as the older format" \
    bash -c "tail -c 7340 bin/weights_only.safetensors | cmp - <(tail -c 7340 small_v1.safetensors)"

# --- and back ---
run 0 -- netc build -q residual.net
run 0 -- ./residual export --as=onnx -w residual.safetensors -o back.onnx
hold "export names the file" grep -qx back.onnx stdout
run 0 -- netc import -q back.onnx
program back
./residual.scores residual.safetensors "$vectors/residual.in" >want
./back.scores back.safetensors "$vectors/residual.in" >got
same "exported to ONNX, imported again: the same scores" want got
for line in 'data {' 'input image' 'output prob'; do
    same "and the same '$line'" <(grep "  $line" residual.net | sed 's/  #.*//') <(grep "  $line" back.net)
done
run 0 -- ./residual export -q -w residual.safetensors -o back.npz
hold "-q is silent" [ ! -s stdout ]
run 0 -- netc import -q back.npz -o unpacked
./residual.scores unpacked.safetensors "$vectors/residual.in" >got
same "exported to npz, imported again: the same scores" want got
run 0 -- ./residual export --as=safetensors -w residual.safetensors
hold "the usual name is the spec's" [ -s residual.safetensors ]
./residual.scores residual.safetensors "$vectors/residual.in" >got
same "exported to safetensors: the same scores" want got
run 2 "as what" -- ./residual export -w residual.safetensors
run 2 "no operand" -- ./residual export --as=onnx x
run 4 "." -- ./residual export --as=onnx -w small_v1.safetensors
run 5 "nowhere" -- ./residual export --as=onnx -w residual.safetensors -o nowhere/x.onnx
hold "no half files" bash -c '! ls | grep -q tmp'
printf 'net Norm {\n  input image: f32[3, 8, 8]\n  n: subtractive_norm(3)\n  f: dense(2)\n  output y = f\n}\n' >norm.net
run 0 -- netc build -q norm.net
run 2 "layer 'n' .subtractive_norm.: this operation is not written to ONNX yet" -- ./norm export --as=onnx --untrained
hold "nothing is left of a refusal" [ ! -e norm.onnx ]
# a mask that only gradients read, in a network without any
printf 'net Up {\n  input image: f32[4, 8, 8]\n  u: deconv(4, 2x2, stride = 2, groups = 2)\n  output y = u\n}\n' >up.net
run 0 -- netc build -q up.net
run 0 -- ./up export --as=onnx --untrained
run 0 -- netc import -q up.onnx -o up_again

# --- weights that do not fit ---
head -c 4000 torch.safetensors | grep -aoE '"[a-z0-9_.]+\.(weight|bias|running_mean|running_var)":' | sort -u >torch_names
run 4 "Nothing was loaded" "0 of 54 tensors match" -- \
    ./residual export -w torch.safetensors -o half.npz
hold "every difference has a line: 54 of the network and those of the file" \
    [ "$(grep -c '^warning: .*: file .*, expected' stderr)" = $((54 + $(grep -c . torch_names))) ]
hold "and no file appears" [ ! -e half.npz ]
run 0 -- netc import -q residual.safetensors --rename=head:tail -o renamed
run 4 "head.weight" "tail.weight" -- ./residual export -w renamed.safetensors -o half.npz
run 0 "52 tensors taken" -- ./residual export --partial -w renamed.safetensors -o half.npz
run 2 "renames nothing" -- netc import residual.safetensors --rename=head
run 2 "without a network" -- netc import "$vectors/torch.onnx" --rename=a:b
printf '\211HDF\r\n\032\n' >net.h5
run 4 "HDF5" "numpy.savez" -- netc import net.h5

# --- the command line ---
run 2 "needs a file" -- netc import
run 2 "not an option of 'netc build'" -- netc build --prototxt=x small_v1.net
run 2 "standard output" -- netc import -o - "$vectors/torch.onnx"
run 5 "missing.onnx" -- netc import missing.onnx
run 5 "folder" -- netc import "$vectors"
run 4 "2013" -- netc import "$vectors/first_format.caffemodel"
run 4 "lacks an input" -- netc import "$vectors/weights_only.caffemodel"
run 2 "no size" -- netc import --input=3x3 "$vectors/torch.onnx"
head -c 1500 "$vectors/torch.onnx" >cut.onnx
run 4 "cut short" -- netc import cut.onnx
hold "nothing is left of a failure" [ ! -e cut.net -a ! -e cut.safetensors ]
echo "net Mine { }" >mine.net
run 5 "was not made by netc import" -- netc import "$vectors/torch.onnx" -o mine
hold "somebody's spec stays" grep -q Mine mine.net
hold "and no weights appear" [ ! -e mine.safetensors ]
run 0 -- netc import -q "$vectors/torch.onnx"
hold "-q is silent" [ ! -s stdout -a ! -s stderr ]
if [ "$(id -u)" != 0 ]; then
    mkdir locked && chmod a-w locked
    run 5 "cannot" -- netc import "$vectors/torch.onnx" -o locked/x
fi
run 5 "." -- netc import "$vectors/torch.onnx" -o nowhere/x
hold "no temporary files" bash -c '! ls | grep -q tmp'
printf '\200\002}q.' >net.pt
run 4 "safetensors.torch.save_file" -- netc import net.pt

# --- the nets that others trained ---
# parameters FILE COUNT: what import counts
parameters() {
    run 0 -- netc import "$data/$1"
    hold "$1: $2 parameters" grep -q "tensors, $2 parameters" stdout
}
if [ -n "$data" ] && [ -d "$data/lenet-mnist" ]; then
    for name in lenet_iter_10000 lenet_iter_10000_v1format; do
        parameters "lenet-mnist/$name.caffemodel" 431,080
        run 0 -- netc check -Werror "$name.net"
        program "$name"
        # the first four test pictures, value / 256, behind the header of 16 bytes
        gzip -dc "$data/mnist/t10k-images-idx3-ubyte.gz" 2>/dev/null | head -c $((16 + 4 * 784)) |
            tail -c +17 >pixels
        for i in 0 1 2 3; do
            ./floats $((i * 784)) 784 <pixels >picture.$i
        done
        "./$name.scores" "$name.safetensors" picture.0 picture.1 picture.2 picture.3 >got
        awk -v net="$name.caffemodel" '/^[a-z]/ { on = $1 == net }
            on && /ip2/ { for (i = 6; i <= 15; i++) print $i }' \
            "$data/lenet-mnist/expected-outputs.txt" >want
        hold "$name: the logits that came with it" near want got 1e-5
        run 0 -- netc build -q "$name.net"
        run 0 -- "./$name" eval -q --json --data="$data/mnist" --weights="$name.safetensors"
        error=0.0086
        [ $name = lenet_iter_10000 ] || error=0.0095
        hold "$name: error $error on MNIST" grep -q "\"error\":$error," stdout
    done
    # Caffe's two nets with their own kind of input, a mean image taken away (its copy is approximate,
    # so its owner's count of right answers is of this copy too)
    ./cifar "$data/cifar10-caffe/mean_approx_3x32x32_f32le.bin" \
        <"$data/cifar10-subset/test_batch_first1000.bin" >pictures 2>labels
    for name in cifar10_quick_iter_5000:145,578:744 cifar10_full_iter_70000:89,578:826; do
        IFS=: read -r name count right <<<"$name"
        parameters "cifar10-caffe/$name.caffemodel" "$count"
        run 0 -- netc check -Werror "$name.net"
        program "$name"
        "./$name.scores" "$name.safetensors" pictures >got
        awk '{ if (NR % 10 == 1 || $1 > most) { most = $1; best = (NR - 1) % 10 } }
            NR % 10 == 0 { print best }' got | paste labels - | awk '$1 == $2' | wc -l >right
        hold "$name: $right of 1000 pictures are right, $(cat right) are" [ "$(cat right)" = "$right" ]
    done
    run 0 -- netc import -q "$data/cifar10-caffe/cifar10_quick_iter_5000.caffemodel" --order=rgb \
        --mean=125.27,122.93,113.86 -o quick # the mean of each plane instead of an image
    run 0 -- netc build -q quick.net
    run 0 -- ./quick eval -q --json --data="$data/cifar10-subset" --weights=quick.safetensors
    hold "Caffe's quick net: at most 26 % error on CIFAR-10" \
        awk 'match($0, /"error":[0-9.]+/) { e = substr($0, RSTART + 8, RLENGTH - 8) }
            END { exit !(e != "" && e + 0 <= 0.26) }' stdout
    # five FILE PICTURE: the best classes, as expected-outputs.txt of a folder lists them
    five() {
        run 0 -- "./$1" predict --json --top=5 --weights="$1.safetensors" "$data/photos/$2"
        grep -oE '"class":"?[0-9]+' stdout | grep -oE '[0-9]+$' >got
        sed -n "s/^$2 *left[^:]*: //p" "$data/$3/expected-outputs.txt" | tr '|' '\n' |
            awk '{ print $1 }' >want
        same "$1: the five classes of $2" want got
    }
    for net in squeezenet-v1.1/squeezenet_v1.1:1,235,496 \
        squeezenet-v1.0-deepcompression/squeezenet_v1.0_decoded:1,248,424; do
        parameters "${net%:*}.caffemodel" "${net#*:}"
        stem=$(basename "${net%:*}")
        run 0 -- netc check -Werror "$stem.net"
        run 0 -- netc import -q "$data/${net%:*}.caffemodel" --mean=123,117,104 -o squeeze
        hold "$stem: what is cut out of a picture" grep -q 'resize = short(256); crop = 227x227 }$' squeeze.net
        sed -i 's/ resize = short(256);//' squeeze.net # the lists are of the middle as it is
        run 0 -- netc build -q squeeze.net
        for picture in "$data"/photos/*.png "$data"/photos/*.jpg; do
            five squeeze "$(basename "$picture")" "$(dirname "${net%:*}")"
        done
    done
    # all listed layers of one picture as one long vector
    run 0 -- netc import -q "$data/squeezenet-v1.1/squeezenet_v1.1.caffemodel" \
        --mean=123,117,104 -o squeeze
    blobs="conv1 pool1 fire2 pool3 pool5 fire9 conv10 pool10"
    sed -i -e 's/ resize = short(256);//' -e '/^  loss/d' -e '/^  metric/d' \
        -e "s/^  output.*/  all: concat($(sed 's/\w\+/flatten(&)/g; s/ /, /g' <<<"$blobs"))\n  output y = all/" \
        squeeze.net
    run 0 -- netc build -q squeeze.net
    run 0 -- ./squeeze predict -q --weights=squeeze.safetensors --save=blobs.npy \
        "$data/photos/chelsea-cat.png"
    sed -n 's/^[a-z0-9/()]* *\([0-9x]*\) *mean \([-.0-9]*\) max \([-.0-9]*\) first \([-.0-9]*\) middle \([-.0-9]*\).*/\1 \2 \3 \4 \5/p' \
        "$data/squeezenet-v1.1/expected-outputs.txt" >listed
    # shellcheck disable=SC2046
    ./stats blobs.npy $(cut -d' ' -f1 listed) >got
    cut -d' ' -f2- listed | tr ' ' '\n' >want
    hold "SqueezeNet: 8 layers to 1e-4, number by number" bash -c 'paste want got | awk "
        { d = \$1 - \$2; d = d < 0 ? -d : d; if (d > 1e-4 * (\$1 < 0 ? -\$1 : \$1)) exit bad = 1; n++ }
        END { exit bad || n != 32 }"'
    parameters cifar10-resnet20/resnet20-12fca82f.safetensors 269,722
    sed 's/range(0, 255) }/range(0, 255); crop = 96x128 }/' "$src/specs/fast_style.net" >style.net
    run 0 -- netc build -q style.net
    for style in starry-night red-vineyards wheatfield_with_crows; do
        parameters "fast-style-transfer/$style.safetensors" 28,270
        run 0 -- netc import -q "$data/fast-style-transfer/$style.safetensors" \
            --rename=norm_scale:norm.weight,norm_shift:norm.bias
        run 0 -- ./style predict --weights="$style.safetensors" --save="$style.npy" \
            "$data/photos/chelsea-cat.png"
        hold "$style: predict names what it saved" grep -q "3x96x128  $style.npy" stdout
        ./stats "$style.npy" map 3x96x128 >got
        awk -v style="$style" '$1 == style { for (c = 0; c < 3; c++)
            print $(3 + c) "\n" $(7 + c) "\n" $(11 + c) }' \
            "$data/fast-style-transfer/expected-outputs.txt" >want
        hold "$style: mean, deviation and a pixel as listed" near want got 1e-5
    done
    run 4 "pickle" -- netc import "$data/cifar10-resnet20/resnet20-12fca82f.th"
else
    echo "NETC_DATA_DIR names no lenet-mnist: the checks on trained nets are skipped"
fi
finish
