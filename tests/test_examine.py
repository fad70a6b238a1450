"""Examination of finished nets against closed forms, explicit loops and NumPy."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import seal
from scipy.spatial.distance import cdist
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import gmean

from alexnet import experiments, train
from alexnet.__main__ import main
from alexnet.data import open_split
from alexnet.errors import UserError
from alexnet.evaluate import evaluate
from alexnet.examine import (
    beyond,
    chroma_share,
    divergences,
    examine,
    first_kernels,
    fixed_sample,
    geometric_mean,
    nearest,
    orientation_selectivity,
)
from alexnet.layers import Dropout
from alexnet.model import build


@pytest.fixture
def run(definitions, packed_set, tmp_path):
    experiments.forget()
    config = tmp_path / "config.json"
    config.write_text(json.dumps(experiments.resolve("tiny", "alexnet", 1, str(definitions))))
    train.train(config, packed_set, tmp_path / "run", threads=1)
    return config, packed_set, tmp_path / "run" / "model.pt"


def test_chroma_share_of_grey_coloured_and_random_kernels():
    generator = torch.Generator().manual_seed(0)
    pattern = torch.randn(5, 5, generator=generator)
    grey = pattern.expand(3, 5, 5)
    opponent = torch.stack([pattern, -pattern, torch.zeros(5, 5)])  # sums to nothing: all of it is colour
    red = torch.stack([pattern, torch.zeros(5, 5), torch.zeros(5, 5)])  # (1,0,0) is 1/3 grey, 2/3 colour
    shares = chroma_share(torch.stack([grey, opponent, red, torch.zeros(3, 5, 5)]))
    torch.testing.assert_close(shares, torch.tensor([0.0, 1.0, 2 / 3, 0.0]))
    noise = torch.randn(4000, 3, 5, 5, generator=generator)
    assert chroma_share(noise).mean() == pytest.approx(2 / 3, abs=0.005)


def test_orientation_selectivity_of_a_grating_a_blob_and_noise():
    x = torch.arange(61, dtype=torch.double)  # many periods, so that the window's edges do not count
    grating = torch.cos(2 * torch.pi * 0.2 * x).expand(61, 61)
    turned = torch.cos(2 * torch.pi * 0.2 * (x[:, None] + x) / 2**0.5)
    blob = torch.exp(-((x - 30) ** 2 + (x[:, None] - 30) ** 2) / 4)
    flat = torch.ones(61, 61, dtype=torch.double)
    kernels = torch.stack([grating, turned, blob, flat])[:, None].expand(-1, 3, -1, -1)
    one, other, none, nothing = orientation_selectivity(kernels).tolist()
    assert min(one, other) > 0.9
    assert none == pytest.approx(0, abs=1e-9)
    assert nothing == pytest.approx(0, abs=1e-9)
    generator = torch.Generator().manual_seed(1)
    noise = orientation_selectivity(torch.randn(500, 3, 11, 11, generator=generator, dtype=torch.double))
    assert 0.02 < noise.mean() < 0.3


def test_orientation_does_not_depend_on_the_direction():
    """A kernel and the same turned by a quarter are equally selective."""
    kernel = torch.randn(1, 3, 7, 7, generator=torch.Generator().manual_seed(2), dtype=torch.double)
    turned = orientation_selectivity(kernel.rot90(1, (2, 3)))
    torch.testing.assert_close(orientation_selectivity(kernel), turned)


def test_a_sample_is_fixed_sorted_and_whole_where_the_split_is_small():
    chosen = fixed_sample(1000, 100)
    assert len(set(chosen)) == 100 and (np.diff(chosen) > 0).all() and chosen.max() < 1000
    np.testing.assert_array_equal(chosen, fixed_sample(1000, 100))
    np.testing.assert_array_equal(fixed_sample(7, 100), np.arange(7))


def test_near_and_far_are_ranks_of_distances():
    rng = np.random.default_rng(3)
    distances = torch.from_numpy(rng.permuted(np.tile(np.arange(200.0), (9, 1)), axis=1))
    np.testing.assert_array_equal(nearest(distances, 6), np.argsort(distances, axis=1)[:, :6])
    chosen = torch.from_numpy(rng.integers(0, 200, (9, 6)))
    ranks = distances.numpy()[np.arange(9)[:, None], chosen]
    np.testing.assert_allclose(beyond(distances, chosen, 0.25), (ranks >= 50).mean(1))
    np.testing.assert_allclose(
        beyond(distances, chosen, 1e-6), (ranks >= 1).mean(1)
    )  # at least the nearest one


def test_geometric_mean_and_divergence_are_those_of_scipy():
    rng = np.random.default_rng(4)
    logits = rng.normal(0, 2, (5, 3, 7))
    log_p = torch.from_numpy(log_softmax(logits, -1))
    mean = gmean(softmax(logits, -1), axis=0)
    mean /= mean.sum(-1, keepdims=True)
    np.testing.assert_allclose(geometric_mean(log_p).exp(), mean)
    expected = rel_entr(mean, softmax(logits[0], -1)).sum(-1)
    np.testing.assert_allclose(divergences(geometric_mean(log_p), log_p[0]), expected)


def test_an_examination_is_what_explicit_loops_give(run, tmp_path):
    config_path, data, weights = run
    record = examine(config_path, data, weights, tmp_path / "e", threads=1)
    config, saved = json.loads(config_path.read_text()), torch.load(weights, weights_only=True)
    net = build(config).eval()
    net.load_state_dict(saved["state_dict"])
    mean = np.load(data / "mean.npy")[4:36, 4:36]
    seen = {}
    for name in ("train", "val"):
        split = open_split(data, name)
        pixels = (np.asarray(split.images)[:, 4:36, 4:36] - mean).transpose(0, 3, 1, 2).astype(np.float32)
        with torch.no_grad():
            views = torch.from_numpy(pixels)
            seen[name] = (
                pixels.reshape(len(pixels), -1),
                net.features(views, "fc7").numpy(),
                net(views).numpy(),
            )
            seen[name] += (split.labels,)
    pixels, features, logits, labels = seen["train"]
    errors = (logits.argmax(1) != labels).astype(float)
    sample = pd.read_parquet(tmp_path / "e/sample.parquet")
    np.testing.assert_array_equal(sample["top1_error"], errors)
    np.testing.assert_allclose(sample["loss"], -log_softmax(logits, 1)[np.arange(48), labels], rtol=1e-4)
    assert record["sample"]["top1_error"] == pytest.approx(errors.mean())
    assert record["sample"]["images"] == 48 and record["queries"]["images"] == 24
    queries = pd.read_parquet(tmp_path / "e/queries.parquet")
    own_pixels, own_features, own_logits, own_labels = seen["val"]
    near = np.argsort(cdist(own_features, features), axis=1)[:, :6]
    pixel_distances = cdist(own_pixels, pixels)
    near_pixels = np.argsort(pixel_distances, axis=1)[:, :6]
    np.testing.assert_allclose(queries["same_class"], (labels[near] == own_labels[:, None]).mean(1))
    np.testing.assert_allclose(
        queries["same_class_pixels"], (labels[near_pixels] == own_labels[:, None]).mean(1)
    )
    ranks = pixel_distances.argsort(1).argsort(1)
    np.testing.assert_allclose(queries["far_in_pixels"], (np.take_along_axis(ranks, near, 1) >= 1).mean(1))
    np.testing.assert_allclose(queries["chance"], 1 / 6)
    names = pd.read_csv(data / "train.csv")["name"].to_numpy()
    assert [list(row) for row in queries["neighbours"]] == [list(names[row]) for row in near]
    torch.manual_seed(config["seed"])
    for module in net.modules():
        if isinstance(module, Dropout):
            module.train()
    with torch.no_grad():
        views = torch.from_numpy(own_pixels.reshape(24, 3, 32, 32)).contiguous(
            memory_format=torch.channels_last
        )
        thinned = np.stack([log_softmax(net(views).double().numpy(), -1) for _ in range(20)])
    center = log_softmax(thinned.mean(0), -1)
    to_halved = rel_entr(np.exp(center), softmax(own_logits.astype(float), -1)).sum(-1)
    np.testing.assert_allclose(queries["halved"], to_halved, rtol=1e-3, atol=1e-7)
    to_thinned = rel_entr(np.exp(center), np.exp(thinned)).sum(-1).mean(0)
    np.testing.assert_allclose(queries["thinned"], to_thinned, rtol=1e-3)


def test_the_validation_error_of_an_evaluation_is_on_the_same_views(run, tmp_path):
    """The gap compares like with like: as a training split, the validation images give the evaluation's errors."""
    config_path, data, weights = run
    evaluate(config_path, data, weights, tmp_path / "evals", threads=1)
    expected = pd.read_parquet(tmp_path / "evals/ilsvrc2012-val.parquet")["center_loss"]
    config = json.loads(config_path.read_text())
    config["data"]["train_split"] = "val"
    config.pop("fingerprint")
    config["fingerprint"] = experiments.fingerprint(config)
    swapped = tmp_path / "swapped.json"
    swapped.write_text(json.dumps(config))
    saved = torch.load(weights, weights_only=True)
    torch.save({**saved, "config_fingerprint": config["fingerprint"]}, tmp_path / "swapped.pt")
    examine(swapped, data, tmp_path / "swapped.pt", tmp_path / "e", threads=1)
    np.testing.assert_allclose(pd.read_parquet(tmp_path / "e/sample.parquet")["loss"], expected, rtol=1e-5)


def test_kernels_have_their_tower_their_start_and_their_picture(run, tmp_path):
    config_path, data, weights = run
    examine(config_path, data, weights, tmp_path / "e", threads=1, sample=10, queries=5)
    record = json.loads((tmp_path / "e/examination.json").read_text())
    config, saved = json.loads(config_path.read_text()), torch.load(weights, weights_only=True)
    trained = saved["state_dict"]["layers.conv1.weight"]
    kernels = record["kernels"]
    maps = config["model"]["layers"]["conv1"]["maps"]
    assert kernels["tower"] == [0] * (maps // 2) + [1] * (maps // 2)
    np.testing.assert_allclose(kernels["chroma"], chroma_share(trained.double()))
    np.testing.assert_allclose(kernels["initial_chroma"], chroma_share(first_kernels(build(config)).double()))
    assert kernels["initial_chroma"] != kernels["chroma"]
    np.testing.assert_array_equal(np.load(tmp_path / "e/kernels.npy"), trained.permute(0, 2, 3, 1))
    assert record["sample"]["images"] == 10 and record["queries"]["images"] == 5
    others = {path.name: path.read_bytes() for path in (tmp_path / "e").iterdir() if path.suffix != ".json"}
    assert record["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in others.items()}


def test_it_is_the_same_again(run, tmp_path):
    config_path, data, weights = run
    for name in "ab":
        examine(config_path, data, weights, tmp_path / name, threads=1)
    for table in ("sample", "queries"):
        a, b = (pd.read_parquet(tmp_path / name / f"{table}.parquet") for name in "ab")
        pd.testing.assert_frame_equal(a, b)


def test_a_net_without_dropout_has_no_thinned_nets(definitions, packed_set, tmp_path):
    experiments.forget()
    config = tmp_path / "config.json"
    record = experiments.resolve("tiny", "alexnet", 1, str(definitions))
    for layer in ("fc6", "fc7"):
        record["model"]["layers"][layer]["after"] = ["activation"]
    record.pop("fingerprint")
    record["fingerprint"] = experiments.fingerprint(record)
    config.write_text(json.dumps(record))
    train.train(config, packed_set, tmp_path / "run", threads=1)
    found = examine(config, packed_set, tmp_path / "run/model.pt", tmp_path / "e", threads=1)
    assert found["queries"]["halved"] is None and found["queries"]["thinned"] is None
    assert pd.read_parquet(tmp_path / "e/queries.parquet")["halved"].isna().all()
    json.loads((tmp_path / "e/examination.json").read_text())


def test_mistakes_are_sentences_and_leave_nothing(run, definitions, tmp_path, capsys):
    config, data, weights = run
    other = tmp_path / "other.json"
    other.write_text(json.dumps(experiments.resolve("tiny", "no_lrn", 1, str(definitions))))
    average = tmp_path / "average.json"
    average.write_text(json.dumps(experiments.resolve("tiny", "ensemble", 1, str(definitions))))
    for arguments, words in [
        ([other, "--data", data, "--weights", weights], "another configuration"),
        ([config, "--data", data, "--weights", tmp_path / "no.pt"], "does not exist"),
        ([config, "--data", tmp_path / "no", "--weights", weights], "manifest.json"),
        ([average, "--data", data, "--weights", weights], "average of nets"),
    ]:
        assert main(["examine", *map(str, arguments), "--out", str(tmp_path / "e")]) == 2
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1
    assert not (tmp_path / "e").exists()
    with pytest.raises(UserError, match="no split"):
        examine_missing_split(config, data, weights, tmp_path)


def examine_missing_split(config_path, data, weights, tmp_path):
    """The same net on a set whose validation split was not packed."""
    manifest = json.loads((data / "manifest.json").read_text())
    del manifest["splits"]["val"]
    (data / "manifest.json").write_text(json.dumps(manifest))
    seal(data)
    examine(config_path, data, weights, tmp_path / "e", threads=1)
