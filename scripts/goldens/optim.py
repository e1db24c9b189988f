#!/usr/bin/env python3
"""Prints what PyTorch's optimisers and OneCycleLR do, as the arrays of tests/core/optim_goldens.h.

    /usr/bin/python3 scripts/goldens/optim.py > tests/core/optim_goldens.h

Written with PyTorch 1.13. Five steps on four parameters in float64 with gradients that are a formula of step and
element, so that the test can make the same ones.
"""
import math

import torch

PARAMS = [1.0, -0.5, 0.25, 2.0]
STEPS = 5


def gradient(step):
    return [math.sin(1 + step + 0.7 * i) * (1 + i) for i in range(len(PARAMS))]


def trajectory(make):
    p = torch.tensor(PARAMS, dtype=torch.float64, requires_grad=True)
    optimizer = make([p])
    for step in range(STEPS):
        p.grad = torch.tensor(gradient(step), dtype=torch.float64)
        optimizer.step()
    return p.tolist()


def clipped():
    p = torch.tensor(PARAMS, dtype=torch.float64, requires_grad=True)
    q = torch.tensor(PARAMS, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([p, q], lr=0.1)
    for step in range(STEPS):
        p.grad = torch.tensor(gradient(step), dtype=torch.float64)
        q.grad = 2 * torch.tensor(gradient(step), dtype=torch.float64)
        torch.nn.utils.clip_grad_norm_([p, q], 1.5)
        optimizer.step()
    return p.tolist()


def one_cycle(total, **options):
    p = torch.zeros(1, requires_grad=True)
    optimizer = torch.optim.SGD([p], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1.0, total_steps=total, **options)
    factors = []
    for step in range(total):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if step + 1 < total:
            schedule.step()
    return factors


def array(name, values):
    print(f"inline const std::vector<double> {name} = {{{', '.join(repr(v) for v in values)}}};")


print("// Written by scripts/goldens/optim.py with PyTorch", torch.__version__.split("a")[0] + ". Do not edit.")
print("#pragma once\n\n#include <vector>\n\nnamespace graft::goldens {\n\n// clang-format off")
sgd, adam, adamw = torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW
array("sgd_plain", trajectory(lambda p: sgd(p, lr=0.1)))
array("sgd_decay", trajectory(lambda p: sgd(p, lr=0.1, weight_decay=0.05)))
array("sgd_momentum", trajectory(lambda p: sgd(p, lr=0.1, momentum=0.9, weight_decay=0.05)))
array("sgd_dampening", trajectory(lambda p: sgd(p, lr=0.1, momentum=0.9, dampening=0.3)))
array("sgd_nesterov", trajectory(lambda p: sgd(p, lr=0.1, momentum=0.9, weight_decay=0.05, nesterov=True)))
array("adam_plain", trajectory(lambda p: adam(p, lr=0.05)))
array("adam_decay", trajectory(lambda p: adam(p, lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)))
array("adamw_plain", trajectory(lambda p: adamw(p, lr=0.05, weight_decay=0.1)))
array("adamw_betas", trajectory(lambda p: adamw(p, lr=0.05, betas=(0.8, 0.95), eps=1e-6, weight_decay=0.1)))
array("sgd_clipped", clipped())
array("one_cycle_10", one_cycle(10))
array("one_cycle_7", one_cycle(7, pct_start=0.45, div_factor=10, final_div_factor=100))
print("// clang-format on\n\n}  // namespace graft::goldens")
