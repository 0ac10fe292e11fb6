#!/usr/bin/env python3
"""Writes tests/unit/lstm_vectors.h: what PyTorch's LSTM and GRU make of a few numbers, both ways in time.

Needs Python with torch (the oracle); run by hand, the result is kept.  Double precision; a case holds
the input [N, C, L], the four parameters, the outputs of all steps [N, H, L] and, for a gradient of
them that is given too, the gradients of input and parameters.
"""
from pathlib import Path

import torch

N, C, H, L = 2, 3, 4, 5
torch.manual_seed(11)


def text(t):
    return "{" + ", ".join(f"{x:.17g}" for x in t.detach().reshape(-1).tolist()) + "}"


rows = []
for kind, back in (("LSTM", False), ("LSTM", True), ("GRU", False), ("GRU", True)):
    net = getattr(torch.nn, kind)(C, H, batch_first=True, bidirectional=back).double()
    tail = "_reverse" if back else ""
    params = [getattr(net, n + "_l0" + tail) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    x = torch.randn(N, L, C, dtype=torch.float64, requires_grad=True)
    y = net(x)[0][:, :, -H:]
    dy = torch.randn(N, L, H, dtype=torch.float64)
    y.backward(dy)
    time_last = [x, y, dy, x.grad]
    x, y, dy, dx = [t.transpose(1, 2) for t in time_last]
    fields = [x, *params, y, dy, dx, *[p.grad for p in params]]
    rows.append(f"    {{OP_{kind}, {'true' if back else 'false'}, " + ",\n     ".join(map(text, fields)) + "},\n")

out = Path(__file__).parent.parent / "unit" / "lstm_vectors.h"
gates = 4 * H
out.write_text(
    f"/* Made by tests/ref/make_lstm.py with torch {torch.__version__.split('+')[0]}. */\n"
    "/* clang-format off */\n"
    f"enum {{ N = {N}, C = {C}, H = {H}, L = {L}, GATES = {gates} }};\n"
    "typedef struct Vector { /* of GRU the first 3 of 4 gates */\n    int op;\n    bool reverse;\n    double x[N * C * L];\n"
    "    double weight_ih[GATES * C], weight_hh[GATES * H], bias_ih[GATES], bias_hh[GATES];\n"
    "    double y[N * H * L], dy[N * H * L], dx[N * C * L];\n"
    "    double dweight_ih[GATES * C], dweight_hh[GATES * H], dbias_ih[GATES], dbias_hh[GATES];\n"
    "} Vector;\n"
    "static const Vector vectors[] = {\n" + "".join(rows) + "};\n/* clang-format on */\n")
