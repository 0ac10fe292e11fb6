"""PyTorch's time for neural style: style.py SIDE THREADS ITERATIONS

The network of specs/style.net with random weights (seconds do not depend on them), Gram matrices of
conv1_1 .. conv5_1, content at conv4_2, torch.optim.LBFGS with 20 pairs and one evaluation per step.
Prints the version, the seconds of an iteration (median without the first one) and those of the
processor, which tell more on a busy machine.  Ours beside it:
    netc build --target-cpu=native specs/style.net -D H=512 -D W=512
    ./style-viz style A.jpg --style=B.jpg -w WEIGHTS --steps=10
"""
import sys
import time

import torch
from torch import nn

STAGES = [(64, 2), (128, 2), (256, 4), (512, 4), (512, 1)]
CONTENT = (3, 1)  # conv4_2


def gram(f):
    f = f.flatten(2)[0]
    return f @ f.t()


def main():
    side, threads, iterations = (int(x) for x in sys.argv[1:4])
    torch.set_num_threads(threads)
    torch.manual_seed(1)
    convs, maps = nn.ModuleList(), 3
    for width, count in STAGES:
        for _ in range(count):
            convs.append(nn.Conv2d(maps, width, 3, padding=1))
            nn.init.kaiming_normal_(convs[-1].weight)
            maps = width
    convs.requires_grad_(False)

    def features(x):
        style, content, at = [], None, 0
        for s, (_, count) in enumerate(STAGES):
            if s:
                x = nn.functional.avg_pool2d(x, 2)
            for i in range(count):
                x = torch.relu_(convs[at](x))
                at += 1
                if i == 0:
                    style.append(x)
                if (s, i) == CONTENT:
                    content = x
        return style, content

    with torch.no_grad():
        targets = [gram(f) for f in features(torch.randn(1, 3, side, side))[0]]
        picture = torch.randn(1, 3, side, side)
        kept = features(picture)[1].clone()
    x = picture.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([x], max_iter=1, history_size=20)

    def closure():
        optimizer.zero_grad()
        style, content = features(x)
        loss = ((content - kept) ** 2).mean()
        for f, target in zip(style, targets):
            loss = loss + ((gram(f) - target) ** 2).sum() / (4.0 * f[0].numel() ** 2)
        loss.backward()
        return loss

    def median(numbers):
        return sorted(numbers)[len(numbers) // 2]

    seconds, busy = [], []
    for _ in range(iterations + 1):
        begun = time.perf_counter(), time.process_time()
        optimizer.step(closure)
        seconds.append(time.perf_counter() - begun[0])
        busy.append(time.process_time() - begun[1])
    print(f"torch {torch.__version__}: {median(seconds[1:]):.3f} s per iteration "
          f"(least {min(seconds[1:]):.3f}), {median(busy[1:]):.3f} s of processor time")


main()
