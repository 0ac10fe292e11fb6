"""PyTorch's time for one network: pytorch.py LAYERS BATCH forward|train THREADS SECONDS

LAYERS is the list that layers.awk makes.  Prints one line: the version, peak memory in MB,
milliseconds of every iteration.  A step is what netc's is: forward, softmax and cross-entropy,
gradients, plain SGD.
"""
import resource
import sys
import time

import torch
from torch import nn


def layers(path):
    size, out = None, []
    for line in open(path):
        op, *w = line.split()
        w = [float(x) for x in w]
        n = [int(x) for x in w]
        if op == "input":
            size = n
        elif op == "conv":
            oc, kh, kw, sh, sw, top, bottom, left, right, groups = n
            assert top == bottom and left == right, "PyTorch pads both sides alike"
            out.append(nn.Conv2d(size[0], oc, (kh, kw), (sh, sw), (top, left), groups=groups))
        elif op == "dense":
            if len(size) == 3:
                out.append(nn.Flatten())
            units = size[0] * size[1] * size[2] if len(size) == 3 else size[0]
            out.append(nn.Linear(units, n[0]))
        elif op == "relu":
            out.append(nn.ReLU(inplace=True))
        elif op == "tanh":
            out.append(nn.Tanh())
        elif op in ("maxpool", "avgpool"):
            kh, kw, sh, sw, top, left, oh, ow = n
            kind = nn.MaxPool2d if op == "maxpool" else nn.AvgPool2d
            rounded = (size[1] + 2 * top - kh) // sh + 1 < oh
            out.append(kind((kh, kw), (sh, sw), (top, left), ceil_mode=rounded))
        elif op == "lrn":
            out.append(nn.LocalResponseNorm(n[0], w[1] * w[0], w[2], w[3]))
        else:
            sys.exit("pytorch: unknown layer " + op)
        if op == "input":
            probe = torch.zeros(1, *size)
        else:
            for m in out[-2:] if op == "dense" and len(size) == 3 else out[-1:]:
                with torch.no_grad():
                    probe = m(probe)
            size = list(probe.shape[1:])
    return probe, out


def main():
    path, batch, mode, threads, seconds = sys.argv[1:6]
    torch.set_num_threads(int(threads))
    torch.manual_seed(1)
    shape = [int(x) for x in open(path).readline().split()[1:]]
    _, modules = layers(path)
    net = nn.Sequential(*modules)
    x = torch.randn(int(batch), *shape)
    if mode == "forward":
        net.eval()

        def step():
            with torch.no_grad():
                net(x)
    else:
        y = torch.arange(int(batch)) % 10
        sgd = torch.optim.SGD(net.parameters(), lr=1e-6)

        def step():
            sgd.zero_grad(set_to_none=True)
            nn.functional.cross_entropy(net(x), y).backward()
            sgd.step()

    warm = time.perf_counter()
    step()
    long = time.perf_counter() - warm > 3
    if not long:
        step()
    times, begin = [], time.perf_counter()
    while len(times) < (1 if long else 3) or (time.perf_counter() - begin < float(seconds) and len(times) < 400):
        at = time.perf_counter()
        step()
        times.append(1e3 * (time.perf_counter() - at))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print("PyTorch-" + torch.__version__, peak, *("%.4f" % t for t in times))


main()
