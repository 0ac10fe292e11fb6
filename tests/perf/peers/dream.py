"""PyTorch's time for DeepDream: dream.py SIDE THREADS STEPS

The convolutions of VGG-16 (tests/perf/nets/vgg16conv.net) with random weights: seconds do not depend
on them.  A step shifts the picture on its torus, goes forward to conv4_2, back from |a|^2 / 2 to the
pixels, x += 1.5 g / mean |g|, 0 to 255.  Prints the version, the seconds of a step (median without
the first one) and those of the processor, which tell more on a busy machine.  Ours beside it, with
one octave, so that all steps are of the same size:
    netc build --target-cpu=native tests/perf/nets/vgg16conv.net -D H=512 -D W=512
    ./vgg16conv export --untrained -o random.safetensors
    ./vgg16conv-viz dream --noise --octaves=1 --layer=s4.c.2 -w random.safetensors
"""
import sys
import time

import torch
from torch import nn

STAGES = [(64, 2), (128, 2), (256, 3), (512, 2)]  # up to conv4_2


def main():
    side, threads, steps = (int(x) for x in sys.argv[1:4])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    layers, maps = [], 3
    for width, count in STAGES:
        layers += [nn.MaxPool2d(2)] if layers else []
        for _ in range(count):
            conv = nn.Conv2d(maps, width, 3, padding=1)
            nn.init.kaiming_normal_(conv.weight)
            layers += [conv, nn.ReLU(inplace=True)]
            maps = width
    net = nn.Sequential(*layers).requires_grad_(False)
    mean = torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    x = (128 + 16 * torch.randn(1, 3, side, side)).clamp_(0, 255)
    jitter = side // 7

    def step():
        nonlocal x
        shift = [int(torch.randint(-jitter, jitter + 1, ())) for _ in range(2)]
        moved = torch.roll(x, shift, (2, 3)).requires_grad_(True)
        a = net(moved - mean)
        (0.5 * (a * a).sum()).backward()
        g = torch.roll(moved.grad, [-s for s in shift], (2, 3))
        x = (x + 1.5 / g.abs().mean() * g).clamp_(0, 255)

    def median(numbers):
        return sorted(numbers)[len(numbers) // 2]

    seconds, busy = [], []
    for _ in range(steps + 1):
        begun = time.perf_counter(), time.process_time()
        step()
        seconds.append(time.perf_counter() - begun[0])
        busy.append(time.process_time() - begun[1])
    print(f"torch {torch.__version__}: {median(seconds[1:]):.3f} s per step "
          f"(least {min(seconds[1:]):.3f}), {median(busy[1:]):.3f} s of processor time")


main()
