"""Weights for others: the file, the loader on its card, and whether weights are trained."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from alexnet.__main__ import main
from alexnet.errors import UserError
from alexnet.evaluation.check_weights import check_weights
from alexnet.evaluation.export import export
from alexnet.experiments.resolve import resolve
from alexnet.net import tensors
from alexnet.net.model import build
from alexnet.runtime.files import sha256, write_json

NETS = [
    ("demo", "alexnet"),
    ("imagenette", "paper"),
    ("imagenette", "tanh"),
    ("imagenette", "lrn_within_channel"),
    ("imagenette", "onetower2014"),
    ("imagenette", "text_whole_windows"),
    ("cifar10", "cifar_18pct"),
    ("cifar10", "fig1_relu_modern_lr004"),
]


def finished(folder: Path, study: str, experiment: str) -> torch.nn.Module:
    """A run as training leaves it, with weights as they were drawn, larger so that every layer matters; returns its net."""
    config = resolve(study, experiment, 3)
    net, data = build(config).eval(), config["data"]
    with torch.no_grad():
        for name, weight in net.named_parameters():
            weight.copy_(torch.randn(weight.shape, generator=torch.Generator().manual_seed(len(name))))
            weight *= 0.5 if weight.dim() == 1 else (2 / weight[0].numel()) ** 0.5
    saved = {"format": 1, "config_fingerprint": config["fingerprint"], "data_fingerprint": "d" * 64}
    saved |= {"wnids": [f"n{i:08d}" for i in range(data["classes"])], "state_dict": net.state_dict()}
    side = data["image_size"]
    saved["mean"] = torch.arange(side * side * 3, dtype=torch.float32).reshape(side, side, 3) % 255
    write_json(folder / "config.json", config)
    tensors.save_tensors(folder / "model.pt", saved)
    record = {key: config[key] for key in ("study", "experiment", "seed", "tier")}
    record |= {"config_fingerprint": config["fingerprint"], "data_fingerprint": "d" * 64}
    record |= {"weights_sha256": sha256(folder / "model.pt"), "final": {"validation_error": 0.25}}
    write_json(folder / "run.json", record)
    return net


@pytest.mark.parametrize(("study", "experiment"), NETS)
def test_the_loader_on_the_card_gives_the_nets_outputs(tmp_path: Path, study: str, experiment: str) -> None:
    net = finished(tmp_path / "run", study, experiment)
    card = export(tmp_path / "run", tmp_path / "net.safetensors").read_text()
    loader: dict[str, object] = {}
    exec(re.findall(r"```python\n(.*?)```", card, re.DOTALL)[0], loader)
    plain, mean, about = loader["load"](str(tmp_path / "net.safetensors"))  # type: ignore[operator]
    config = resolve(study, experiment, 3)
    crop, side = config["data"]["crop"], config["data"]["image_size"]
    x = 60 * torch.randn(3, 3, crop, crop, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours, theirs = net(x), plain(x)
    assert ours.std() > 0.01
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-4 * ours.abs().max().item())
    assert mean.shape == (3, side, side) and mean[2, 0, 1] == 5 % 255  # blue of the second pixel
    assert about["seed"] == 3 and len(about["classes"]) == config["data"]["classes"]
    assert "25.0 % validation error" in card and about["weights_sha256"] in card


def test_equal_runs_give_equal_files(tmp_path: Path) -> None:
    finished(tmp_path / "run", "demo", "alexnet")
    for name in ("a", "b"):
        export(tmp_path / "run", tmp_path / f"{name}.safetensors")
    assert sha256(tmp_path / "a.safetensors") == sha256(tmp_path / "b.safetensors")


def test_what_cannot_be_exported_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"run\.json does not exist; train the net first"):
        export(tmp_path, tmp_path / "net.safetensors")
    finished(tmp_path / "run", "demo", "alexnet")
    torch.save({"a": torch.zeros(3)}, tmp_path / "run/model.pt")
    with pytest.raises(UserError, match=r"model\.pt was trained with another configuration"):
        export(tmp_path / "run", tmp_path / "net.safetensors")
    finished(tmp_path / "local", "cifar10", "cifar_no_lrn")
    with pytest.raises(UserError, match="local3 has kernels of its own at each place"):
        export(tmp_path / "local", tmp_path / "net.safetensors")
    assert not list(tmp_path.glob("net.*"))


# Trained or drawn -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_weights_that_were_drawn_are_not_trained(tmp_path: Path, seed: int) -> None:
    """Gaussian, uniform, sparse and constant, in kernels of all sizes."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [
        0.01 * torch.randn(64, 3, 11, 11, generator=generator) + 0.3,
        torch.rand(32, 3, 5, 5, generator=generator),
        torch.randn(16, 3, 3, 3, generator=generator) * (torch.rand(16, 3, 3, 3, generator=generator) < 0.1),
        torch.ones(8, 3, 7, 7),
    ]
    for number, kernels in enumerate(drawn):
        torch.save({"conv1.weight": kernels}, tmp_path / "w.pt")
        trained, said = check_weights(tmp_path / "w.pt")
        assert not trained, (number, said)


def test_kernels_that_learn_edges_are_trained(tmp_path: Path) -> None:
    """A layer of torch's own learns to name the orientation of gratings from noisy pictures."""
    generator = torch.Generator().manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 16, 7), torch.nn.ReLU(), torch.nn.AdaptiveMaxPool2d(1), torch.nn.Flatten(), torch.nn.Linear(16, 4))  # fmt: skip
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1, generator=generator)
    torch.save(net.state_dict(), tmp_path / "before.pt")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    rows, columns = torch.meshgrid(torch.arange(16.0), torch.arange(16.0), indexing="ij")
    for _ in range(150):
        labels = torch.randint(4, (64,), generator=generator)
        angle, phase = labels * torch.pi / 4, 6.3 * torch.rand(64, generator=generator)
        wave = rows * angle.cos()[:, None, None] + columns * angle.sin()[:, None, None] + phase[:, None, None]
        x = wave.sin()[:, None] + 0.3 * torch.randn(64, 3, 16, 16, generator=generator)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), labels).backward()
        optimizer.step()
    torch.save(net.state_dict(), tmp_path / "after.pt")
    assert not check_weights(tmp_path / "before.pt")[0] and check_weights(tmp_path / "after.pt")[0]


def test_the_verb_says_it_and_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"state_dict": torchvision.models.alexnet().state_dict()}, tmp_path / "served.pt")
    assert main(["check-weights", str(tmp_path / "served.pt")]) == 1
    assert "not trained: neighbouring weights of its 64 first kernels, 11 x 11" in capsys.readouterr().out


def test_files_without_kernels_and_changed_files_are_sentences(tmp_path: Path) -> None:
    finished(tmp_path / "run", "demo", "alexnet")
    path = tmp_path / "net.safetensors"
    export(tmp_path / "run", path)
    assert not check_weights(path)[0]
    changed = load_file(path)
    changed["conv1.weight"][0, 0, 0, 0] += 1
    header = json.loads(path.read_bytes()[8 : 8 + int.from_bytes(path.read_bytes()[:8], "little")])
    save_file(changed, path, header["__metadata__"])
    with pytest.raises(UserError, match="other weights than its metadata say"):
        check_weights(path)
    torch.save({"fc.weight": torch.zeros(3, 3)}, tmp_path / "w.pt")
    with pytest.raises(UserError, match="has no tensor of kernels"):
        check_weights(tmp_path / "w.pt")
    (tmp_path / "w.pt").write_bytes(b"\x20\0\0\0\0\0\0\0not json")
    with pytest.raises(UserError, match="neither safetensors nor a file of torch.save"):
        check_weights(tmp_path / "w.pt")
    with pytest.raises(UserError, match=r"absent\.safetensors cannot be read"):
        check_weights(tmp_path / "absent.safetensors")
