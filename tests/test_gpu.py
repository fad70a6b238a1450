"""A CUDA device against the processor and against formulas: norms, batches, updates, whole nets, trainings, what comes after.

Tolerances are those of single precision summed in another order; TF32 is off where `precision` does not ask for it.
"""

import json
import math
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import ROOT, is_there_a_gpu
from test_layers import CASES, WITHIN, both_ways, channels_last, written_out, written_out_within
from test_loader import RECIPES, config, expected, mean_of
from torch.nn import functional as F

from alexnet.batches.loader import TrainingBatches
from alexnet.evaluation.evaluate import evaluate
from alexnet.evaluation.examine import examine
from alexnet.experiments import resolve
from alexnet.net.execution import plan
from alexnet.net.layers import LocallyConnected2d, LocalResponseNorm, norm_backend
from alexnet.net.model import build
from alexnet.packed.packed_set import open_split
from alexnet.runtime import gpu_leases
from alexnet.training import train, trainer
from alexnet.training.sgd import PaperSGD

pytestmark = pytest.mark.skipif(not is_there_a_gpu(), reason="this machine has no CUDA device")


@pytest.fixture(autouse=True)
def single_precision():
    """As `plan` sets it up."""
    before = torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()
    plan("1", 1).apply()
    yield
    torch.use_deterministic_algorithms(before[0])
    torch.set_num_threads(before[1])


def there_and_back(layer, x, grad):
    out, gradient = both_ways(layer, x.cuda(), grad.cuda())
    assert out.is_cuda and gradient.is_cuda
    return out.cpu(), gradient.cpu()


def near(found, exact, tolerance=1e-6):
    """Within `tolerance` of the largest value."""
    exact = exact.double()
    error = (found.double() - exact).abs().max().item()
    assert error <= tolerance * exact.abs().max().item()


# Layers --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("batch", [3, 40])
@pytest.mark.parametrize(("size", "towers", "maps"), CASES)
def test_tritons_kernels_are_the_formula_and_its_derivative(size, towers, maps, batch):
    assert norm_backend("cuda").__name__ == "alexnet.net.lrn_triton"
    layer = LocalResponseNorm(size, 1e-3, 0.75, 2.0, towers=towers)
    x, grad = channels_last(batch, maps, 13, 9), channels_last(batch, maps, 13, 9, seed=1, scale=1.0)
    out, gradient = there_and_back(layer, x, grad)
    formula = written_out(x.double().numpy(), size, 1e-3, 0.75, 2.0, towers)
    np.testing.assert_allclose(out.numpy(), formula, rtol=2e-6)
    _, exact = both_ways(layer, x.double(), grad.double())  # torch's operations on the processor
    near(gradient, exact)


@pytest.mark.parametrize(("size", "shape"), WITHIN)
def test_tritons_kernels_within_maps_are_the_formula_and_its_derivative(size, shape):
    layer = LocalResponseNorm(size, 1e-3, 0.75, 1.0, mode="within", divide_alpha_by_size=True)
    x, grad = channels_last(*shape), channels_last(*shape, seed=1, scale=1.0)
    out, gradient = there_and_back(layer, x, grad)
    formula = written_out_within(x.double().numpy(), size, 1e-3 / size**2, 0.75, 1.0)
    np.testing.assert_allclose(out.numpy(), formula, rtol=2e-6)
    near(gradient, both_ways(layer, x.double(), grad.double())[1])
    assert layer(x.cuda().requires_grad_()).grad_fn.name() == "_CompiledBackward"  # not the operations of torch


@pytest.mark.parametrize("mode", ["across", "within"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_halved_precision_is_computed_in_single_and_rounded_once(dtype, mode):
    layer = LocalResponseNorm(5, 1e-4, 0.75, 2.0, mode=mode, towers=2)
    x, grad = (channels_last(8, 96, 13, 13).to(dtype), channels_last(8, 96, 13, 13, seed=1, scale=1.0).to(dtype))
    half, wide = there_and_back(layer, x, grad), there_and_back(layer, x.float(), grad.float())
    for short, long in zip(half, wide, strict=True):
        assert short.dtype == dtype and torch.equal(short, long.to(dtype))


@pytest.mark.parametrize("mode", ["across", "within"])
@pytest.mark.parametrize(("beta", "dtype"), [(0.5, torch.float32), (0.75, torch.float64)])
def test_what_has_no_kernel_is_left_to_torch(beta, dtype, mode):
    layer = LocalResponseNorm(5, 1e-3, beta, 2.0, mode=mode, towers=2)
    x, grad = channels_last(3, 12, 7, 5).to(dtype), channels_last(3, 12, 7, 5, seed=1, scale=1.0).to(dtype)
    for found, exact in zip(there_and_back(layer, x, grad), both_ways(layer, x.double(), grad.double()), strict=True):
        near(found, exact)


@pytest.mark.parametrize("mode", ["across", "within"])
def test_tensors_of_more_than_2_31_values_are_normalised_to_their_end(mode):
    shape = (2**31 // (96 * 55 * 55) + 2, 96, 55, 55)
    if torch.cuda.mem_get_info()[0] < 20 * math.prod(shape):
        pytest.skip("the card has less than 43 GB of free memory")
    layer = LocalResponseNorm(5, 1e-4, 0.75, 2.0, mode=mode, towers=2)
    x = torch.empty(shape, dtype=torch.bfloat16, device="cuda", memory_format=torch.channels_last).normal_(0, 60)
    whole, last = both_ways(layer, x, x), both_ways(layer, x[-3:], x[-3:])
    assert all(torch.equal(one[-3:], other) for one, other in zip(whole, last, strict=True))


def test_locally_connected_layers_give_what_they_give_on_the_processor():
    torch.manual_seed(0)
    layer = LocallyConnected2d(8, 12, (6, 5), 3, padding=1)
    x, grad = torch.randn(10, 8, 6, 5), torch.randn(10, 12, 6, 5)
    exact = both_ways(layer.double(), x.double(), grad.double())
    weights = layer.weight.grad.clone()
    layer.zero_grad()
    found = there_and_back(layer.float().cuda(), x, grad)
    for one, other in zip((*found, layer.weight.grad.cpu()), (*exact, weights), strict=True):
        near(one, other)


# Batches and updates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 1, 3])
@pytest.mark.parametrize("recipe", RECIPES)
def test_batches_made_on_the_device_are_the_plain_loops_to_the_bit(packed_set, recipe, workers):
    split, settings = open_split(packed_set, "train"), config(**RECIPES[recipe])
    mean = mean_of(split)
    batches = TrainingBatches(split, settings, mean, workers, "cuda")
    for epoch in (0, 3):
        pairs = list(batches.epoch(epoch))
        assert all(images.is_cuda for images, _ in pairs)
        assert all(images.is_contiguous(memory_format=torch.channels_last) for images, _ in pairs)
        plain, truth = expected(split, settings, mean, epoch)
        images = torch.cat([images for images, _ in pairs]).permute(0, 2, 3, 1).cpu().numpy()
        assert np.array_equal(images, plain)
        assert np.array_equal(torch.cat([labels for _, labels in pairs]).numpy(), truth)


def test_the_fused_update_is_the_printed_rule():
    generator = np.random.default_rng(0)
    w, v = generator.normal(0, 1, (64, 3, 5, 5)), np.zeros((64, 3, 5, 5))
    start = torch.from_numpy(w.astype(np.float32)).cuda().contiguous(memory_format=torch.channels_last)
    parameter = torch.nn.Parameter(start)
    optimizer = PaperSGD([parameter], lr=0.0, momentum=0.9, weight_decay=0.05)
    for rate in (0.1, 0.1, 0.01, 0.01):
        g = generator.normal(0, 1, w.shape)
        v = 0.9 * v - 0.05 * rate * w - rate * g
        w = w + v
        optimizer.param_groups[0]["lr"] = rate
        parameter.grad = torch.from_numpy(g.astype(np.float32)).cuda()
        optimizer.step()
    near(parameter.detach().cpu(), torch.from_numpy(w))


# Nets and trainings --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("study", "experiment"),
    [
        ("ilsvrc2012", "alexnet"), ("ilsvrc2012", "one_gpu"), ("ilsvrc2012", "tanh"), ("ilsvrc2012", "conv6"),
        ("cifar10", "cifar_lrn"), ("cifar10", "cifar_18pct"),
    ],
)  # fmt: skip
def test_a_whole_net_at_full_size_has_the_processors_output_and_gradients(study, experiment):
    settings = resolve.resolve(study, experiment, 1)
    net, crop = build(settings).eval(), settings["data"]["crop"]  # eval: no dropout, whose draws differ
    generator = torch.Generator().manual_seed(0)
    x = (60 * torch.randn(4, 3, crop, crop, generator=generator)).contiguous(memory_format=torch.channels_last)

    def both(device, dtype):
        net.to(device, dtype).zero_grad()
        logits = net(x.to(device, dtype))
        F.cross_entropy(logits, torch.tensor([1, 5, 3, 8], device=device)).backward()
        return [logits.detach().cpu(), *(p.grad.cpu().double().clone() for p in net.parameters())]

    exact = both("cpu", torch.float64)
    for one, other in zip(both("cuda", torch.float64), exact, strict=True):
        near(one, other, 1e-10)
    logits, *gradients = both("cuda", torch.float32)
    near(logits, exact[0], 1e-5)
    # a unit near zero, or one of two nearly equal ones in a window, gets another gradient from the last bit on: on the
    # processor one such unit in conv5 moves the gradients below by up to 1.5 %, in the mean square
    for one, other in zip(gradients, exact[1:], strict=True):
        assert (one - other).norm() <= 0.05 * other.norm()


def without_dropout(settings):
    """Its draws are a device's own."""
    for layer in settings["model"]["layers"].values():
        layer["after"] = [step for step in layer["after"] if step != "dropout"]


def curve(out):
    return pd.read_csv(out / "metrics.csv")


def test_a_training_has_the_processors_losses_and_says_where_it_ran(configure, packed_set, tmp_path):
    path = configure(change=without_dropout)
    train.train(path, packed_set, tmp_path / "cpu", "0", 1)
    train.train(path, packed_set, tmp_path / "gpu", "1", 2)
    here, there = curve(tmp_path / "cpu"), curve(tmp_path / "gpu")
    for column in ("train_loss", "validation_loss"):
        np.testing.assert_allclose(there[column], here[column], rtol=1e-4)
    record = json.loads((tmp_path / "gpu/run.json").read_text())
    assert record["devices"] == ["cuda:0"] and record["gpus"] == [torch.cuda.get_device_name(0)]
    assert record["response_norm"] == "lrn_triton" and not record["deterministic"]
    assert json.loads((tmp_path / "cpu/run.json").read_text())["gpus"] == []


@pytest.mark.parametrize("precision", ["tf32", "bf16"])
def test_lower_precision_trains_another_net_but_a_near_one(configure, packed_set, tmp_path, precision):
    def lower(settings):
        without_dropout(settings)
        settings["precision"] = precision

    train.train(configure(change=without_dropout), packed_set, tmp_path / "fp32", "1", 1)
    train.train(configure(change=lower), packed_set, tmp_path / precision, "1", 1)
    one, other = curve(tmp_path / "fp32")["train_loss"], curve(tmp_path / precision)["train_loss"]
    assert not np.array_equal(one, other)
    np.testing.assert_allclose(one, other, rtol=0.02)


def test_a_run_of_the_device_is_finished_on_the_processor(configure, packed_set, tmp_path, monkeypatch):
    path = configure(change=without_dropout)
    train.train(path, packed_set, tmp_path / "whole", "0", 1)
    original = trainer.Run.train_epoch

    def dies_in_epoch_two(self, epoch, report):
        if epoch == 1:
            raise KeyboardInterrupt
        return original(self, epoch, report)

    with monkeypatch.context() as patch:
        patch.setattr(trainer.Run, "train_epoch", dies_in_epoch_two)
        with pytest.raises(KeyboardInterrupt):
            train.train(path, packed_set, tmp_path / "cut", "1", 1)
    train.train(path, packed_set, tmp_path / "cut", "0", 1)
    np.testing.assert_allclose(
        curve(tmp_path / "cut")["train_loss"], curve(tmp_path / "whole")["train_loss"], rtol=1e-4
    )
    sessions = json.loads((tmp_path / "cut/run.json").read_text())["sessions"]
    assert [session["device"] for session in sessions] == ["cuda:0", "cpu"]


def test_an_evaluation_and_an_examination_say_what_the_processor_says(configure, packed_set, tmp_path):
    path = configure()
    train.train(path, packed_set, tmp_path / "run", "1", 1)
    weights = tmp_path / "run/model.pt"
    for devices in "01":
        evaluate(path, packed_set, weights, tmp_path / f"evals{devices}", devices=devices, threads=1)
        examine(path, packed_set, weights, tmp_path / f"seen{devices}", devices=devices, threads=1)
    here, there = (pd.read_parquet(tmp_path / f"evals{d}/ilsvrc2012-val.parquet") for d in "01")
    for view in ("center", "ten"):
        np.testing.assert_allclose(there[f"{view}_loss"], here[f"{view}_loss"], rtol=1e-3)
        assert (there[f"{view}_prediction"] == here[f"{view}_prediction"]).all()
    here, there = (pd.read_parquet(tmp_path / f"seen{d}/sample.parquet") for d in "01")
    np.testing.assert_allclose(there["loss"], here["loss"], rtol=1e-3)
    here, there = (pd.read_parquet(tmp_path / f"seen{d}/queries.parquet") for d in "01")
    for column in ("same_class", "same_class_pixels"):
        assert (there[column] == here[column]).mean() > 0.9  # two neighbours at one distance may change places


# Leases --------------------------------------------------------------------------------------------------------------

ALONE = """
import torch
from alexnet.runtime.gpu_leases import leased
with leased("1") as taken:
    print(len(taken), torch.cuda.device_count(), flush=True)
    input()
"""


def test_a_real_card_is_lent_to_one_process_at_a_time(tmp_path, monkeypatch):
    names = gpu_leases.cards()
    assert len(names) == torch.cuda.device_count()
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names[0])
    words, pipe = [sys.executable, "-c", ALONE], subprocess.PIPE
    processes = []
    try:
        for _ in range(2):
            processes.append(subprocess.Popen(words, cwd=ROOT, stdin=pipe, stdout=pipe, stderr=pipe, text=True))
            if len(processes) == 1:
                assert processes[0].stdout.readline() == "1 1\n"
        assert processes[1].stderr.readline() == "waiting for 1 of 1 GPUs to be free\n"
        processes[0].communicate("\n", timeout=60)
        assert processes[1].stdout.readline() == "1 1\n"
        processes[1].communicate("\n", timeout=60)
        assert [process.returncode for process in processes] == [0, 0]
    finally:
        for process in processes:
            process.kill()
            process.wait()
