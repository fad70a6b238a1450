"""Resolution of recipes, studies and diffs; what a mistake says."""

import json

import pytest
import yaml
from conftest import TINY_STUDY

from alexnet.__main__ import main
from alexnet.errors import UserError
from alexnet.experiments import config, describe, resolve, tuning
from alexnet.experiments import definitions as config_files
from alexnet.experiments.architecture import in_order


@pytest.fixture(autouse=True)
def _fresh():
    resolve.forget()


def edit(path, change):
    record = yaml.safe_load(path.read_text())
    change(record)
    path.write_text(yaml.safe_dump(record))
    resolve.forget()


def refused(definitions, capsys):
    """What `configure` prints when it refuses the study `tiny` of these definitions."""
    arguments = ["--study", "tiny", "--experiment", "alexnet", "--seed", "1", "--definitions", str(definitions)]
    assert main(["configure", *arguments]) == 2
    return capsys.readouterr()


def test_merge_replaces_lists_merges_dicts_and_removes_nulls():
    base = {"a": {"b": 1, "c": [1, 2]}, "d": 3}
    out = resolve.merge(base, {"a": {"c": [9], "e": 4}, "d": None})
    assert out == {"a": {"b": 1, "c": [9], "e": 4}}
    assert base == {"a": {"b": 1, "c": [1, 2]}, "d": 3}


@pytest.mark.parametrize("study", ["demo", "imagenette", "ilsvrc2010", "ilsvrc2012"])
def test_every_experiment_of_every_study_resolves(study):
    for name in config_files.load_study(study)["experiments"]:
        config = resolve.resolve(study, name, 1)
        rest = {key: value for key, value in config.items() if key != "fingerprint"}
        assert config["fingerprint"] == resolve.fingerprint(rest)


def test_an_experiment_changes_what_it_is_named_after_and_nothing_else(definitions):
    def changed(name):
        base = resolve.resolve("tiny", "alexnet", 1, str(definitions))
        return set(describe.differences(base, resolve.resolve("tiny", name, 1, str(definitions))))

    layer = "model.layers."
    assert changed("no_lrn") == {layer + "conv1.after", layer + "conv2.after"}
    assert changed("no_dropout") == {layer + "fc6.after", layer + "fc7.after"}
    assert changed("no_pca_color") == {"augmentation.color_noise"}
    biases = {layer + f"{name}.bias" for name in ("conv2", "conv4", "conv5", "fc6", "fc7")}
    assert changed("tanh") == {"model.activation"} | biases


def test_width_scales_maps_units_and_keeps_towers_even():
    full = resolve.resolve("ilsvrc2010", "alexnet", 1)["model"]["layers"]
    shrunken = resolve.resolve("demo", "alexnet", 1)["model"]["layers"]
    for name, record in full.items():
        key = "maps" if "maps" in record else "units"
        if record[key] != "classes":
            assert shrunken[name][key] == record[key] / 8
    assert shrunken["fc8"]["units"] == "classes"


def test_std_is_scaled_by_the_root_of_the_fan_ins():
    shrunken = resolve.resolve("demo", "alexnet", 1)["model"]["layers"]
    # conv2 reads 48 x 25 at full size and 6 x 25 here; fc6 reads 256 x 6 x 6 and 32 x 3 x 3
    assert shrunken["conv2"]["weight_std"] == pytest.approx(0.01 * (48 / 6) ** 0.5)
    assert shrunken["fc6"]["weight_std"] == pytest.approx(0.01 * (256 * 36 / (32 * 9)) ** 0.5)
    assert shrunken["conv1"]["weight_std"] == pytest.approx(0.01 * 11 / 7)  # kernels of 11 and of 7 pixels


def test_prose_does_not_change_a_run_but_its_diff_does(definitions):
    def prints():
        resolve.forget()
        return {n: resolve.resolve("tiny", n, 1, str(definitions))["fingerprint"] for n in ("alexnet", "no_lrn")}

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
        (
            lambda r: r.__setitem__("stand_ins", {"tanh": "no_lnr"}),
            ["`stand_ins`: this study does not train 'no_lnr'", "'no_lrn'"],
        ),
        (lambda r: r.__setitem__("stand_ins", {"tahn": "no_lrn"}), ["unknown experiment 'tahn'", "'tanh'"]),
        (lambda r: r.__setitem__("crop", 64), ["`crop` (64)", "`image_size` (40)"]),
        (lambda r: r.__setitem__("epochs", 0), ["`epochs`", "minimum"]),
        (lambda r: r["train"].__setitem__("split", "test"), ["ilsvrc2012/test"]),
        (lambda r: r["sets"]["ilsvrc2010"].__setitem__("source", "folders"), ["`synthetic`", "`sets`"]),
        (lambda r: r["diff"]["model"].__setitem__("activaton", "tanh"), ["tiny/alexnet", "unknown key 'activaton'"]),
        (lambda r: r["diff"]["optimizer"].__setitem__("momentum", 1.5), ["optimizer.momentum"]),
    ],
)
def test_a_mistake_in_a_study_is_one_sentence(definitions, capsys, change, words):
    edit(definitions / "studies/tiny.yaml", change)
    out, err = refused(definitions, capsys)
    assert out == ""
    assert err.startswith("error: ") and err.count("\n") == 1
    for word in words:
        assert word in err


def test_unknown_names_suggest_the_nearest(capsys):
    assert main(["configure", "--study", "demo", "--experiment", "no_lnr", "--seed", "1"]) == 2
    assert "did you mean 'no_lrn'" in capsys.readouterr().err
    assert main(["configure", "--study", "imagenet", "--experiment", "alexnet", "--seed", "1"]) == 2
    assert "did you mean 'imagenette'" in capsys.readouterr().err
    with pytest.raises(UserError, match="experiments.yaml does not exist"):
        config_files.load("nowhere")


def test_configure_prints_what_resolve_returns(capsys):
    assert main(["configure", "--study", "demo", "--experiment", "tanh", "--seed", "4"]) == 0
    assert json.loads(capsys.readouterr().out) == resolve.resolve("demo", "tanh", 4)


def test_all_departures_together_turn_the_program_into_the_text():
    known = config_files.load()
    code, paper = known["recipes"]["code2012"], known["recipes"]["paper"]
    wanted = describe.differences(code, paper)
    outside = {"text_whole_windows", "one_gpu_as_run"}  # the text has 55 rows too; no recipe is the one-GPU net
    rows = [row for row in describe.departures()["departures"] if row["name"] not in outside]
    touched = [key for row in rows for key in row["changes"]]
    assert sorted(touched) == sorted(set(touched))  # no two departures change the same value
    rebuilt = code
    for row in rows:
        rebuilt = resolve.merge(rebuilt, known["experiments"][row["name"]]["diff"])
    assert rebuilt == paper
    assert set(wanted) == set(touched)


def test_every_departure_is_one_point_and_says_what_text_and_program_do():
    rows = describe.departures()["departures"]
    assert len(rows) == 16
    assert rows[-1]["changes"] == {"model.layers.conv4.bias": [0.0, 1.0]}  # in the program, by the text
    for row in rows:
        assert row["changes"], row["name"]
        assert row["topic"] and row["text"] and row["code"]
        assert row["base"] == ("text" if row["name"] == "one_gpu_as_run" else "code")
        blocks = {key.split(".")[0] for key in row["changes"]}
        assert len(blocks) == 1, row["name"]  # model, augmentation or optimizer


def test_every_value_of_a_recipe_names_its_source():
    """Each leaf stands on a line with a comment, or on a line of a block whose first line has one."""
    lines = (config_files.SCHEMAS.parents[1] / "config/experiments.yaml").read_text().splitlines()
    start, end = lines.index("recipes:"), lines.index("experiments:")
    silent = [
        line.strip()
        for line in lines[start + 1 : end]
        if line.strip() and not line.strip().startswith("#") and "#" not in line
    ]
    under_a_source = (
        "conv",
        "local",
        "fc",
        "- {until",
        "rule:",
        "model:",
        "augmentation:",
        "optimizer:",
        "factor:",
        "drops:",
    )
    allowed = [s for s in silent if s.startswith(under_a_source) or s == "scale_std_by_fan_in: false"]
    assert silent == allowed


def test_recipes_of_one_study_keep_their_own_schedules():
    rules = {
        name: resolve.resolve("demo", name, 1)["optimizer"]["schedule"]
        for name in ("alexnet", "paper", "onetower2014", "text_plateau")
    }
    assert {name: rule["rule"] for name, rule in rules.items()} == {
        "alexnet": "stages",
        "paper": "plateau",
        "onetower2014": "stepwise_exponential",
        "text_plateau": "plateau",
    }
    assert "stages" not in rules["text_plateau"]


def test_an_experiment_can_extend_another_and_start_from_its_weights():
    pretrained = resolve.resolve("demo", "conv6_pretrained", 3)
    before = resolve.resolve("demo", "conv6_pretraining", 3)
    assert list(pretrained["model"]["layers"])[5:7] == ["conv6", "fc6"]
    assert pretrained["model"] == before["model"] == resolve.resolve("demo", "conv6", 3)["model"]
    assert (before["data"]["set"], pretrained["data"]["set"]) == ("ilsvrc2010", "ilsvrc2012")
    assert pretrained["starts_from"]["fingerprint"] == before["fingerprint"]
    other = resolve.resolve("demo", "conv6_pretraining", 2)
    assert pretrained["starts_from"]["fingerprint"] != other["fingerprint"]


def test_an_ensemble_is_made_of_all_seeds_of_its_members():
    record = resolve.resolve("demo", "ensemble_with_pretrained", 2)
    names = [(member["experiment"], member["seed"]) for member in record["members"]]
    assert names == [(name, seed) for name in ("alexnet", "conv6_pretrained") for seed in (2, 3, 4, 5, 6)]
    for member in record["members"]:
        run = resolve.resolve("demo", member["experiment"], member["seed"])
        assert member["fingerprint"] == run["fingerprint"]
    assert resolve.seeds_of("demo", "ensemble") == [2]
    assert len(resolve.resolve("ilsvrc2012", "ensemble", 1)["members"]) == 5  # as in Table 2


def test_seeds_of_an_experiment_come_before_those_of_its_kind_and_those_before_all_others(definitions):
    seeds = {
        "seeds": [7],
        "seeds_by_kind": {"ablation": [8, 9]},
        "seeds_by_experiment": {"tanh": [4, 5, 6]},
        "experiments": ["alexnet", "no_lrn", "tanh"],
    }
    edit(definitions / "studies" / "tiny.yaml", lambda record: record.update(seeds))
    asked = {name: resolve.seeds_of("tiny", name, str(definitions)) for name in seeds["experiments"]}
    assert asked == {"alexnet": [7], "no_lrn": [8, 9], "tanh": [4, 5, 6]}
    known = describe.study_record("tiny", str(definitions))["fingerprints"]
    assert {name: list(runs) for name, runs in known.items()} == {
        "alexnet": ["7"],
        "no_lrn": ["8", "9"],
        "tanh": ["4", "5", "6"],
    }


def test_layers_come_in_the_order_of_computation_whatever_the_file_says():
    layers = {"fc6": 1, "conv10": 2, "conv2": 3, "fc10": 4, "conv1": 5}
    assert list(in_order(layers)) == ["conv1", "conv2", "conv10", "fc6", "fc10"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda r: r["experiments"]["tanh"].__setitem__("baseline", "alexnett"),
            ["tanh", "unknown experiment 'alexnett'", "'alexnet'"],
        ),
        (
            lambda r: r["experiments"]["tanh"].__setitem__("recipe", "papers"),
            ["tanh", "unknown recipe 'papers'", "'paper'"],
        ),
        (
            lambda r: r["experiments"]["conv6"].__setitem__("extends", "conv6_pretrained"),
            ["conv6", "`extends` leads in a circle"],
        ),
        (
            lambda r: r["experiments"]["no_conv3"].__setitem__("baseline", "no_conv3_separate_towers"),
            ["`baseline` leads in a circle"],
        ),
        (lambda r: r["experiments"]["ensemble"].__setitem__("members", ["alex"]), ["ensemble", "'alex'"]),
        (lambda r: r["experiments"]["text_reshuffle"].pop("departure"), ["experiments.text_reshuffle", "departure"]),
        (lambda r: r["experiments"]["tanh"].__setitem__("kind", "ablaton"), ["experiments.tanh.kind"]),
        (lambda r: r["recipes"]["paper"]["optimizer"]["schedule"].__setitem__("patience", 0), ["patience"]),
        (lambda r: r["recipes"]["paper"]["optimizer"]["schedule"].__setitem__("stages", []), ["stages"]),
    ],
)
def test_a_mistake_in_experiments_is_one_sentence(definitions, capsys, change, words):
    edit(definitions / "experiments.yaml", change)
    out, err = refused(definitions, capsys)
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1
    assert "experiments.yaml" in err
    for word in words:
        assert word in err


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["alexnet", "conv6_pretraining"], "needs `pretraining`"),
        (["alexnet", "no_conv3_separate_towers"], "needs no_conv3"),
        (["ensemble"], "needs alexnet"),
    ],
)
def test_a_study_must_have_what_its_experiments_need(definitions, names, words):
    edit(definitions / "studies/tiny.yaml", lambda r: r.update(experiments=names) or r.pop("pretraining"))
    with pytest.raises(UserError, match=words):
        config_files.load_study("tiny", str(definitions))


def test_an_ensemble_has_no_layers_to_describe(capsys):
    assert main(["describe", "--study", "demo", "--experiment", "ensemble"]) == 2
    assert "average of nets" in capsys.readouterr().err


def test_the_typed_configuration_has_the_keys_of_the_schema() -> None:
    """mypy reads the types and the schema checks the files; they name the same keys, optional ones included."""
    schema = config_files._schema("experiments")["$defs"]["record"]["properties"]
    layers = list(schema["model"]["properties"]["layers"]["patternProperties"].values())
    pairs = [
        (config.Model, [schema["model"]]),
        (config.LayerRecord, layers),
        (config.Augmentation, [schema["augmentation"]]),
        (config.Optimizer, [schema["optimizer"]]),
        (config.StopAt, [schema["optimizer"]["properties"]["stop_at"]]),
    ]
    for typed, parts in pairs:
        assert set(typed.__annotations__) == {key for part in parts for key in part["properties"]}, typed
        assert typed.__required_keys__ == set.intersection(*(set(part["required"]) for part in parts)), typed
    for name in ("alexnet", "bf16", "fig1_tanh_modern_lr008"):
        found = resolve.resolve("cifar10" if "fig1" in name else "demo", name, 1)
        assert config.RunConfig.__required_keys__ <= set(found) <= set(config.RunConfig.__annotations__)
        assert set(found["data"]) == set(config.Data.__annotations__)
        assert set(found["training"]) == set(config.Training.__annotations__)


def test_what_is_asked_for_and_on_request_is_a_sentence(definitions):
    twice = TINY_STUDY | {"on_request": ["tanh"]}
    (definitions / "studies/twice.yaml").write_text(yaml.safe_dump(twice))
    with pytest.raises(UserError, match="tanh stands under `experiments` and under `on_request`"):
        config_files.load_study("twice", str(definitions))


def test_what_is_on_request_belongs_to_the_study_at_the_rate_of_the_base():
    """Of the demo: no pilot chooses a rate for it, and the base's, which rates.csv holds, is that of both."""
    record, known = config_files.load_study("demo"), config_files.load()["experiments"]
    assert "no_conv3" in record["experiments"] and "no_conv3" not in tuning.arms(record, known)
    chosen = float(tuning.chosen("demo", "alexnet", "config")["factor"])
    assert resolve.resolve("demo", "no_conv3", 2)["rate"] == {"factor": chosen}
