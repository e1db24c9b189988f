"""The --device cuda half of compare_pytorch: graft and PyTorch on one NVIDIA GPU, the data resident on it on both sides.

Of PyTorch: eager, compiled (torch.compile, mode reduce-overhead, from torch 2 on) and graphed (the whole step captured in
a CUDA graph by hand and replayed); channels_last, cudnn.benchmark, the fused optimiser, zero_grad(set_to_none=True). Every
step works on the same batch, so PyTorch is given the making of batches; graft's training rows are transfer::train() with
the gathering and normalising of a shuffled batch at every step, and are timed captured and eager.

f32 is f32 on both sides: TF32 is off in PyTorch, and graft has none. In bf16 what trains is autocast in PyTorch (f32 weights, BatchNorm
in f32), and in graft rounded copies of f32 weights, which is the same arithmetic with the casts of weights left to the optimiser; what
does not train (inference, a frozen trunk) has bf16 weights on both sides.
"""
import ctypes
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections import OrderedDict
from datetime import datetime, timezone

ROWS = ["train", "all_layers", "lenet5", "head_uncached", "head_cached", "inference"]
TITLES = {"train": "pretraining step (AdamW)", "all_layers": "option 2: all layers (AdamW)", "lenet5": "LeNet-5 step (AdamW)",
          "head_uncached": "option 1, uncached (Adam)", "head_cached": "option 1, cached (Adam)", "inference": "inference"}
PRECISIONS = ["f32", "bf16"]
GRAFT = ["captured", "eager"]
TORCH = ["eager", "compiled", "graphed"]
GOALS = [  # (what, row, precision, PyTorch's variant, at least): graft captured over it
    ("LeNet-5 step, graft / PyTorch eager", "lenet5", "f32", "eager", 10.0),
    ("LeNet-5 step, graft / PyTorch graphed", "lenet5", "f32", "graphed", 2.0),
]


def why_no_gpu():
    """What keeps programs from a GPU here, asked of the driver; "" when there is one."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return "no NVIDIA driver (libcuda.so.1 is not there)"
    if status := driver.cuInit(0):
        return f"the NVIDIA driver finds no GPU (cuInit: {status})"
    count = ctypes.c_int(0)
    driver.cuDeviceGetCount(ctypes.byref(count))
    return "" if count.value > 0 else "the NVIDIA driver counts no GPU"


def lenet5(torch):
    """As graft's models::lenet5: ReLU behind max pooling."""
    nn = torch.nn
    return nn.Sequential(OrderedDict(
        conv1=nn.Conv2d(1, 6, 5, padding=2), pool1=nn.MaxPool2d(2), relu_1=nn.ReLU(), conv2=nn.Conv2d(6, 16, 5),
        pool2=nn.MaxPool2d(2), relu_2=nn.ReLU(), flatten=nn.Flatten(), fc1=nn.Linear(400, 120), relu1=nn.ReLU(),
        fc2=nn.Linear(120, 84), relu2=nn.ReLU(), fc3=nn.Linear(84, 10))).to(memory_format=torch.channels_last)


class CudaRows:
    """PyTorch's steps, made at their first use: (row, precision, variant)."""

    def __init__(self, args, torch, strokes_net, source_classes, target_classes):
        self.args, self.torch, self.strokes_net = args, torch, strokes_net
        self.classes = {"train": source_classes, "inference": source_classes}
        self.target_classes = target_classes
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True
        torch.manual_seed(1)
        self.modern = int(torch.__version__.split(".")[0]) >= 2
        self.variants = [v for v in args.torch if v != "compiled" or self.modern]
        self.steps, self.failures = {}, {}
        if "compiled" in self.variants:
            # Every network here is one nn.Sequential to torch.compile: at its limit of compilations it would go on eagerly.
            import torch._dynamo as dynamo
            config = dynamo.config
            setattr(config, "recompile_limit" if hasattr(config, "recompile_limit") else "cache_size_limit", 256)

    def optimizer(self, kind, groups, capturable, **options):
        fused = {"fused": True} if self.modern else {"foreach": True}
        return getattr(self.torch.optim, kind)(groups, capturable=capturable, **fused, **options)

    def make(self, row, precision, variant):
        """(step, optimiser or None)"""
        torch, graphed = self.torch, variant == "graphed"
        dtype = torch.bfloat16 if precision == "bf16" else torch.float32
        classes = self.classes.get(row, self.target_classes)
        net = (lenet5(torch) if row == "lenet5" else self.strokes_net(torch, classes)).cuda()
        net.train(row in ("train", "lenet5"))
        x = torch.randn(self.args.batch, 1, 28, 28, device="cuda", dtype=dtype).contiguous(memory_format=torch.channels_last)
        y = torch.randint(0, classes, (self.args.batch,), device="cuda")
        loss = torch.nn.functional.cross_entropy
        compiled = (lambda part: torch.compile(part, mode="reduce-overhead", fullgraph=True)) if variant == "compiled" else (
            lambda part: part)

        def cast():  # its cache of rounded weights must not outlive a capture
            return torch.autocast("cuda", dtype=dtype, enabled=precision == "bf16", cache_enabled=not graphed)

        if row == "inference":
            forward = compiled(net.to(dtype))

            def step():
                with torch.no_grad() if graphed or variant == "compiled" else torch.inference_mode():
                    return forward(x)
            return step, None

        if row.startswith("head"):
            trunk, head = net[:-1].to(dtype), net[-1]
            optimizer = self.optimizer("Adam", head.parameters(), graphed, lr=1e-3)
            with torch.no_grad():
                features = trunk(x).detach()
            trunk_forward, head_forward = compiled(trunk), compiled(head)

            def forward():
                if row == "head_cached":
                    return head_forward(features)
                with torch.no_grad(), torch.autocast("cuda", enabled=False):
                    inner = trunk_forward(x)
                return head_forward(inner)
        else:
            head = [p for name, p in net.named_parameters() if name.startswith("fc.")]
            below = [p for name, p in net.named_parameters() if not name.startswith("fc.")]
            groups = [{"params": below}, {"params": head, "lr": 1e-3}] if row == "all_layers" else net.parameters()
            optimizer = self.optimizer("AdamW", groups, graphed, lr=1e-4, weight_decay=0.01)
            whole = compiled(net)

            def forward():
                return whole(x)

        def step():
            optimizer.zero_grad(set_to_none=True)
            with cast():
                value = loss(forward(), y)
            value.backward()
            optimizer.step()
        return step, optimizer

    def graph(self, step, optimizer):
        """The step captured as torch.cuda.CUDAGraph's documentation does it."""
        torch = self.torch
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(3):
                step()
        torch.cuda.current_stream().wait_stream(side)
        if optimizer:
            optimizer.zero_grad(set_to_none=True)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kept = step()

        def replay(graph=graph, kept=kept):  # what the graph writes to lives as long
            graph.replay()
        return replay

    def prepared(self, row, precision, variant):
        key = row, precision, variant
        if key not in self.steps:
            step, optimizer = self.make(row, precision, variant)
            if variant == "graphed":
                step = self.graph(step, optimizer)
            elif variant == "compiled" and hasattr(self.torch, "compiler"):
                inner, begin = step, getattr(self.torch.compiler, "cudagraph_mark_step_begin", lambda: None)

                def step():
                    begin()
                    inner()
            self.steps[key] = step
        return self.steps[key]

    def rate(self, row, precision, variant):
        """Images a second, or None where it could not be measured (told once)."""
        if (row, precision, variant) in self.failures:
            return None
        try:
            return self.measure(self.prepared(row, precision, variant))
        except Exception as error:  # the rest is measured still; broken() decides whether that will do
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            self.failures[row, precision, variant] = reason
            print(f"PyTorch {variant}, {row}, {precision}: not measured, {reason[:200]}")
            return None

    def measure(self, step):
        def run(seconds):
            self.torch.cuda.synchronize()
            begin, done = time.perf_counter(), 0
            while done < 20 or time.perf_counter() - begin < seconds:
                for _ in range(20):  # the driver holds the host back when the device is about a thousand launches behind
                    step()
                done += 20
            self.torch.cuda.synchronize()
            return done * self.args.batch / (time.perf_counter() - begin)
        run(self.args.seconds / 10)  # 20 steps at least: code is loaded, cuDNN tunes, the allocator has its memory
        return run(self.args.seconds)


class Graft:
    """graft_throughput, one process for all rows."""

    def __init__(self, args, failures):
        self.args, self.failures, self.process = args, failures, None

    def ask(self, line):
        if self.process is None:
            command = [self.args.graft, "--serve", "--device", "cuda", "--seconds", str(self.args.seconds),
                       "--threads", str(self.args.threads), "--batch", str(self.args.batch)]
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
            answer = self.process.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if answer:
            return json.loads(answer)
        status, self.process = self.process.wait(), None
        return {"error": f"graft_throughput ended with status {status}"}

    def rate(self, row, precision, variant):
        """Images a second, or None where it could not be measured (told once)."""
        if (row, precision, f"graft {variant}") in self.failures:
            return None
        answer = self.ask(f"{row} --precision {precision}" + (" --eager" if variant == "eager" else ""))
        if "error" not in answer:
            return answer["images_per_second"]
        self.close()  # CUDA's errors may stay for as long as a process lives: the next row has a new one
        self.failures[row, precision, f"graft {variant}"] = answer["error"]
        print(f"graft {variant}, {row}, {precision}: not measured, {answer['error'][:200]}")
        return None

    def close(self):
        if self.process:
            self.process.stdin.close()
            self.process.wait()
            self.process = None


def measure_rounds(args, rows, rates, keep):
    """Into rates, {(side, variant, row, precision): a rate a round}; the sides take turns in being first. keep() after
    each measurement. Whether all was measured before the budget was used up."""
    graft = Graft(args, rows.failures)
    try:
        for number in range(args.rounds):
            for row in args.rows:
                for precision in args.precisions:
                    sides = [("graft", v) for v in args.graft_variants] + [("torch", v) for v in rows.variants]
                    for side, variant in sides if number % 2 == 0 else reversed(sides):
                        if args.budget is not None and time.perf_counter() - args.started > args.budget:
                            print(f"the budget of {args.budget:g} s is used up in round {number + 1}, at {side} {variant}, {row}, "
                                  f"{precision}")
                            return False
                        rate = (graft if side == "graft" else rows).rate(row, precision, variant)
                        if rate is not None:
                            rates.setdefault((side, variant, row, precision), []).append(rate)
                        keep()
            print(f"round {number + 1} of {args.rounds} done after {time.perf_counter() - args.started:.0f} s", flush=True)
    finally:
        graft.close()
    return True


def print_rates(args, rates):
    columns = [("graft", v) for v in args.graft_variants] + [("torch", v) for v in args.torch]
    titles = [f"{'PyTorch' if side == 'torch' else side} {variant}" for side, variant in columns]
    print(f"\n{f'images a second, medians of {args.rounds}':<38}" + "".join(f"{title:>18}" for title in titles)
          + f"{'captured / best':>18}")
    for row in args.rows:
        for precision in args.precisions:
            medians = {c: statistics.median(rates[(*c, row, precision)]) for c in columns if (*c, row, precision) in rates}
            best = max((m for (side, _), m in medians.items() if side == "torch"), default=None)
            cells = "".join(f"{medians[c]:>18,.0f}" if c in medians else f"{'-':>18}" for c in columns)
            ours = medians.get(("graft", "captured"))
            ratio = f"{ours / best:>18.2f}" if ours and best else f"{'-':>18}"
            print(f"{TITLES[row] + ', ' + precision:<38}{cells}{ratio}")


def check_goals(args, rates):
    """The goals as a list for the JSON, printed."""
    goals = []
    print(f"\n{'goal':<42}{'at least':>9}{'seen':>8}{'worst':>8}{'best':>8}")
    for what, row, precision, variant, at_least in GOALS:
        if variant not in args.torch or row not in args.rows or precision not in args.precisions:
            continue
        ours, theirs = rates.get(("graft", "captured", row, precision)), rates.get(("torch", variant, row, precision))
        if not ours or not theirs:
            goals.append({"goal": what, "at_least": at_least, "seen": None, "ratios": [], "reached": False})
            print(f"{what:<42}{at_least:>9.1f}{'-':>8}{'-':>8}{'-':>8}  not measured")
            continue
        ratios = [a / b for a, b in zip(ours, theirs)]
        seen = statistics.median(ratios)
        goals.append({"goal": what, "at_least": at_least, "seen": seen, "ratios": ratios, "reached": seen >= at_least})
        print(f"{what:<42}{at_least:>9.1f}{seen:>8.2f}{min(ratios):>8.2f}{max(ratios):>8.2f}  "
              f"{'reached' if seen >= at_least else 'MISSED'}")
    return goals


def broken(failures):
    """What must not fail: everything but torch.compile, whose ways to fail are many and not ours."""
    return [key for key in failures if key[2] != "compiled"]


def compare(args, torch, differences, strokes_net, source_classes, target_classes):
    """Measures, prints, writes args.out; the exit status: 1 a goal was not reached, 3 something could not be measured."""
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__} (CUDA {torch.version.cuda}); f32 without TF32 on both sides, "
          "bf16 by autocast in PyTorch")
    rows = CudaRows(args, torch, strokes_net, source_classes, target_classes)
    context = {"date": datetime.now(timezone.utc).isoformat(timespec="seconds"), "gpu": torch.cuda.get_device_name(),
               "system": platform.platform(), "cores": len(os.sched_getaffinity(0)), "torch": torch.__version__,
               "torch_cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(), "tf32": False,
               "optimizer": "fused" if rows.modern else "foreach", "batch": args.batch, "seconds": args.seconds,
               "rounds": args.rounds}
    rates = {}

    def write(goals):
        if not args.out:
            return
        args.out.parent.mkdir(parents=True, exist_ok=True)
        unfinished = args.out.with_name(args.out.name + ".part")
        unfinished.write_text(json.dumps({
            "context": context, "differences": differences, "goals": goals,
            "not_measured": {".".join(key): reason for key, reason in rows.failures.items()},
            "images_per_second": {".".join(key): values for key, values in rates.items()}}, indent=1) + "\n")
        unfinished.replace(args.out)  # so that a run that is killed leaves what it had

    all_done = measure_rounds(args, rows, rates, lambda: write([]))
    print_rates(args, rates)
    goals = check_goals(args, rates)
    write(goals)
    if args.out:
        print(f"\nwritten to {args.out}")
    if broken(rows.failures):
        return 3
    if not all_done:
        return 4
    return 0 if all(goal["reached"] for goal in goals) else 1
