#!/usr/bin/env python3
"""Writes the small files that test_import and prog/import.sh read, and what they must give.

Needs Python with numpy, onnx and onnxruntime; run by hand, the results are kept in this folder.
The oracle of ONNX models is onnxruntime, that of Caffe models the loops below (written after Caffe's
layer catalogue), that of arrays numpy.  NAME.in: the input picture, float32; NAME.want: the scores.
"""
import struct
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

here = Path(__file__).parent
rng = np.random.default_rng(1)


def numbers(*shape):
    return (rng.integers(-64, 65, shape) / 64).astype("f4")


def write_want(name, x, y):
    x.astype("f4").tofile(here / f"{name}.in")
    np.savetxt(here / f"{name}.want", np.ravel(y), fmt="%.7g")


# ---- protobuf by hand --------------------------------------------------------------------------
def varint(n):
    out = b""
    n &= (1 << 64) - 1
    while n > 127:
        out += bytes([n & 127 | 128])
        n >>= 7
    return out + bytes([n])


def integer(number, n):
    return varint(number << 3) + varint(n)


def real(number, x):
    return varint(number << 3 | 5) + struct.pack("<f", x)


def message(number, *parts):
    body = b"".join(parts)
    return varint(number << 3 | 2) + varint(len(body)) + body


def text(number, s):
    return message(number, s.encode())


def blob(number, a, legacy=False):
    data = message(5, a.astype("<f4").tobytes())
    if legacy:
        shape = (1,) * (4 - a.ndim) + a.shape
        return message(number, *[integer(1 + i, n) for i, n in enumerate(shape)], data)
    return message(number, message(7, message(1, *[varint(n) for n in a.shape])), data)


def layer(name, kind, bottoms, tops, *more, blobs=()):
    return message(100, text(1, name), text(2, kind), *[text(3, b) for b in bottoms],
                   *[text(4, t) for t in tops], *more, *[blob(7, b) for b in blobs])


def layer_v1(name, kind, bottoms, tops, *more, blobs=()):
    return message(2, *[text(2, b) for b in bottoms], *[text(3, t) for t in tops], text(4, name),
                   integer(5, kind), *more, *[blob(6, b, True) for b in blobs])


# ---- Caffe's layers, as loops ------------------------------------------------------------------
def conv(x, w, b, stride=1, pad=0, groups=1):
    oc, ic, kh, kw = w.shape
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad)))
    oh, ow = (x.shape[1] - kh) // stride + 1, (x.shape[2] - kw) // stride + 1
    y = np.zeros((oc, oh, ow))
    for o in range(oc):
        g = o // (oc // groups)
        part = x[g * ic:(g + 1) * ic]
        for i in range(oh):
            for j in range(ow):
                y[o, i, j] = np.sum(part[:, i * stride:i * stride + kh, j * stride:j * stride + kw]
                                    * w[o]) + (0 if b is None else b[o])
    return y


def pool(x, k, s, what):
    size = -(-(x.shape[1] - k) // s) + 1
    y = np.zeros((x.shape[0], size, size))
    for i in range(size):
        for j in range(size):
            y[:, i, j] = what(x[:, i * s:i * s + k, j * s:j * s + k], axis=(1, 2))
    return y


def lrn(x, n, alpha, beta):
    y = np.zeros_like(x)
    for c in range(x.shape[0]):
        lo, hi = max(0, c - n // 2), min(x.shape[0], c + n // 2 + 1)
        y[c] = x[c] * (1 + alpha / n * np.sum(x[lo:hi] ** 2, axis=0)) ** -beta
    return y


def caffe():
    w1, b1 = numbers(4, 3, 3, 3), numbers(4)
    mean, var, factor = numbers(4), 1 + numbers(4) ** 2, np.array([2], "f4")
    gamma, beta = 1 + numbers(4) / 4, numbers(4)
    w2, w3 = numbers(4, 2, 1, 1), numbers(4, 4, 3, 3)
    wd, bd = numbers(5, 8 * 4 * 4), numbers(5)
    x = numbers(3, 8, 8)

    h = conv(x, w1, b1, pad=1)
    h = gamma[:, None, None] * (h - mean[:, None, None] / 2) \
        / np.sqrt(var[:, None, None] / 2 + 1e-5) + beta[:, None, None]
    h = np.maximum(h, 0)
    h = pool(h, 3, 2, np.max)
    h = lrn(h, 3, 0.5, 0.75)
    a, b = conv(h, w2, None, groups=2), conv(h, w3, None, pad=1)
    h = np.concatenate([a, np.maximum(b, 0)])
    scores = wd @ h.ravel() + bd
    write_want("small_caffe", x, scores)

    def conv_param(maps, k, pad=0, groups=1, bias=True):
        return message(106, integer(1, maps), integer(2, int(bias)), integer(3, pad),
                       integer(4, k), integer(5, groups))

    def pool_param(n):
        return message(n, integer(1, 0), integer(2, 3), integer(3, 2))

    def lrn_param(n):
        return message(n, integer(1, 3), real(2, 0.5), real(3, 0.75))

    net = [text(1, "small net"),
           message(100, text(1, "data"), text(2, "Input"), text(4, "data"), message(
               143, message(1, message(1, varint(1), varint(3), varint(8), varint(8)))),
               message(100, real(1, 0.5), real(5, 10), real(5, 20), real(5, 30))),
           layer("conv1", "Convolution", ["data"], ["conv1"], conv_param(4, 3, 1), blobs=[w1, b1]),
           layer("conv1/bn", "BatchNorm", ["conv1"], ["conv1"], blobs=[mean, var, factor]),
           layer("conv1/scale", "Scale", ["conv1"], ["conv1"], message(142, integer(4, 1)),
                 blobs=[gamma, beta]),
           layer("relu1", "ReLU", ["conv1"], ["conv1"]),
           layer("5x5/pool", "Pooling", ["conv1"], ["pool"], pool_param(121)),
           layer("norm", "LRN", ["pool"], ["norm"], lrn_param(118)),
           layer("split", "Split", ["norm"], ["norm_0", "norm_1"]),
           layer("mix/conv", "Convolution", ["norm_0"], ["a"], conv_param(4, 1, 0, 2, False),
                 blobs=[w2]),
           layer("mix/big conv", "Convolution", ["norm_1"], ["b"], conv_param(4, 3, 1, 1, False),
                 blobs=[w3]),
           layer("mix/relu", "ReLU", ["b"], ["b"]),
           layer("mix/concat", "Concat", ["a", "b"], ["mix"]),
           layer("drop", "Dropout", ["mix"], ["mix"], message(108, real(1, 0.25))),
           layer("dense", "InnerProduct", ["mix"], ["dense"], message(117, integer(1, 5)),
                 blobs=[wd, bd]),
           layer("prob", "Softmax", ["dense"], ["prob"])]
    (here / "small_caffe.caffemodel").write_bytes(b"".join(net))

    # The same without normalisation in the older format, its input's size nowhere.
    ws, bs = numbers(4, 1, 5, 5), numbers(4)
    wd, bd = numbers(3, 4 * 12 * 12), numbers(3)
    x = numbers(1, 28, 28)
    h = np.maximum(pool(conv(x, ws, bs), 2, 2, np.max), 0)
    write_want("small_v1", x, wd @ h.ravel() + bd)
    net = [text(1, "older"),
           layer_v1("mnist", 5, [], ["data", "label"], message(11, real(2, 1 / 256))),
           layer_v1("conv1", 4, ["data"], ["conv1"], message(10, integer(1, 4), integer(4, 5)),
                    blobs=[ws, bs]),
           layer_v1("pool1", 17, ["conv1"], ["pool1"],
                    message(19, integer(1, 0), integer(2, 2), integer(3, 2))),
           layer_v1("relu1", 18, ["pool1"], ["pool1"]),
           layer_v1("ip", 14, ["pool1"], ["ip"], message(17, integer(1, 3)), blobs=[wd, bd]),
           layer_v1("loss", 21, ["ip", "label"], ["loss"])]
    (here / "small_v1.caffemodel").write_bytes(b"".join(net))
    # Weights alone, described by small.prototxt; and the first format of all.
    net = [layer("conv1", "Convolution", [], [], blobs=[ws, bs]),
           layer("ip", "InnerProduct", [], [], blobs=[wd, bd])]
    (here / "weights_only.caffemodel").write_bytes(b"".join(net))
    (here / "first_format.caffemodel").write_bytes(message(2, message(1, text(1, "conv1"))))


# ---- ONNX --------------------------------------------------------------------------------------
def save(name, nodes, weights, shape, out="y", out_rank=2, opset=13, run=True):
    inits = [numpy_helper.from_array(a, n) for n, a in weights.items()]
    graph = helper.make_graph(
        nodes, "main_graph", [helper.make_tensor_value_info("image", TensorProto.FLOAT,
                                                            ["n", *shape])],
        [helper.make_tensor_value_info(out, TensorProto.FLOAT, list("nchw"[:out_rank]))], inits)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)],
                              producer_name="make_vectors", ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, here / f"{name}.onnx")
    if run:
        x = numbers(*shape)
        session = onnxruntime.InferenceSession(model.SerializeToString())
        write_want(name, x, session.run(None, {"image": x[None]})[0])


def block(name, src, dst, stride, ic, oc, weights, nodes):
    """A residual block as PyTorch exports it, batch normalisation kept."""
    def add(kind, inputs, out, where, **more):
        nodes.append(helper.make_node(kind, inputs, [out], name=f"/{name}/{where}", **more))

    short = name.split("/")[-1]

    def norm(n, c, src, dst):
        for k, v in (("weight", 1 + numbers(c) / 4), ("bias", numbers(c)),
                     ("running_mean", numbers(c)), ("running_var", 1 + numbers(c) ** 2)):
            weights[f"{short}.{n}.{k}"] = v
        add("BatchNormalization", [src, *[f"{short}.{n}.{k}" for k in (
            "weight", "bias", "running_mean", "running_var")]], dst, f"{n}/BatchNormalization")

    weights[f"{short}.conv1.weight"] = numbers(oc, ic, 3, 3) / 2
    weights[f"{short}.conv2.weight"] = numbers(oc, oc, 3, 3) / 2
    add("Conv", [src, f"{short}.conv1.weight"], f"{dst}.1", "conv1/Conv", kernel_shape=[3, 3],
        pads=[1, 1, 1, 1], strides=[stride, stride])
    norm("bn1", oc, f"{dst}.1", f"{dst}.2")
    add("Relu", [f"{dst}.2"], f"{dst}.3", "relu/Relu")
    add("Conv", [f"{dst}.3", f"{short}.conv2.weight"], f"{dst}.4", "conv2/Conv",
        kernel_shape=[3, 3], pads=[1, 1, 1, 1])
    norm("bn2", oc, f"{dst}.4", f"{dst}.5")
    skip = src
    if stride != 1:
        skip = f"{dst}.6"
        weights[f"{short}.downsample.0.weight"] = numbers(oc, ic, 1, 1)
        add("Conv", [src, f"{short}.downsample.0.weight"], skip, "downsample/downsample.0/Conv",
            strides=[stride, stride])
    add("Add", [f"{dst}.5", skip], f"{dst}.7", "Add")
    add("Relu", [f"{dst}.7"], dst, "relu_1/Relu")


def onnx_models():
    n = helper.make_node
    i64 = lambda *v: np.array(v, "i8")
    # what PyTorch writes for x.view(x.size(0), -1): shapes computed in the graph
    w = {"features.0.weight": numbers(4, 2, 3, 3), "features.0.bias": numbers(4),
         "features.3.weight": numbers(6, 2, 3, 3), "fc.weight": numbers(5, 6 * 3 * 3),
         "fc.bias": numbers(5), "zero": i64(0)[0], "axis": i64(0), "rest": i64(-1),
         "shift": numbers(1, 6, 1, 1), "factor": np.array(0.5, "f4")}
    nodes = [
        n("Mul", ["image", "factor"], ["i"], name="/Mul"),
        n("Conv", ["i", "features.0.weight", "features.0.bias"], ["a"],
          name="/features/features.0/Conv", kernel_shape=[3, 3], auto_pad="SAME_UPPER",
          strides=[2, 2]),
        n("Relu", ["a"], ["b"], name="/features/features.1/Relu"),
        n("Conv", ["b", "features.3.weight"], ["c"], name="/features/features.3/Conv",
          kernel_shape=[3, 3], pads=[1, 1, 1, 1], group=2),
        n("Add", ["c", "shift"], ["d"], name="/features/Add"),
        n("Tanh", ["d"], ["e"], name="/features/Tanh"),
        n("AveragePool", ["e"], ["f"], name="/features/features.5/AveragePool",
          kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1], count_include_pad=1),
        n("Shape", ["f"], ["s"]), n("Gather", ["s", "zero"], ["s0"], axis=0),
        n("Unsqueeze", ["s0", "axis"], ["s1"]), n("Concat", ["s1", "rest"], ["s2"], axis=0),
        n("Reshape", ["f", "s2"], ["g"]),
        n("Gemm", ["g", "fc.weight", "fc.bias"], ["y"], name="/fc/Gemm", transB=1)]
    save("torch", nodes, w, (2, 10, 10))

    w, nodes = {}, []
    w["stem.weight"] = numbers(4, 3, 3, 3)
    nodes.append(n("Conv", ["image", "stem.weight"], ["t0"], name="/stem/Conv", pads=[1] * 4))
    for i, (s, ic, oc) in enumerate([(1, 4, 4), (1, 4, 4), (1, 4, 4), (2, 4, 8), (1, 8, 8)]):
        stage, k = ("layer1", i) if i < 3 else ("layer2", i - 3)
        block(f"{stage}/{stage}.{k}", f"t{i}", f"t{i + 1}", s, ic, oc, w, nodes)
    w["head.weight"], w["head.bias"] = numbers(8, 3), numbers(3)
    nodes += [n("GlobalAveragePool", ["t5"], ["p"], name="/pool/GlobalAveragePool"),
              n("Flatten", ["p"], ["q"]), n("MatMul", ["q", "head.weight"], ["m"], name="/head/MatMul"),
              n("Add", ["m", "head.bias"], ["l"], name="/head/Add"), n("Softmax", ["l"], ["y"])]
    save("residual", nodes, w, (3, 8, 8), run=False)
    # scores before the softmax, which is what a compiled network's `scores` are
    model = onnx.load(here / "residual.onnx")
    model.graph.output[0].name = "l"
    x = numbers(3, 8, 8)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    write_want("residual", x, session.run(["l"], {"image": x[None]})[0])

    w = {"c.weight": numbers(3, 3, 3, 3), "in.weight": 1 + numbers(3), "in.bias": numbers(3),
         "up.weight": numbers(3, 2, 3, 3), "up.bias": numbers(2), "slope": numbers(2, 1, 1),
         "low": np.array(0, "f4"), "high": np.array(6, "f4"), "pads": i64(0, 0, 1, 1, 0, 0, 1, 1),
         "scales": np.array([1, 1, 2, 2], "f4"), "a": i64(0, 0), "b": i64(99, 99),
         "axes": i64(2, 3), "steps": i64(2, 2)}
    nodes = [
        n("Pad", ["image", "pads"], ["a1"], mode="reflect", name="/pad/Pad"),
        n("Conv", ["a1", "c.weight"], ["a2"], name="/c/Conv"),
        n("InstanceNormalization", ["a2", "in.weight", "in.bias"], ["a3"], epsilon=1e-3,
          name="/in/InstanceNormalization"),
        n("Clip", ["a3", "low", "high"], ["a4"]), n("Slice", ["a4", "a", "b", "axes", "steps"], ["a5"]),
        n("LeakyRelu", ["a5"], ["a6"], alpha=0.25),
        n("ConvTranspose", ["a6", "up.weight", "up.bias"], ["a7"], name="/up/ConvTranspose",
          strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]),
        n("PRelu", ["a7", "slope"], ["a8"], name="/act/PRelu"),
        n("Resize", ["a8", "", "scales"], ["a9"], mode="nearest",
          coordinate_transformation_mode="asymmetric", nearest_mode="floor", name="/u/Resize"),
        n("LRN", ["a9"], ["b1"], size=3), n("Sigmoid", ["b1"], ["b2"]), n("Elu", ["b2"], ["b3"]),
        n("Sub", ["b3", "b2"], ["b4"], name="/Sub"), n("Dropout", ["b4"], ["b5"]),
        n("MaxPool", ["b5"], ["y"], kernel_shape=[3, 3], strides=[2, 2], ceil_mode=1,
          name="/m/MaxPool")]
    save("later", nodes, w, (3, 8, 8), out_rank=4, run=False)


def arrays():
    a, b = numbers(2, 3), numbers(4)
    np.savez(here / "stored.npz", **{"fc.weight": a, "fc.bias": b})
    np.savez_compressed(here / "deflated.npz", **{"fc.weight": np.zeros((8, 64), "f8"), "n": i8(7)})
    np.save(here / "columns.npy", np.asfortranarray(a.astype("f8")))
    print("stored.npz fc.weight:", a.ravel().tolist(), "fc.bias:", b.tolist())


def i8(*v):
    return np.array(v, "i8")


if __name__ == "__main__":
    caffe()
    onnx_models()
    arrays()
    sys.exit(0)
