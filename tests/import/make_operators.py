#!/usr/bin/env python3
"""Writes operators.bin, which test_onnx reads: one tiny ONNX model for each operator that netc
imports, in operator sets 7, 13 and 17 (as far as a set has it), and what it computes.

Needs Python with numpy, onnx and onnxruntime, which is the oracle; run by hand, the result is kept
in this folder.  The input is no file: number i of a picture is ((37 i) mod 64 - 31.5) / 16.
A record: "NAME SET BYTES RANK DIM..\n", the model, the numbers of its output as float32.  Set 13
is left out where its model is that of set 17.  RANK -1: what netc must refuse, naming the operator.
"""
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

here = Path(__file__).parent
SETS = (7, 17, 13)
records, names = [], []


def picture(shape):
    n = int(np.prod(shape))
    return (((37 * np.arange(n)) % 64 - 31.5) / 16).astype("f4").reshape(shape)


def weights(*shape, seed=0):
    n = int(np.prod(shape))
    return (((29 * np.arange(n) + 11 * seed + 5) % 32 - 15.5) / 32).astype("f4").reshape(shape)


class Model:
    def __init__(self, opset):
        self.opset, self.nodes, self.inits = opset, [], []

    def init(self, array):
        name = f"k{len(self.inits)}"
        self.inits.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def ints(self, *values):
        return self.init(np.array(values, "i8"))

    def node(self, kind, *inputs, outputs=None, **attributes):
        n = f"n{len(self.nodes)}"
        outputs = outputs or [n + ".y"]
        self.nodes.append(helper.make_node(kind, list(inputs), outputs, name=n, **attributes))
        return outputs[0]


def case(name, shape=(1, 3, 6, 5), least=7, most=99):
    def wrap(build):
        graphs = []
        for opset in SETS:
            if not least <= opset <= most:
                continue
            m = Model(opset)
            out = build(m, "x")
            last = m.nodes[-1]
            last.output[0] = "y" if last.output[0] == out else last.output[0]
            if last.output[0] != "y":
                m.nodes.append(helper.make_node("Identity", [out], ["y"], name="end"))
            shape_y = None
            for _ in range(2):  # the second time with the shape of the result
                graph = helper.make_graph(
                    m.nodes, name, [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                    [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape_y)], m.inits)
                model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)],
                                          producer_name="")
                model.ir_version = 8
                data = model.SerializeToString()
                session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
                y = session.run(None, {"x": picture(shape)})[0].astype("<f4")
                shape_y = y.shape
            onnx.checker.check_model(model)
            if opset == 13 and graph.SerializeToString() in graphs:
                continue
            graphs.append(graph.SerializeToString())
            assert np.isfinite(y).all(), name
            dims = " ".join(str(d) for d in y.shape[1:])
            head = f"{name} {opset} {len(data)} {y.ndim - 1} {dims}\n".encode()
            records.append(head + data + y.tobytes())
            names.append(name)
        return build
    return wrap


# ---- one input, no numbers ----
for kind in ("Relu", "Sigmoid", "Tanh", "Softplus", "Softsign", "Abs", "Neg", "Exp"):
    case(kind)(lambda m, x, kind=kind: m.node(kind, x))
for kind in ("Sqrt", "Log", "Reciprocal"):
    case(kind)(lambda m, x, kind=kind: m.node(kind, m.node("Exp", x)))
case("HardSwish", least=14)(lambda m, x: m.node("HardSwish", x))
case("LeakyRelu")(lambda m, x: m.node("LeakyRelu", x, alpha=0.2))
case("Elu")(lambda m, x: m.node("Elu", x, alpha=1.5))
case("Selu")(lambda m, x: m.node("Selu", x))
case("HardSigmoid")(lambda m, x: m.node("HardSigmoid", x, alpha=0.25, beta=0.4))
case("Identity")(lambda m, x: m.node("Identity", m.node("Relu", x)))
case("Cast", least=9)(lambda m, x: m.node("Cast", m.node("Relu", x), to=1))
case("Dropout", most=11)(lambda m, x: m.node("Dropout", m.node("Neg", x), ratio=0.3))
case("Dropout", least=12)(lambda m, x: m.node("Dropout", m.node("Neg", x),
                                             m.init(np.float32(0.3))))


@case("Clip")
def _(m, x):
    if m.opset < 11:
        return m.node("Clip", x, min=-0.5, max=1.25)
    return m.node("Clip", x, m.init(np.float32(-0.5)), m.init(np.float32(1.25)))


@case("ClipAbove")
def _(m, x):
    if m.opset < 11:
        return m.node("Clip", x, max=1.25)
    return m.node("Clip", x, "", m.init(np.float32(1.25)))


case("PRelu")(lambda m, x: m.node("PRelu", x, m.init(weights(3, 1, 1))))
case("PReluShared")(lambda m, x: m.node("PRelu", x, m.init(weights(1))))
case("PowWhole")(lambda m, x: m.node("Pow", x, m.init(np.float32(3))))
case("PowHalf")(lambda m, x: m.node("Pow", m.node("Abs", x), m.init(np.float32(1.5))))
case("Softmax", shape=(1, 7))(lambda m, x: m.node("Softmax", m.node("Neg", x), axis=1))
case("SoftmaxMaps", least=13)(lambda m, x: m.node("Softmax", m.node("Neg", x), axis=1))
case("LogSoftmax", shape=(1, 7))(lambda m, x: m.node("LogSoftmax", x, axis=1))


# ---- layers ----
@case("Conv")
def _(m, x):
    return m.node("Conv", x, m.init(weights(4, 3, 3, 2)), m.init(weights(4, seed=1)),
                  strides=[2, 1], pads=[1, 0, 2, 1], dilations=[1, 2])


case("ConvGroups", shape=(1, 4, 5, 5))(
    lambda m, x: m.node("Conv", x, m.init(weights(6, 2, 3, 3)), group=2, auto_pad="SAME_UPPER"))
case("ConvDepthwise")(
    lambda m, x: m.node("Conv", x, m.init(weights(3, 1, 3, 3)), group=3, auto_pad="SAME_LOWER",
                        strides=[2, 2]))
case("ConvTranspose")(
    lambda m, x: m.node("ConvTranspose", x, m.init(weights(3, 4, 3, 3)), m.init(weights(4)),
                        strides=[2, 2], pads=[1, 1, 1, 1], output_padding=[1, 1]))
case("ConvTransposeGroups", shape=(1, 4, 3, 3))(
    lambda m, x: m.node("ConvTranspose", x, m.init(weights(4, 1, 2, 3)), group=2, strides=[2, 1],
                        pads=[0, 1, 0, 0]))
case("Gemm", shape=(1, 6))(
    lambda m, x: m.node("Gemm", x, m.init(weights(6, 4)), m.init(weights(4)), alpha=0.5, beta=2.0))
case("GemmTurned", shape=(1, 6))(
    lambda m, x: m.node("Gemm", x, m.init(weights(4, 6)), m.init(weights(4)), transB=1))
case("MatMul", shape=(1, 6))(lambda m, x: m.node("Add", m.node("MatMul", x, m.init(weights(6, 4))),
                                                 m.init(weights(4))))
case("FlattenGemm")(lambda m, x: m.node("Gemm", m.node("Flatten", x), m.init(weights(4, 90)),
                                        m.init(weights(4)), transB=1))


# ---- windows ----
case("MaxPool")(lambda m, x: m.node("MaxPool", x, kernel_shape=[3, 2], strides=[2, 1],
                                    pads=[1, 0, 1, 1]))
case("MaxPoolCeil", least=10)(lambda m, x: m.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2],
                                                  ceil_mode=1))
case("AveragePool")(lambda m, x: m.node("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2],
                                        pads=[1, 1, 1, 1]))
case("AveragePoolPadded")(lambda m, x: m.node("AveragePool", x, kernel_shape=[3, 3],
                                              strides=[2, 2], pads=[1, 1, 1, 1],
                                              count_include_pad=1))
case("AveragePoolCeil", least=10)(lambda m, x: m.node("AveragePool", x, kernel_shape=[2, 2],
                                                      strides=[2, 2], ceil_mode=1))
case("AveragePoolSame")(lambda m, x: m.node("AveragePool", x, kernel_shape=[3, 3],
                                            auto_pad="SAME_UPPER", strides=[2, 2]))
case("LpPool")(lambda m, x: m.node("LpPool", x, kernel_shape=[2, 2], strides=[1, 2], p=3))
case("GlobalAveragePool")(lambda m, x: m.node("GlobalAveragePool", x))
case("GlobalMaxPool", shape=(1, 3, 18, 17))(lambda m, x: m.node("GlobalMaxPool", x))


# ---- normalisation ----
case("LRN", shape=(1, 7, 2, 3))(lambda m, x: m.node("LRN", x, size=5, alpha=0.3, beta=0.6, bias=1.5))


@case("BatchNormalization")
def _(m, x):
    k = [m.init(weights(3, seed=i) + (1 if i in (0, 3) else 0)) for i in range(4)]
    return m.node("BatchNormalization", x, *k, epsilon=1e-3)


@case("BatchNormalizationVector", shape=(1, 6))
def _(m, x):
    k = [m.init(weights(6, seed=i) + (1 if i in (0, 3) else 0)) for i in range(4)]
    return m.node("BatchNormalization", x, *k)


case("InstanceNormalization")(
    lambda m, x: m.node("InstanceNormalization", x, m.init(weights(3) + 1), m.init(weights(3)),
                        epsilon=1e-2))


# ---- arithmetic ----
for kind in ("Add", "Sub", "Mul", "Div"):
    positive = lambda m, x: m.node("Exp", x)
    case(kind + "Layers")(lambda m, x, kind=kind: m.node(kind, m.node("Tanh", x),
                                                         positive(m, x)))
    case(kind + "Number")(lambda m, x, kind=kind: m.node(kind, x, m.init(np.float32(0.7))))
    case("Number" + kind)(lambda m, x, kind=kind: m.node(kind, m.init(np.float32(0.7)),
                                                         positive(m, x)))
    case(kind + "Channels")(lambda m, x, kind=kind: m.node(
        kind, x, m.init(weights(1, 3, 1, 1) + 1)))
    case("Channels" + kind)(lambda m, x, kind=kind: m.node(
        kind, m.init(weights(3, 1, 1) + 1), positive(m, x)))
    case(kind + "Maps")(lambda m, x, kind=kind: m.node(
        kind, x, m.node("Exp", m.node("GlobalAveragePool", x))))
    case(kind + "Vector", shape=(1, 6))(lambda m, x, kind=kind: m.node(
        kind, x, m.init(weights(6) + 1)))
case("MapsMul")(lambda m, x: m.node("Mul", m.node("Sigmoid", m.node("GlobalAveragePool", x)), x))
case("Line")(lambda m, x: m.node("Add", m.node("Mul", x, m.init(weights(3, 1, 1) + 1)),
                                 m.init(weights(3, 1, 1, seed=2))))
case("LineNumber")(lambda m, x: m.node("Sub", m.node("Div", x, m.init(np.float32(0.3))),
                                       m.init(np.float32(0.25))))
case("Sum3")(lambda m, x: m.node("Sum", x, m.node("Tanh", x), m.node("Exp", x)))
case("Max2")(lambda m, x: m.node("Max", x, m.node("Neg", m.node("Tanh", x))))
case("Min3")(lambda m, x: m.node("Min", x, m.node("Tanh", x), m.node("Neg", x)))
case("MaxNumber", least=8)(lambda m, x: m.node("Max", x, m.init(np.float32(0.25))))
case("MinNumber", least=8)(lambda m, x: m.node("Min", m.init(np.float32(0.25)), x))


# ---- cells in other places ----
@case("Concat")
def _(m, x):
    return m.node("Concat", x, m.node("Relu", x), axis=1)


@case("Split")
def _(m, x):
    kept = ["a", "b"]
    if m.opset < 13:
        m.node("Split", x, outputs=kept, axis=1, split=[1, 2])
    else:
        m.node("Split", x, m.ints(1, 2), outputs=kept, axis=1)
    return m.node("Concat", m.node("Relu", "b"), "a", axis=1)


@case("SplitRows")
def _(m, x):
    m.node("Split", x, outputs=["a", "b"], axis=2)
    return m.node("Sub", "b", "a")


def sliced(m, x, starts, ends, axes, steps=None):
    if m.opset < 10:
        return m.node("Slice", x, starts=starts, ends=ends, axes=axes)
    more = [m.ints(*steps)] if steps else []
    return m.node("Slice", x, m.ints(*starts), m.ints(*ends), m.ints(*axes), *more)


case("SliceMaps")(lambda m, x: sliced(m, x, [1], [3], [1]))
case("SliceWindow")(lambda m, x: sliced(m, x, [1, -4], [5, 9999], [2, -1]))
case("SliceAll")(lambda m, x: sliced(m, x, [1, 0, 2], [2, 4, -1], [1, 2, 3]))
case("SliceSteps", least=10)(lambda m, x: sliced(m, x, [0, 0], [9999, 9999], [2, 3], [2, 2]))
case("SliceStepsInside", least=10)(lambda m, x: sliced(m, x, [1, 0], [6, 4], [2, 3], [3, 2]))


def padded(m, x, pads, mode="constant"):
    if m.opset < 11:
        return m.node("Pad", x, pads=pads, mode=mode)
    return m.node("Pad", x, m.ints(*pads), mode=mode)


case("Pad")(lambda m, x: padded(m, x, [0, 0, 1, 2, 0, 0, 3, 0]))
case("PadMaps")(lambda m, x: padded(m, x, [0, 2, 0, 0, 0, 1, 0, 0]))
case("PadBoth")(lambda m, x: padded(m, x, [0, 1, 1, 0, 0, 1, 0, 2]))
case("PadReflect")(lambda m, x: padded(m, x, [0, 0, 2, 1, 0, 0, 1, 3], "reflect"))
case("PadEdge")(lambda m, x: padded(m, x, [0, 0, 2, 1, 0, 0, 1, 3], "edge"))
case("OptionA", shape=(1, 4, 8, 8), least=10)(
    lambda m, x: padded(m, sliced(m, x, [0, 0], [9999, 9999], [2, 3], [2, 2]),
                        [0, 2, 0, 0, 0, 2, 0, 0]))
case("Flatten")(lambda m, x: m.node("Flatten", x))
case("FlattenBehind")(lambda m, x: m.node("Flatten", m.node("Relu", x), axis=1))
case("ReshapeVector")(lambda m, x: m.node("Reshape", m.node("Relu", x), m.ints(1, -1)))
case("ReshapeImage")(lambda m, x: m.node("Reshape", x, m.ints(0, 5, 9, -1)))
case("ReshapeBack", shape=(1, 12))(lambda m, x: m.node("Reshape", x, m.ints(-1, 3, 2, 2)))


@case("Squeeze")
def _(m, x):
    g = m.node("GlobalAveragePool", x)
    return m.node("Squeeze", g, axes=[2, 3]) if m.opset < 13 else \
        m.node("Squeeze", g, m.ints(2, 3))


@case("Unsqueeze", shape=(1, 6))
def _(m, x):
    return m.node("Unsqueeze", x, axes=[2, 3]) if m.opset < 13 else \
        m.node("Unsqueeze", x, m.ints(-1, -2))


for perm in ([0, 1, 3, 2], [0, 2, 1, 3], [0, 2, 3, 1], [0, 3, 1, 2], [0, 3, 2, 1]):
    case("Transpose" + "".join(str(p) for p in perm[1:]))(
        lambda m, x, perm=perm: m.node("Transpose", m.node("Relu", x), perm=perm))
case("TransposeInput", shape=(1, 6, 5, 3))(
    lambda m, x: m.node("Relu", m.node("Transpose", x, perm=[0, 3, 1, 2])))


def resized(m, x, scales=None, sizes=None, **how):
    empty = m.init(np.zeros(0, "f4"))
    if sizes:
        return m.node("Resize", x, empty, empty, m.ints(*sizes), **how)
    return m.node("Resize", x, empty, m.init(np.array(scales, "f4")), **how)


case("Upsample", most=8)(lambda m, x: m.node("Upsample", x, scales=[1.0, 1.0, 2.0, 3.0]))
case("ResizeNearest", least=11)(
    lambda m, x: resized(m, x, [1, 1, 2, 2], mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric"))
case("ResizeNearestHalf", least=11)(lambda m, x: resized(m, x, [1, 1, 3, 2], mode="nearest"))
case("ResizeNearestDown", least=11, shape=(1, 2, 6, 9))(
    lambda m, x: resized(m, x, sizes=[1, 2, 4, 3], mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric"))
case("ResizeLinear", least=11)(lambda m, x: resized(m, x, [1, 1, 2, 2], mode="linear"))
case("ResizeLinearPyTorch", least=11)(
    lambda m, x: resized(m, x, sizes=[1, 3, 9, 7], mode="linear",
                         coordinate_transformation_mode="pytorch_half_pixel"))
case("ResizeLinearDown", least=11)(lambda m, x: resized(m, x, sizes=[1, 3, 4, 3], mode="linear"))
case("ResizeCorners", least=11)(
    lambda m, x: resized(m, x, sizes=[1, 3, 11, 8], mode="linear",
                         coordinate_transformation_mode="align_corners"))

# ---- along axes ----
for kind in ("ReduceMean", "ReduceMax", "ReduceSum"):
    for word, axes, keep in (("Maps", [1], 1), ("Rows", [2], 1), ("Columns", [-1], 1),
                             ("Both", [2, 3], 1), ("BothFlat", [-2, -1], 0)):
        def build(m, x, kind=kind, axes=axes, keep=keep):
            if kind == "ReduceSum" and m.opset >= 13:
                return m.node(kind, x, m.ints(*axes), keepdims=keep)
            return m.node(kind, x, axes=axes, keepdims=keep)
        case(kind + word)(build)

# ---- what exporters write around them ----


@case("ShapeOfFlatten")
def _(m, x):
    """x.view(x.size(0), -1) as PyTorch used to export it"""
    shape = m.node("Shape", m.node("Relu", x))
    first = m.node("Gather", shape, m.init(np.int64(0)), axis=0)
    if m.opset < 13:
        first = m.node("Unsqueeze", first, axes=[0])
    else:
        first = m.node("Unsqueeze", first, m.ints(0))
    return m.node("Reshape", "n0.y", m.node("Concat", first, m.ints(-1), axis=0))


case("Swish")(lambda m, x: m.node("Mul", x, m.node("Sigmoid", x)))


@case("SqueezeAndExcite", shape=(1, 4, 5, 5))
def _(m, x):
    g = m.node("GlobalAveragePool", x)
    g = m.node("Relu", m.node("Conv", g, m.init(weights(2, 4, 1, 1)), m.init(weights(2))))
    g = m.node("Sigmoid", m.node("Conv", g, m.init(weights(4, 2, 1, 1)), m.init(weights(4))))
    return m.node("Mul", x, g)




# ---- sequences: [N, C, L]; of "..TimeFirst" the input is [L, N, C] or [N, L, C] ----
LINE = (1, 3, 9)


def squeezed(m, x, axis, kind="Squeeze"):
    return (m.node(kind, x, axes=[axis]) if m.opset < 13 else m.node(kind, x, m.ints(axis)))


def picked(m, x, index, axis):
    return m.node("Gather", x, m.init(np.array(index, "i8")), axis=axis)


case("Conv1", LINE)(lambda m, x: m.node("Conv", x, m.init(weights(4, 3, 3)), m.init(weights(4)),
                                        pads=[2, 1], strides=[2], kernel_shape=[3]))
case("Conv1Same", LINE)(lambda m, x: m.node("Conv", x, m.init(weights(6, 1, 4)), group=3,
                                            auto_pad="SAME_UPPER"))
case("Conv1Wide", LINE)(lambda m, x: m.node("Conv", x, m.init(weights(2, 3, 3)), dilations=[2]))
case("ConvTranspose1", LINE)(lambda m, x: m.node(
    "ConvTranspose", x, m.init(weights(3, 2, 3)), strides=[2], pads=[1, 0], output_padding=[1]))
case("MaxPool1", LINE)(lambda m, x: m.node("MaxPool", x, kernel_shape=[3], strides=[2], pads=[1, 1]))
case("AveragePool1", LINE)(lambda m, x: m.node("AveragePool", m.node("Relu", x), kernel_shape=[2],
                                               strides=[1]))
case("Pools1", LINE)(lambda m, x: m.node("Concat", m.node("GlobalMaxPool", x),
                                         m.node("GlobalAveragePool", x), axis=1))
case("Norm1", LINE)(lambda m, x: m.node("BatchNormalization", x, m.init(weights(3)),
                                        m.init(weights(3, seed=1)), m.init(weights(3, seed=2)),
                                        m.init(weights(3, seed=3) + 1)))
case("Bias1", LINE)(lambda m, x: m.node("Add", m.node("Mul", x, m.init(weights(1, 3, 1))),
                                        m.init(weights(3, 1, seed=1))))
case("Join1", LINE)(lambda m, x: m.node("Concat", x, m.node("Add", x, m.node("Relu", x)), axis=-2))
case("Softmax1", LINE, least=13)(lambda m, x: m.node("Softmax", x, axis=1))
case("Slice1", LINE, least=10)(lambda m, x: m.node("Slice", x, m.ints(2), m.ints(7), m.ints(-1),
                                                   m.ints(2)))
case("Mean1", LINE, most=17)(lambda m, x: m.node("ReduceMean", x, axes=[2], keepdims=0))
case("Max1", LINE, most=17)(lambda m, x: m.node("ReduceMax", x, axes=[-1], keepdims=1))
case("Flatten1", LINE)(lambda m, x: m.node("Gemm", m.node("Flatten", x), m.init(weights(27, 2)),
                                            m.init(weights(2))))
case("Reshape1", LINE)(lambda m, x: m.node("Reshape", m.node("Tanh", x), m.ints(1, -1)))
case("RowOfImage", LINE)(lambda m, x: squeezed(m, m.node(
    "Conv", squeezed(m, x, 2, "Unsqueeze"), m.init(weights(4, 3, 1, 3)), pads=[0, 1, 0, 1]), 2))
case("ImageOfLine", LINE)(lambda m, x: m.node("Conv", squeezed(m, x, 1, "Unsqueeze"),
                                              m.init(weights(2, 1, 2, 2))))
case("Turned1", LINE)(lambda m, x: m.node("Transpose", m.node("Relu", m.node(
    "Transpose", x, perm=[0, 2, 1])), perm=[0, 2, 1]))


def lstm(m, x, units, inputs, bias=True, outputs=("h", ""), **attributes):
    dirs = 2 if attributes.get("direction") == "bidirectional" else 1
    n = f"r{len(m.nodes)}"
    b = m.init(weights(dirs, 8 * units, seed=3)) if bias else ""
    zero = m.init(np.zeros((dirs, 1, units), "f4"))
    names = [n + k if k else "" for k in outputs]
    m.node("LSTM", x, m.init(weights(dirs, 4 * units, inputs)),
           m.init(weights(dirs, 4 * units, units, seed=1)), b, *(["", zero, zero] if bias else []),
           outputs=names, hidden_size=units, **attributes)
    return names[0] if names[0] else names[1]


def steps_first(m, x):
    return m.node("Transpose", x, perm=[2, 0, 1])


case("Lstm", LINE)(lambda m, x: m.node("Transpose", squeezed(
    m, lstm(m, steps_first(m, x), 5, 3), 1), perm=[1, 2, 0]))
case("LstmLast", LINE)(lambda m, x: squeezed(m, lstm(
    m, steps_first(m, x), 4, 3, outputs=("", "c")), 0))
case("LstmReverse", LINE)(lambda m, x: m.node("Transpose", squeezed(m, lstm(
    m, steps_first(m, x), 4, 3, bias=False, direction="reverse"), 1), perm=[1, 2, 0]))
case("LstmReverseLast", LINE)(lambda m, x: squeezed(m, lstm(
    m, steps_first(m, x), 4, 3, outputs=("", "c"), direction="reverse"), 0))


@case("LstmBoth", LINE)
def _(m, x):
    y = lstm(m, steps_first(m, x), 4, 3, direction="bidirectional")
    y = m.node("Reshape", m.node("Transpose", y, perm=[0, 2, 1, 3]), m.ints(0, 0, -1))
    return m.node("Transpose", y, perm=[1, 2, 0])


@case("LstmBothLast", LINE)
def _(m, x):
    h = lstm(m, steps_first(m, x), 4, 3, outputs=("", "c"), direction="bidirectional")
    return m.node("Concat", picked(m, h, -2, 0), picked(m, h, 1, 0), axis=1)


@case("LstmBothJoined", LINE)
def _(m, x):
    h = lstm(m, steps_first(m, x), 4, 3, outputs=("", "c"), direction="bidirectional")
    return m.node("Reshape", m.node("Transpose", h, perm=[1, 0, 2]), m.ints(1, 8))


@case("LstmTimeFirst", (9, 1, 3))
def _(m, x):  # two layers, and a step of the second
    y = squeezed(m, lstm(m, x, 5, 3), 1)
    return picked(m, squeezed(m, lstm(m, y, 4, 5), 1), -1, 0)


@case("TagsTimeFirst", (1, 9, 3), least=13)
def _(m, x):  # batch first, a dense layer of every step
    y = squeezed(m, lstm(m, m.node("Transpose", x, perm=[1, 0, 2]), 5, 3), 1)
    y = m.node("MatMul", m.node("Transpose", y, perm=[1, 0, 2]), m.init(weights(5, 4)))
    y = m.node("Softmax", m.node("Add", y, m.init(weights(4))), axis=-1)
    return m.node("Transpose", y, perm=[0, 2, 1])


@case("LstmTwiceTimeFirst", (1, 9, 3))
def _(m, x):  # all steps and the last one of the same layer
    x = m.node("Transpose", x, perm=[1, 0, 2])
    names = lstm(m, x, 4, 3, outputs=("h", "c")), m.nodes[-1].output[1]
    h = m.node("Slice", squeezed(m, names[0], 1), m.ints(0), m.ints(1), m.ints(0)) \
        if m.opset >= 10 else m.node("Slice", squeezed(m, names[0], 1), starts=[0], ends=[1], axes=[0])
    return m.node("Add", squeezed(m, h, 0), squeezed(m, names[1], 0))


# ---- GRU: as PyTorch has it ----
def gru(m, x, units, inputs, bias=True, outputs=("h", ""), **attributes):
    dirs = 2 if attributes.get("direction") == "bidirectional" else 1
    n = f"r{len(m.nodes)}"
    b = m.init(weights(dirs, 6 * units, seed=3)) if bias else ""
    zero = m.init(np.zeros((dirs, 1, units), "f4"))
    names = [n + k if k else "" for k in outputs]
    m.node("GRU", x, m.init(weights(dirs, 3 * units, inputs)),
           m.init(weights(dirs, 3 * units, units, seed=1)), b, *(["", zero] if bias else []),
           outputs=names, hidden_size=units, **attributes)
    return names[0] if names[0] else names[1]


case("Gru", LINE, least=14)(lambda m, x: m.node("Transpose", squeezed(
    m, gru(m, steps_first(m, x), 5, 3, linear_before_reset=1), 1), perm=[1, 2, 0]))
case("GruReverseLast", LINE)(lambda m, x: squeezed(m, gru(
    m, steps_first(m, x), 4, 3, bias=False, outputs=("", "c"), direction="reverse",
    linear_before_reset=1), 0))


@case("GruBoth", LINE, least=14)
def _(m, x):
    y = gru(m, steps_first(m, x), 4, 3, direction="bidirectional", linear_before_reset=1)
    y = m.node("Reshape", m.node("Transpose", y, perm=[0, 2, 1, 3]), m.ints(0, 0, -1))
    return m.node("Transpose", y, perm=[1, 2, 0])


@case("GruTimeFirst", (9, 1, 3), least=14)
def _(m, x):  # two layers, and a step of the second
    y = squeezed(m, gru(m, x, 5, 3, linear_before_reset=1), 1)
    return picked(m, squeezed(m, gru(m, y, 4, 5, linear_before_reset=1), 1), -1, 0)


# ---- clips: [N, C, D, H, W] ----
CLIP = (1, 2, 5, 6, 4)


case("Conv3", CLIP, least=14)(lambda m, x: m.node("Conv", x, m.init(weights(4, 2, 3, 3, 2)),
                                        m.init(weights(4, seed=1)), strides=[2, 1, 1],
                                        pads=[1, 0, 1, 0, 2, 1], dilations=[1, 2, 1]))
case("Conv3Frames", CLIP, least=14)(lambda m, x: m.node("Conv", x, m.init(weights(3, 2, 1, 3, 3)),
                                              pads=[0, 1, 1, 0, 1, 1]))
case("Conv3Same", CLIP, least=14)(
    lambda m, x: m.node("Conv", m.node("Relu", x), m.init(weights(3, 2, 2, 3, 2)),
                        auto_pad="SAME_UPPER", strides=[2, 2, 1]))
case("Conv3Groups", (1, 4, 4, 3, 3), least=14)(
    lambda m, x: m.node("Conv", x, m.init(weights(6, 2, 2, 2, 2)), m.init(weights(6)), group=2))
case("Conv3Depthwise", (1, 3, 4, 4, 3), least=14)(
    lambda m, x: m.node("Conv", x, m.init(weights(3, 1, 3, 3, 3)), group=3, pads=[1] * 6))
case("MaxPool3", CLIP, least=14)(
    lambda m, x: m.node("MaxPool", x, kernel_shape=[3, 3, 2], strides=[2, 2, 1],
                        pads=[1, 1, 0, 0, 1, 1]))
case("MaxPool3Ceil", CLIP, least=14)(lambda m, x: m.node("MaxPool", x, kernel_shape=[2, 2, 3],
                                                         strides=[2, 2, 2], ceil_mode=1))
case("AveragePool3", CLIP, least=14)(lambda m, x: m.node("AveragePool", x, kernel_shape=[3, 3, 2],
                                               strides=[2, 1, 2], pads=[1, 1, 0, 1, 1, 0]))
case("AveragePool3Padded", CLIP, least=14)(
    lambda m, x: m.node("AveragePool", x, kernel_shape=[3, 2, 2], strides=[2, 2, 2],
                        pads=[1, 0, 0, 1, 0, 0], count_include_pad=1))
case("ConvTranspose3", CLIP, least=14)(
    lambda m, x: m.node("ConvTranspose", x, m.init(weights(2, 3, 1, 3, 2)), m.init(weights(3)),
                        strides=[1, 2, 1], pads=[0, 1, 0, 0, 0, 1], output_padding=[0, 1, 0]))
case("LpPool3", CLIP, least=14)(
    lambda m, x: m.node("LpPool", x, kernel_shape=[1, 2, 2], strides=[1, 1, 2], p=3))
case("GlobalAveragePool3", CLIP, least=14)(
    lambda m, x: m.node("Flatten", m.node("GlobalAveragePool", x)))
case("GlobalMaxPool3", CLIP, least=14)(lambda m, x: m.node("GlobalMaxPool", x))


@case("BatchNormalization3", CLIP, least=14)
def _(m, x):
    k = [m.init(weights(2, seed=i) + (1 if i in (0, 3) else 0)) for i in range(4)]
    return m.node("Relu", m.node("BatchNormalization", x, *k, epsilon=1e-3))


case("Softmax3", CLIP, least=14)(lambda m, x: m.node("Softmax", x, axis=1))
case("PRelu3", CLIP, least=14)(lambda m, x: m.node("PRelu", x, m.init(weights(2, 1, 1, 1))))
case("Bias3", CLIP, least=14)(
    lambda m, x: m.node("Add", m.node("Mul", x, m.init(weights(1, 2, 1, 1, 1) + 1)),
                        m.init(weights(2, 1, 1, 1, seed=2))))
case("Join3", CLIP, least=14)(
    lambda m, x: m.node("Concat", x, m.node("Mul", x, m.node("Sigmoid", x)), axis=-4))
case("JoinFrames3", CLIP, least=14)(lambda m, x: m.node("Relu", m.node(
    "Concat", m.node("Neg", x), m.node("MaxPool", x, kernel_shape=[2, 1, 1]), x, axis=2)))
case("Excite3", CLIP, least=14)(
    lambda m, x: m.node("Mul", m.node("Sigmoid", m.node("GlobalAveragePool", x)), x))
case("SliceFrames", CLIP, least=14)(lambda m, x: sliced(m, x, [1], [5], [2], [2]))
case("SliceClip", CLIP, least=14)(
    lambda m, x: sliced(m, x, [1, 1, 2, 0], [2, -1, 6, 3], [1, 2, 3, 4]))
case("SplitFrames", CLIP, least=14)(lambda m, x: m.node("Sub", *(
    m.node("Split", x, m.ints(2, 2, 1), outputs=["a", "b", "c"], axis=2), "b")))
case("GatherFrame", CLIP, least=14)(lambda m, x: m.node("Relu", picked(m, x, 3, 2)))
case("GatherFrames", CLIP, least=14)(
    lambda m, x: m.node("Sub", picked(m, x, [-1], 2), picked(m, x, [0], 2)))
case("FrameOfImage")(lambda m, x: squeezed(m, m.node("Conv", squeezed(m, x, 2, "Unsqueeze"), m.init(
    weights(4, 3, 3, 3, 3)), pads=[1] * 6), 2))
case("Flatten3", CLIP, least=14)(lambda m, x: m.node("Gemm", m.node("Flatten", m.node("Relu", x)),
                                           m.init(weights(240, 3)), m.init(weights(3))))
case("Reshape3", CLIP, least=14)(lambda m, x: m.node("Reshape", m.node("Relu", x), m.ints(1, -1)))
case("Fuse3", CLIP, least=14)(
    lambda m, x: m.node("Conv", m.node("Reshape", m.node("Relu", x), m.ints(0, -1, 6, 4)),
                        m.init(weights(2, 10, 3, 3))))
case("Rows3", CLIP, least=14)(lambda m, x: m.node("Reshape", x, m.ints(0, 0, 30, 4)))
case("Transpose3", CLIP, least=14)(
    lambda m, x: m.node("Transpose", m.node("Relu", x), perm=[0, 3, 2, 4, 1]))
case("Resize3", CLIP, least=14)(
    lambda m, x: resized(m, x, [1, 1, 1, 2, 3], mode="nearest", nearest_mode="floor",
                         coordinate_transformation_mode="asymmetric"))
for kind in ("ReduceMean", "ReduceMax", "ReduceSum"):
    for word, axes, keep in (("Maps3", [1], 1), ("Frames", [2], 0), ("FramesKept", [-3], 1),
                             ("Plane3", [3, 4], 1), ("All3", [2, 3, 4], 0)):
        def build(m, x, kind=kind, axes=axes, keep=keep):
            if kind == "ReduceSum" and m.opset >= 13:
                return m.node(kind, x, m.ints(*axes), keepdims=keep)
            return m.node(kind, x, axes=axes, keepdims=keep)
        case(kind + word, CLIP, least=14)(build)


# ---- refused ----
def refused(kind, opset=17, shape=(1, 3, 6, 5), **attributes):
    """The last node, of this kind, has no counterpart in the language."""
    def wrap(build):
        m = Model(opset)
        out = build(m, "x")
        graph = helper.make_graph(
            m.nodes, "refused", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(out, TensorProto.FLOAT, ["n"])], m.inits)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8
        assert m.nodes[-1].op_type == kind
        data = model.SerializeToString()
        records.append(f"{kind} {opset} {len(data)} -1\n".encode() + data)
        return build
    return wrap


def gap(m, x):
    return m.node("GlobalAveragePool", x)


for kind, inputs, attributes in (
        ("Erf", 0, {}), ("Sign", 0, {}), ("Ceil", 0, {}), ("ArgMax", 0, dict(axis=1)),
        ("Softmax", 0, dict(axis=3)), ("Cast", 0, dict(to=7)), ("DepthToSpace", 0, dict(blocksize=2)),
        ("MaxPool", 0, dict(kernel_shape=[2, 2], dilations=[2, 2])),
        ("Concat", 1, dict(axis=2)), ("Transpose", 0, dict(perm=[1, 0, 2, 3])),
        ("Flatten", 0, dict(axis=2)), ("ReduceMean", 0, dict(axes=[0])),
        ("ReduceMean", 0, dict(axes=[1], keepdims=0)), ("ReduceMax", 0, {}),
        ("MatMul", 1, {}), ("ThresholdedRelu", 0, {}), ("GlobalLpPool", 0, {}),
        ("CumSum", 0, {}), ("LRN", 0, dict(size=4))):
    refused(kind)(lambda m, x, kind=kind, inputs=inputs, attributes=attributes:
                  m.node(kind, x, *[x] * inputs, **attributes))
refused("Conv")(lambda m, x: m.node("Conv", x, m.node("Reshape", x, m.ints(1, 3, 6, 5))))
refused("ConvTranspose")(lambda m, x: m.node("ConvTranspose", x, m.init(weights(3, 2, 2, 2)),
                                             output_shape=[7, 6]))
refused("BatchNormalization")(lambda m, x: m.node(
    "BatchNormalization", x, *[m.init(weights(3) + 1) for _ in range(4)], training_mode=1))
refused("PRelu")(lambda m, x: m.node("PRelu", x, m.init(weights(6, 5))))
refused("Add")(lambda m, x: m.node("Add", x, m.init(weights(3, 6, 5))))
refused("Sub")(lambda m, x: m.node("Sub", gap(m, x), x))
refused("Pow")(lambda m, x: m.node("Pow", x, x))
refused("Max")(lambda m, x: m.node("Max", x, m.init(weights(3, 1, 1))))
refused("Gemm", shape=(1, 6))(lambda m, x: m.node("Gemm", x, m.init(weights(1, 4)), transA=1))
refused("Pad")(lambda m, x: m.node("Pad", x, m.ints(0, 0, 1, 0, 0, 0, 0, 0), m.init(np.float32(1))))
refused("Pad")(lambda m, x: m.node("Pad", x, m.ints(0, 0, -1, 0, 0, 0, 0, 0)))
refused("Slice")(lambda m, x: m.node("Slice", x, m.ints(-1), m.ints(-99), m.ints(2), m.ints(-1)))
refused("Slice")(lambda m, x: m.node("Slice", x, m.ints(0), m.ints(3), m.ints(1), m.ints(2)))
refused("Tile")(lambda m, x: m.node("Tile", x, m.ints(1, 1, 2, 2)))
refused("Expand", shape=(1, 3, 1, 1))(lambda m, x: m.node("Expand", x, m.ints(1, 3, 4, 4)))
refused("Greater")(lambda m, x: m.node("Greater", x, m.init(np.float32(0))))
refused("Reshape")(lambda m, x: m.node("Reshape", x, m.ints(1, 3, 2, 3, 5)))
refused("Resize")(lambda m, x: resized(m, x, [1, 1, 2, 2], mode="cubic"))
refused("Resize")(lambda m, x: resized(m, x, [1, 1, 2, 2], mode="linear",
                                       coordinate_transformation_mode="asymmetric"))
refused("Resize")(lambda m, x: resized(m, x, sizes=[1, 3, 4, 3], mode="nearest"))
refused("Resize")(lambda m, x: resized(m, x, [1, 2, 2, 2], mode="nearest"))
refused("Gelu", opset=20)(lambda m, x: m.node("Gelu", x))
refused("LSTM", shape=(9, 1, 3))(lambda m, x: lstm(m, x, 2, 3, clip=1.0))
refused("LSTM", shape=(9, 1, 3))(lambda m, x: lstm(m, x, 2, 3, direction="sideways"))
refused("LSTM", shape=(9, 1, 3))(lambda m, x: lstm(m, x, 2, 4))
refused("GRU", shape=(9, 1, 3))(lambda m, x: gru(m, x, 2, 3))
refused("GRU", shape=(9, 1, 3))(lambda m, x: gru(m, x, 2, 4, linear_before_reset=1))
refused("LSTM", shape=(1, 3, 6, 5))(lambda m, x: lstm(m, x, 2, 3))
refused("Conv", shape=LINE)(lambda m, x: m.node("Conv", m.node("Transpose", x, perm=[0, 2, 1]),
                                                m.init(weights(2, 9, 1))))
for kind, inputs, attributes in (
        ("Transpose", (), dict(perm=[0, 2, 1, 3, 4])), ("ReduceMean", (), dict(axes=[2, 3])),
        ("MaxPool", (), dict(kernel_shape=[2, 2])), ("Concat", (), dict(axis=3)),
        ("MaxPool", (), dict(kernel_shape=[2, 2, 2], dilations=[2, 1, 1])),
        ("Squeeze", ([2],), {}), ("Reshape", ([1, 2, 120],), {}),
        ("Reshape", ([1, 5, 2, 6, 4],), {}), ("Pad", ([0, 0, 1, 0, 0, 0, 0, 1, 0, 0],), {})):
    refused(kind, shape=CLIP)(
        lambda m, x, kind=kind, inputs=inputs, attributes=attributes: m.node(
            kind, x, *[m.ints(*i) for i in inputs], **attributes))
refused("ConvTranspose", shape=CLIP)(
    lambda m, x: m.node("ConvTranspose", x, m.init(weights(2, 3, 2, 2, 2)), strides=[2, 2, 2]))
refused("Gather", shape=CLIP)(lambda m, x: picked(m, x, 5, 2))
refused("Conv", shape=CLIP)(lambda m, x: m.node("Conv", x, m.init(weights(3, 2, 3, 3))))
refused("Squeeze", shape=LINE)(lambda m, x: m.node("Squeeze", x, m.ints(1)))
refused("Reshape", shape=LINE)(lambda m, x: m.node("Reshape", x, m.ints(1, 9, 3)))

(here / "operators.bin").write_bytes(b"".join(records))
print(f"{len(records)} models, {len(set(names))} kinds, {sum(map(len, records))} bytes, "
      f"onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}", file=sys.stderr)
