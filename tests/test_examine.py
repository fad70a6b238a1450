"""Examination of finished nets against closed forms, explicit loops and NumPy."""

import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import seal
from PIL import Image
from scipy.spatial.distance import cdist
from scipy.special import log_softmax, rel_entr, softmax
from scipy.stats import rankdata

from alexnet.__main__ import main
from alexnet.errors import UserError
from alexnet.evaluation.evaluate import evaluate
from alexnet.evaluation.examine import examine, first_kernels, fixed_sample
from alexnet.evaluation.probe_dropout import MASKS
from alexnet.evaluation.probe_kernels import chroma_share, selectivity
from alexnet.experiments import resolve
from alexnet.net.layers import Dropout
from alexnet.net.model import build
from alexnet.packed.packed_set import open_split
from alexnet.training import train
from analysis.results import fitting
from analysis.results.integrity import Guard, Unfit


@pytest.fixture
def run(definitions, packed_set, tmp_path):
    resolve.forget()
    config = tmp_path / "config.json"
    config.write_text(json.dumps(resolve.resolve("tiny", "alexnet", 1, str(definitions))))
    train.train(config, packed_set, tmp_path / "run", threads=1)
    return config, packed_set, tmp_path / "run" / "model.pt"


def test_a_sample_is_fixed_sorted_and_whole_where_the_split_is_small():
    chosen = fixed_sample(1000, 100)
    assert len(set(chosen)) == 100 and (np.diff(chosen) > 0).all() and chosen.max() < 1000
    np.testing.assert_array_equal(chosen, fixed_sample(1000, 100))
    np.testing.assert_array_equal(fixed_sample(7, 100), np.arange(7))


def test_an_examination_is_what_explicit_loops_give(run, tmp_path):
    config_path, data, weights = run
    record = examine(config_path, data, weights, tmp_path / "e", threads=1)
    config, saved = json.loads(config_path.read_text()), torch.load(weights, weights_only=True)
    start, net = build(config).eval(), build(config).eval()
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
                start.features(views, "fc7").numpy(),
            )
            seen[name] += (split.labels, np.asarray(split.images)[:, 4:36, 4:36])
    pixels, features, logits, before, labels, images = seen["train"]
    errors = (logits.argmax(1) != labels).astype(float)
    sample = pd.read_parquet(tmp_path / "e/sample.parquet")
    np.testing.assert_array_equal(sample["top1_error"], errors)
    np.testing.assert_allclose(sample["loss"], -log_softmax(logits, 1)[np.arange(48), labels], rtol=1e-4)
    assert record["sample"]["top1_error"] == pytest.approx(errors.mean())
    assert record["sample"]["images"] == 48 and record["queries"]["images"] == 24
    queries = pd.read_parquet(tmp_path / "e/queries.parquet")
    own_pixels, own_features, own_logits, own_before, own_labels, own_images = seen["val"]
    near, near_before = (
        np.argsort(cdist(*sides), axis=1)[:, :6] for sides in ((own_features, features), (own_before, before))
    )
    pixel_distances = cdist(own_pixels, pixels)
    histograms = [
        np.array([np.histogramdd(i.reshape(-1, 3), bins=[np.arange(0, 257, 32)] * 3)[0].ravel() for i in side])
        for side in (own_images, images)
    ]
    near_colours = np.argsort(cdist(*map(np.sqrt, histograms)), axis=1)[:, :6]
    for name, chosen in (
        ("same_class", near),
        ("same_class_pixels", np.argsort(pixel_distances, axis=1)[:, :6]),
        ("same_class_untrained", near_before),
        ("same_class_colours", near_colours),
    ):
        np.testing.assert_allclose(queries[name], (labels[chosen] == own_labels[:, None]).mean(1), rtol=1e-6)
    ranks = (rankdata(pixel_distances, axis=1) - 1) / 47
    own_ranks = np.take_along_axis(ranks, near, 1)
    np.testing.assert_allclose(np.stack(queries["pixel_ranks"]), own_ranks, rtol=1e-6)
    np.testing.assert_allclose(queries["pixel_rank"], own_ranks.mean(1), rtol=1e-6)
    np.testing.assert_allclose(
        queries["untrained_pixel_rank"], np.take_along_axis(ranks, near_before, 1).mean(1), rtol=1e-6
    )
    of_class = [row[labels == label].mean() for row, label in zip(ranks, own_labels, strict=True)]
    np.testing.assert_allclose(queries["class_pixel_rank"], of_class, rtol=1e-6)
    np.testing.assert_allclose(queries["chance"], 1 / 6)
    np.testing.assert_array_equal(np.stack(queries["top5"]), np.argsort(-own_logits, axis=1)[:, :5])
    names = pd.read_csv(data / "train.csv")["name"].to_numpy()
    assert [list(row) for row in queries["neighbours"]] == [list(names[row]) for row in near]
    torch.manual_seed(config["seed"])
    for module in net.modules():
        if isinstance(module, Dropout):
            module.train()
    with torch.no_grad():
        views = torch.from_numpy(own_pixels.reshape(24, 3, 32, 32)).contiguous(memory_format=torch.channels_last)
        thinned = np.stack([log_softmax(net(views).double().numpy(), -1) for _ in range(MASKS)])
    center = softmax(thinned.mean(0), -1)
    to_halved = rel_entr(center, softmax(own_logits.astype(float), -1)).sum(-1)
    np.testing.assert_allclose(queries["geometric_halved_sampled"], to_halved, rtol=1e-3, atol=1e-7)
    np.testing.assert_allclose(queries["thinned"], rel_entr(center, np.exp(thinned)).sum(-1).mean(0), rtol=1e-3)
    np.testing.assert_array_equal(queries["halved_error"], own_logits.argmax(1) != own_labels)
    assert record["queries"]["geometric_error"] == np.mean(center.argmax(1) != own_labels)


def test_pictures_are_rows_of_the_packed_set_with_what_the_net_says_of_them(run, tmp_path):
    config_path, data, weights = run
    record = examine(config_path, data, weights, tmp_path / "e", threads=1)
    queries = pd.read_parquet(tmp_path / "e/queries.parquet").set_index("name")
    held, trained = (open_split(data, name) for name in ("val", "train"))
    entries = record["pictures"]
    assert len(entries) == 16 and sum("neighbours" in entry for entry in entries) == 8
    for entry in entries:
        row = queries.loc[entry["name"]]
        assert held.names[entry["index"]] == entry["name"] and held.labels[entry["index"]] == entry["label"]
        assert entry["top5"] == list(row["top5"]) and entry["probabilities"] == sorted(entry["probabilities"])[::-1]
        for near, name in zip(entry.get("neighbours", []), row["neighbours"], strict=False):
            assert trained.names[near["index"]] == name and trained.labels[near["index"]] == near["label"]
    assert not (tmp_path / "e/thumbnails.jpg").exists()
    manifest = json.loads((data / "manifest.json").read_text())
    (data / "manifest.json").write_text(json.dumps(manifest | {"source": "cifar10"}))
    examine(config_path, data, weights, tmp_path / "e", threads=1)
    sheet = np.asarray(Image.open(tmp_path / "e/thumbnails.jpg")).astype(int)
    order = [(held, e["index"]) for e in entries]
    order += [(trained, near["index"]) for e in entries for near in e.get("neighbours", [])]
    assert sheet.shape == (8 * 40, 8 * 40, 3) and len(order) == 64
    for place, (split, index) in enumerate(order):
        row, column = divmod(place, 8)
        tile = sheet[row * 40 : row * 40 + 40, column * 40 : column * 40 + 40]
        away = [np.abs(tile - image).mean() for image in np.asarray(split.images).astype(int)]
        assert int(np.argmin(away)) == index
    assert sum(path.stat().st_size for path in (tmp_path / "e").iterdir()) < 400_000


def test_the_analysis_takes_it_for_what_it_is_and_its_thumbnails_for_others_once_changed(run, tmp_path):
    where = tmp_path / "tiny/examined/alexnet/1"
    manifest = run[1] / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"source": "cifar10"}))
    examine(*run, where, threads=1)
    guard = Guard(tmp_path, {})
    record = guard.record(where / "examination.json", "examination")
    fitting.examination(guard, where / "examination.json", record)
    sheet = where / "thumbnails.jpg"
    assert record["files"]["thumbnails.jpg"] == hashlib.sha256(sheet.read_bytes()).hexdigest()
    near = [one for entry in record["pictures"] for one in entry.get("neighbours", [])]
    assert len(guard.tiles(sheet, len(record["pictures"]) + len(near), record)) == 16 + 8 * 6
    sheet.write_bytes(sheet.read_bytes()[:-200])
    with pytest.raises(Unfit, match=r"thumbnails.jpg is not the file of which its record has the hash"):
        fitting.examination(guard, where / "examination.json", record)
    with pytest.raises(Unfit, match=r"thumbnails.jpg is no picture that can be read"):
        fitting.examination(guard, where / "examination.json", record | {"files": {}})
    Image.new("RGB", (512, 64)).save(sheet)
    with pytest.raises(Unfit, match=r"thumbnails.jpg is no sheet of the 64 images of its record"):
        fitting.examination(guard, where / "examination.json", record | {"files": {}})


def test_the_validation_error_of_an_evaluation_is_on_the_same_views(run, tmp_path):
    """The gap compares like with like: as a training split, the validation images give the evaluation's errors."""
    config_path, data, weights = run
    evaluate(config_path, data, weights, tmp_path / "evals", threads=1)
    expected = pd.read_parquet(tmp_path / "evals/ilsvrc2012-val.parquet")["center_loss"]
    config = json.loads(config_path.read_text())
    config["data"]["train_split"] = "val"
    config.pop("fingerprint")
    config["fingerprint"] = resolve.fingerprint(config)
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
    np.testing.assert_allclose(kernels["chroma"], chroma_share(trained.numpy().astype(float)), atol=1e-6)
    assert record["untrained_kernels"] == selectivity(first_kernels(build(config)).astype(float))
    assert record["untrained_kernels"]["chroma"] != kernels["chroma"]
    assert all(len(values) == maps for values in kernels.values())
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
    resolve.forget()
    config = tmp_path / "config.json"
    record = resolve.resolve("tiny", "alexnet", 1, str(definitions))
    for layer in ("fc6", "fc7"):
        record["model"]["layers"][layer]["after"] = ["activation"]
    record.pop("fingerprint")
    record["fingerprint"] = resolve.fingerprint(record)
    config.write_text(json.dumps(record))
    train.train(config, packed_set, tmp_path / "run", threads=1)
    found = examine(config, packed_set, tmp_path / "run/model.pt", tmp_path / "e", threads=1)
    assert "thinned" not in found["queries"]
    assert "thinned" not in pd.read_parquet(tmp_path / "e/queries.parquet")
    json.loads((tmp_path / "e/examination.json").read_text())


def test_mistakes_are_sentences_and_leave_nothing(run, definitions, tmp_path, capsys):
    config, data, weights = run
    other = tmp_path / "other.json"
    other.write_text(json.dumps(resolve.resolve("tiny", "no_lrn", 1, str(definitions))))
    average = tmp_path / "average.json"
    average.write_text(json.dumps(resolve.resolve("tiny", "ensemble", 1, str(definitions))))
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
