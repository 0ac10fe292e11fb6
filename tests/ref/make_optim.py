#!/usr/bin/env python3
"""Writes tests/unit/optim_vectors.h: what PyTorch's optimizers make of a few numbers.

Needs Python with torch (the oracle); run by hand, the result is kept.  Two parameters, 13 and 15
numbers, STEPS gradients; per case the parameters after every step together.
"""
from pathlib import Path

import torch

STEPS, SIZES = 6, (13, 15)
gen = torch.Generator().manual_seed(7)


def numbers(n):
    return torch.randint(-96, 97, (n,), generator=gen).float() / 64


start = [numbers(n) for n in SIZES]
grads = [[numbers(n) for n in SIZES] for _ in range(STEPS)]

sgd, adam, adamw, rms = (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW, torch.optim.RMSprop)
# name, optimizer, its arguments, the frame's (momentum or beta1, second, decay), clip
cases = [
    ("sgd", sgd, dict(lr=0.05), None),
    ("momentum", sgd, dict(lr=0.05, momentum=0.9, weight_decay=0.01), None),
    ("nesterov", sgd, dict(lr=0.05, momentum=0.9, weight_decay=0.01, nesterov=True), None),
    ("adam", adam, dict(lr=0.02, betas=(0.9, 0.999), eps=1e-8), None),
    ("adam_decay", adam, dict(lr=0.02, betas=(0.8, 0.95), eps=1e-3, weight_decay=0.1), None),
    ("adamw", adamw, dict(lr=0.02, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1), None),
    ("rmsprop", rms, dict(lr=0.01, alpha=0.99, eps=1e-8), None),
    ("rmsprop_momentum", rms, dict(lr=0.01, alpha=0.9, eps=1.0, momentum=0.9, weight_decay=0.02), None),
    ("sgd_norm", sgd, dict(lr=0.05, momentum=0.9), ("norm", 2.0)),
    ("sgd_value", sgd, dict(lr=0.05, momentum=0.9), ("value", 0.5)),
    ("adam_norm", adam, dict(lr=0.02), ("norm", 1.0)),
]


def run(make, args, clip):
    params = [torch.nn.Parameter(s.clone()) for s in start]
    opt = make(params, foreach=False, **args)
    for step in grads:
        for p, g in zip(params, step):
            p.grad = g.clone()
        if clip and clip[0] == "norm":
            torch.nn.utils.clip_grad_norm_(params, clip[1], foreach=False)
        elif clip:
            torch.nn.utils.clip_grad_value_(params, clip[1], foreach=False)
        opt.step()
    return torch.cat([p.detach() for p in params])


def row(t):
    return "{" + ", ".join(f"{x:.9g}" for x in t.tolist()) + "}"


def c_case(name, make, args, clip):
    kind = {sgd: "RT_SGD", adam: "RT_ADAM", adamw: "RT_ADAM", rms: "RT_RMSPROP"}[make]
    beta = args.get("betas", (0.9, 0.999))
    momentum = beta[0] if kind == "RT_ADAM" else args.get("momentum", 0)
    second = beta[1] if kind == "RT_ADAM" else args.get("alpha", 0)
    clips = {None: "RT_CLIP_NONE", "norm": "RT_CLIP_NORM", "value": "RT_CLIP_VALUE"}
    fields = [f'"{name}"', kind, args["lr"], momentum, second, args.get("weight_decay", 0),
              args.get("eps", 1e-8), str(args.get("nesterov", False)).lower(),
              str(make is adamw).lower(), clips[clip and clip[0]], clip[1] if clip else 0]
    return "    {" + ", ".join(str(f) for f in fields) + ",\n     " + row(run(make, args, clip)) + "},"


out = [f"/* Made by tests/ref/make_optim.py with torch {torch.__version__.split('+')[0]}. */",
       "/* clang-format off */",
       f"enum {{ STEPS = {STEPS}, FIRST = {SIZES[0]}, SECOND = {SIZES[1]}, ALL = FIRST + SECOND }};",
       "static const double start[ALL] = " + row(torch.cat(start)) + ";",
       "static const double grads[STEPS][ALL] = {"]
out += ["    " + row(torch.cat(g)) + "," for g in grads] + ["};"]
out += ["typedef struct Vector {", "    const char *name;", "    int optimizer;",
        "    double lr, momentum, second, decay, eps;", "    bool nesterov, decoupled;",
        "    int clip;", "    double clip_at;", "    double want[ALL];", "} Vector;",
        "static const Vector vectors[] = {"]
out += [c_case(*c) for c in cases] + ["};", "/* clang-format on */", ""]
(Path(__file__).parents[1] / "unit" / "optim_vectors.h").write_text("\n".join(out))
