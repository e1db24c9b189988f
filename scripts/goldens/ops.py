#!/usr/bin/env python3
"""Prints what PyTorch's functional ops give, forward and backward, as tests/core/torch_goldens.h.

    /usr/bin/python3 scripts/goldens/ops.py > tests/core/torch_goldens.h

Written with PyTorch 1.13 in float32. The inputs are formulas of the element's number, so that the test makes the same
ones: value(seed, i) = scale * sin(seed + 0.73 i), and cos(0.5 + 0.3 i) as the gradient of the output.
"""
import math
import textwrap

import torch
import torch.nn.functional as F


def wave(seed, *shape, scale=1.0, shift=0.0):
    n = math.prod(shape)
    values = [shift + scale * math.sin(seed + 0.73 * i) for i in range(n)]
    return torch.tensor(values, dtype=torch.float64).reshape(shape).float()


def leaf(*args, **kwargs):
    return wave(*args, **kwargs).requires_grad_()


def numbers(t):
    values = ", ".join(f"{v:.8g}" for v in t.detach().reshape(-1).tolist())
    return "{" + values + "}"


def golden(name, inputs, y, extra=()):
    """One entry: the output, the gradient of every input, then further tensors (running statistics)."""
    v = torch.tensor([math.cos(0.5 + 0.3 * i) for i in range(y.numel())], dtype=torch.float64).float()
    y.backward(v.reshape(y.shape))
    parts = ", ".join(numbers(t) for t in [*(t.grad for t in inputs), *extra])
    text = f"inline const Golden {name} = {{{numbers(y)}, {{{parts}}}}};"
    print(textwrap.fill(text, width=119, subsequent_indent="    ", break_long_words=False, break_on_hyphens=False))


print("// Written by scripts/goldens/ops.py with PyTorch", torch.__version__.split("a")[0] + ". Do not edit.")
print("#pragma once\n\n#include <vector>\n\nnamespace graft::goldens {\n")
print("/// An op's output, then the gradient of each input (and running statistics, where there are some), row-major.")
print("struct Golden {\n  std::vector<double> y;\n  std::vector<std::vector<double>> rest;\n};\n\n// clang-format off")


def conv(name, x_shape, w_shape, **options):
    x, w, b = leaf(0.1, *x_shape), leaf(0.2, *w_shape), leaf(0.3, w_shape[0])
    golden(name, [x, w, b], F.conv2d(x, w, b, **options))


conv("conv2d_plain", (2, 2, 4, 4), (3, 2, 3, 3))
conv("conv2d_stride_pad", (1, 2, 5, 5), (2, 2, 3, 3), stride=2, padding=1)
conv("conv2d_dilation", (1, 1, 6, 6), (2, 1, 3, 3), dilation=2, padding=1)
conv("conv2d_groups", (1, 4, 4, 4), (4, 2, 2, 2), groups=2, stride=(2, 1), padding=(1, 0))
conv("conv2d_depthwise", (1, 3, 4, 4), (3, 1, 3, 3), groups=3, padding=1)

x, w, b = leaf(0.1, 3, 4), leaf(0.2, 5, 4), leaf(0.3, 5)
golden("linear_2d", [x, w, b], F.linear(x, w, b))
x, w = leaf(0.1, 2, 3, 4), leaf(0.2, 2, 4)
golden("linear_3d", [x, w], F.linear(x, w))
a, b = leaf(0.1, 2, 1, 2, 3), leaf(0.2, 2, 3, 2)
golden("matmul_broadcast", [a, b], torch.matmul(a, b))

for name, op in [("gelu_exact", F.gelu), ("gelu_tanh", lambda t: F.gelu(t, approximate="tanh")), ("silu", F.silu),
                 ("hardswish", F.hardswish), ("relu6", F.relu6), ("sigmoid", torch.sigmoid), ("tanh", torch.tanh)]:
    x = leaf(0.1, 12, scale=4.0 if name != "relu6" else 8.0)
    golden(name, [x], op(x))

x = leaf(0.1, 2, 3, 2, scale=3.0)
golden("softmax_dim1", [x], F.softmax(x, 1))
x = leaf(0.1, 3, 4, scale=3.0)
golden("log_softmax_dim1", [x], F.log_softmax(x, 1))

target = torch.tensor([2, 0, -100, 3, 1])
weight = torch.tensor([0.5, 2.0, 1.0, 0.25])
x = leaf(0.1, 5, 4, scale=3.0)
golden("cross_entropy_plain", [x], F.cross_entropy(x, target))
for reduction in ["mean", "sum", "none"]:
    x = leaf(0.1, 5, 4, scale=3.0)
    y = F.cross_entropy(x, target, weight=weight, label_smoothing=0.1, reduction=reduction)
    golden(f"cross_entropy_{reduction}", [x], y)
x = leaf(0.1, 5, 4, scale=3.0)
golden("cross_entropy_ignore_3", [x], F.cross_entropy(x, torch.tensor([2, 0, 3, 3, 1]), ignore_index=3))

x = leaf(0.1, 1, 2, 5, 5)
golden("max_pool_3_2_1", [x], F.max_pool2d(x, 3, 2, 1))
x = leaf(0.1, 1, 1, 6, 6)
golden("max_pool_dilation", [x], F.max_pool2d(x, 2, 1, 0, dilation=2))
x = leaf(0.1, 1, 2, 5, 5)
golden("max_pool_relu", [x], F.relu(F.max_pool2d(x, 2, 2)))
x = leaf(0.1, 1, 1, 5, 5)
golden("avg_pool_pad", [x], F.avg_pool2d(x, 3, 2, 1))
x = leaf(0.1, 1, 1, 5, 5)
golden("avg_pool_no_pad", [x], F.avg_pool2d(x, 3, 2, 1, count_include_pad=False))
x = leaf(0.1, 1, 2, 5, 4)
golden("adaptive_avg_pool", [x], F.adaptive_avg_pool2d(x, (3, 3)))
x = leaf(0.1, 1, 2, 3, 3)
golden("adaptive_avg_pool_1", [x], F.adaptive_avg_pool2d(x, 1))


def batch_norm(name, shape, training, **options):
    """Two batches in a row; the running statistics after both. Only the second is differentiated."""
    c = shape[1]
    mean, var = wave(0.7, c), wave(0.9, c, scale=0.5, shift=1.0)
    F.batch_norm(wave(0.4, *shape, scale=2.0), mean, var, None, None, training, **options)
    x, g, b = leaf(0.1, *shape), leaf(0.2, c), leaf(0.3, c)
    y = F.batch_norm(x, mean, var, g, b, training, **options)
    golden(name, [x, g, b], y, [mean, var])


batch_norm("batch_norm_2d", (4, 3), True)
batch_norm("batch_norm_3d", (2, 3, 3), True, momentum=0.3, eps=1e-3)
batch_norm("batch_norm_4d", (2, 3, 2, 2), True)
batch_norm("batch_norm_eval", (2, 3, 2, 2), False)

x, g, b = leaf(0.1, 3, 5), leaf(0.2, 5), leaf(0.3, 5)
golden("layer_norm_1", [x, g, b], F.layer_norm(x, (5,), g, b))
x, g, b = leaf(0.1, 2, 3, 4), leaf(0.2, 3, 4), leaf(0.3, 3, 4)
golden("layer_norm_2", [x, g, b], F.layer_norm(x, (3, 4), g, b, 1e-3))
print("// clang-format on\n\n}  // namespace graft::goldens")
