"""Resolution of recipes, studies and diffs; what a mistake says."""

import json

import pytest
import yaml

from alexnet import experiments
from alexnet.__main__ import main
from alexnet.errors import UserError


@pytest.fixture(autouse=True)
def _fresh():
    experiments.definitions.cache_clear()
    experiments.load_study.cache_clear()


def edit(path, change):
    record = yaml.safe_load(path.read_text())
    change(record)
    path.write_text(yaml.safe_dump(record))
    experiments.definitions.cache_clear()
    experiments.load_study.cache_clear()


def test_merge_replaces_lists_merges_dicts_and_removes_nulls():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    out = experiments.merge(base, {"a": {"c": [9], "e": 4}, "d": None})
    assert out == {"a": {"b": 1, "c": [9], "e": 4}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


@pytest.mark.parametrize("study", ["demo", "imagenette", "ilsvrc2010", "ilsvrc2012"])
def test_every_experiment_of_every_study_resolves(study):
    for name in experiments.load_study(study)["experiments"]:
        config = experiments.resolve(study, name, 1)
        rest = {key: value for key, value in config.items() if key != "fingerprint"}
        assert config["fingerprint"] == experiments.fingerprint(rest)


def test_an_experiment_changes_what_it_is_named_after_and_nothing_else(definitions):
    def changed(name):
        base = experiments.resolve("tiny", "alexnet", 1, str(definitions))
        return set(experiments.differences(base, experiments.resolve("tiny", name, 1, str(definitions))))

    layer = "model.layers."
    assert changed("no_lrn") == {layer + "conv1.after", layer + "conv2.after"}
    assert changed("no_dropout") == {layer + "fc6.after", layer + "fc7.after"}
    assert changed("no_pca_color") == {"augmentation.color_noise"}
    biases = {layer + f"{name}.bias" for name in ("conv2", "conv4", "conv5", "fc6", "fc7")}
    assert changed("tanh") == {"model.activation"} | biases


def test_width_scales_maps_units_and_keeps_towers_even():
    full = experiments.resolve("ilsvrc2010", "alexnet", 1)["model"]["layers"]
    quarter = experiments.resolve("demo", "alexnet", 1)["model"]["layers"]
    for name, record in full.items():
        key = "maps" if "maps" in record else "units"
        if record[key] != "classes":
            assert quarter[name][key] == record[key] / 4
    assert quarter["fc8"]["units"] == "classes"


def test_std_is_scaled_by_the_root_of_the_fan_ins():
    quarter = experiments.resolve("demo", "alexnet", 1)["model"]["layers"]
    # conv2 reads 48 x 25 at full size and 12 x 25 here; fc6 reads 256 x 6 x 6 and 64 x 3 x 3
    assert quarter["conv2"]["weight_std"] == pytest.approx(0.01 * (48 / 12) ** 0.5)
    assert quarter["fc6"]["weight_std"] == pytest.approx(0.01 * (256 * 36 / (64 * 9)) ** 0.5)
    assert quarter["conv1"]["weight_std"] == pytest.approx(0.01 * 11 / 7)  # kernels of 11 and of 7 pixels


def test_prose_does_not_change_a_run_but_its_diff_does(definitions):
    def prints():
        experiments.definitions.cache_clear()
        experiments.load_study.cache_clear()
        return {
            n: experiments.resolve("tiny", n, 1, str(definitions))["fingerprint"]
            for n in ("alexnet", "no_lrn")
        }

    before = prints()
    path = definitions / "experiments.yaml"
    edit(path, lambda r: r["experiments"]["no_lrn"].__setitem__("about", "Another sentence"))
    edit(definitions / "studies/tiny.yaml", lambda r: r.__setitem__("title", "Another title"))
    assert prints() == before
    edit(path, lambda r: r["experiments"]["no_lrn"]["diff"].__setitem__("optimizer", {"momentum": 0.8}))
    after = prints()
    assert after["alexnet"] == before["alexnet"]
    assert after["no_lrn"] != before["no_lrn"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda r: r.__setitem__("epoch", 3), ["tiny.yaml", "unknown key 'epoch'", "did you mean 'epochs'"]),
        (lambda r: r["experiments"].append("no_lnr"), ["unknown experiment 'no_lnr'", "'no_lrn'"]),
        (lambda r: r.__setitem__("recipe", "code2021"), ["unknown recipe", "'code2012'"]),
        (lambda r: r.__setitem__("crop", 64), ["`crop` (64)", "`image_size` (40)"]),
        (lambda r: r.__setitem__("epochs", 0), ["`epochs`", "minimum"]),
        (lambda r: r["train"].__setitem__("split", "test"), ["ilsvrc2012/test"]),
        (lambda r: r["sets"]["ilsvrc2010"].__setitem__("source", "folders"), ["`synthetic`", "`sets`"]),
        (
            lambda r: r["diff"]["model"].__setitem__("activaton", "tanh"),
            ["tiny/alexnet", "unknown key 'activaton'"],
        ),
        (lambda r: r["diff"]["optimizer"].__setitem__("momentum", 1.5), ["optimizer.momentum"]),
    ],
)
def test_a_mistake_in_a_study_is_one_sentence(definitions, capsys, change, words):
    edit(definitions / "studies/tiny.yaml", change)
    code = main(
        [
            "configure",
            "--study",
            "tiny",
            "--experiment",
            "alexnet",
            "--seed",
            "1",
            "--definitions",
            str(definitions),
        ]
    )
    out, err = capsys.readouterr()
    assert code == 2 and out == ""
    assert err.startswith("error: ") and err.count("\n") == 1
    for word in words:
        assert word in err


def test_unknown_names_suggest_the_nearest(capsys):
    assert main(["configure", "--study", "demo", "--experiment", "no_lnr", "--seed", "1"]) == 2
    assert "did you mean 'no_lrn'" in capsys.readouterr().err
    assert main(["configure", "--study", "imagenet", "--experiment", "alexnet", "--seed", "1"]) == 2
    assert "did you mean 'imagenette'" in capsys.readouterr().err
    with pytest.raises(UserError, match="experiments.yaml does not exist"):
        experiments.definitions("nowhere")


def test_configure_prints_what_resolve_returns(capsys):
    assert main(["configure", "--study", "demo", "--experiment", "tanh", "--seed", "4"]) == 0
    assert json.loads(capsys.readouterr().out) == experiments.resolve("demo", "tanh", 4)
