"""onnxruntime's time for one network: onnxrt.py LAYERS BATCH forward THREADS SECONDS

LAYERS is the list that layers.awk makes; it becomes an ONNX model with random weights.  Prints one
line: the version, peak memory in MB, milliseconds of every iteration.  Inference only: 3 says that
it cannot.
"""
import resource
import sys
import time

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper


class Model:
    def __init__(self, path, batch):
        self.nodes, self.weights, self.name = [], [], "image"
        self.random = numpy.random.default_rng(1)
        for line in open(path):
            op, *w = line.split()
            getattr(self, "add_" + op)(*[float(x) if "." in x or "e" in x else int(x) for x in w])
        image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch] + self.shape)
        score = helper.make_tensor_value_info(self.name, TensorProto.FLOAT, None)
        graph = helper.make_graph(self.nodes, "net", [image], [score], self.weights)
        self.proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        self.proto.ir_version = 8

    def param(self, *dims, scale=0.01):
        name = "w%d" % len(self.weights)
        values = (scale * self.random.standard_normal(dims)).astype(numpy.float32)
        self.weights.append(numpy_helper.from_array(values, name))
        return name

    def node(self, op, *params, **attrs):
        out = "v%d" % len(self.nodes)
        self.nodes.append(helper.make_node(op, [self.name, *params], [out], **attrs))
        self.name = out

    def add_input(self, c, h, w):
        self.shape = [c, h, w]
        self.size = [c, h, w]

    def add_conv(self, oc, kh, kw, sh, sw, top, bottom, left, right, groups):
        c, h, w = self.size
        self.node("Conv", self.param(oc, c // groups, kh, kw), self.param(oc), group=groups,
                  kernel_shape=[kh, kw], strides=[sh, sw], pads=[top, left, bottom, right])
        self.size = [oc, (h + top + bottom - kh) // sh + 1, (w + left + right - kw) // sw + 1]

    def add_dense(self, units):
        if len(self.size) == 3:
            self.node("Flatten")
        inputs = int(numpy.prod(self.size))
        self.node("Gemm", self.param(units, inputs), self.param(units), transB=1)
        self.size = [units]

    def add_relu(self):
        self.node("Relu")

    def add_tanh(self):
        self.node("Tanh")

    def pool(self, op, kh, kw, sh, sw, top, left, oh, ow):
        c, h, w = self.size
        pads = [top, left, (oh - 1) * sh + kh - h - top, (ow - 1) * sw + kw - w - left]
        self.node(op, kernel_shape=[kh, kw], strides=[sh, sw], pads=[max(p, 0) for p in pads])
        self.size = [c, oh, ow]

    def add_maxpool(self, *w):
        self.pool("MaxPool", *w)

    def add_avgpool(self, *w):
        self.pool("AveragePool", *w)

    def add_lrn(self, size, alpha, beta, k):
        self.node("LRN", size=size, alpha=alpha * size, beta=beta, bias=float(k))


def main():
    path, batch, mode, threads, seconds = sys.argv[1:6]
    if mode != "forward":
        sys.exit(3)
    model = Model(path, int(batch))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(threads)
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.proto.SerializeToString(), options,
                                           providers=["CPUExecutionProvider"])
    rng = numpy.random.default_rng(2)
    image = rng.standard_normal([int(batch)] + model.shape).astype(numpy.float32)
    session.run(None, {"image": image})
    times, begin = [], time.perf_counter()
    while len(times) < 3 or (time.perf_counter() - begin < float(seconds) and len(times) < 400):
        at = time.perf_counter()
        session.run(None, {"image": image})
        times.append(1e3 * (time.perf_counter() - at))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print("onnxruntime-" + onnxruntime.__version__, peak, *("%.4f" % t for t in times))


main()
