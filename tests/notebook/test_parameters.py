"""Notebook parameters: profiles hold differences only, and what is unknown or mistyped is an error that names it."""

import pytest

from aullm_lib import baselines, model
from aullm_lib.notebook import batch, parameters
from aullm_lib.notebook.parameters import ParameterError, check, licensed
from aullm_lib.report import claims


@pytest.fixture
def profiles(tmp_path, monkeypatch):
    """A copy of the notebooks' folder in which profiles may be written."""
    for name in parameters.names():
        (tmp_path / f"{name}.ipynb").write_bytes((parameters.SOURCE / f"{name}.ipynb").read_bytes())
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "smoke.yaml").write_bytes((parameters.SOURCE / "profiles" / "smoke.yaml").read_bytes())
    monkeypatch.setattr(parameters, "SOURCE", tmp_path)
    return lambda text: (tmp_path / "profiles" / "mine.yaml").write_text(text)


ODD = [
    "/data/O'Brien/CASME2",
    "/a b/#1",
    '/say "x"/c',
    "/50%/: y",
    "[x",
    "{a: b}",
    "no",
    "1.5",
    "~",
    "/é/中",
    "",
    "a=b",
    "'/x",
]


@pytest.mark.parametrize("text", ODD)
def test_a_text_is_taken_as_it_stands(text):
    assert parameters.parse("casme2_root", text, "-p") == text


def test_a_text_in_quotation_marks_and_what_is_no_text_are_yaml():
    assert parameters.parse("llm", r'"/a\tb"', "-p") == "/a\tb" and parameters.parse("llm", "'it''s'", "-p") == "it's"
    assert parameters.parse("seeds", "[1, 2]", "-p") == [1, 2] and parameters.parse("trace", "yes", "-p") is True
    with pytest.raises(ParameterError, match="-p seeds: not readable as YAML"):
        parameters.parse("seeds", "[1", "-p seeds")


def test_relative_folders_count_from_where_the_command_is_called(tmp_path, monkeypatch, home):
    (tmp_path / "data").mkdir()
    given = {"casme2_root": "data", "mmew_root": "data", "casme_root": "gone", "llm": "tiny", "recipe": "data"}
    for folder, expected in ((tmp_path, str(tmp_path / "data")), (home, "data")):
        monkeypatch.chdir(folder)
        placed = parameters.from_here(given | {"more_llms": ["data", "Qwen/Qwen2-1.5B"]})
        assert placed["casme2_root"] == placed["mmew_root"] == placed["more_llms"][0] == expected
        assert (placed["casme_root"], placed["llm"], placed["recipe"]) == ("gone", "tiny", "data")
        assert placed["more_llms"][1] == "Qwen/Qwen2-1.5B"


@pytest.mark.parametrize("name", ["demo", "demo-llm", "demo-full", "paper"])
def test_shipped_profiles_are_sound_and_hold_only_differences(name):
    import yaml

    plan = parameters.profile(name)
    assert list(plan) == parameters.names()
    content = yaml.safe_load((parameters.SOURCE / "profiles" / f"{name}.yaml").read_text()) or {}
    shared = content.pop("all", {}) or {}
    for book, settings in plan.items():
        assert settings["profile"] == name
        schema = parameters.defaults(book)
        for key, value in (content.get(book) or {}).items():
            assert value != shared.get(key, schema[key]), f"{name}.yaml: {book}.{key} repeats the default"
    for key, value in shared.items():
        assert any(value != parameters.defaults(book).get(key, value) for book in plan), f"{name}.yaml: {key}"


@pytest.mark.parametrize("name", ["demo", "demo-full", "paper"])
def test_shipped_profiles_name_variants_that_there_are(name):
    plan = parameters.profile(name)
    lists = [plan["04_ablations"]["ablations"], *plan["04_ablations"]["more_ablations"].values()]
    for variants in [*lists, plan["05_cross_domain"]["cross_variants"]]:
        assert set(variants) <= set(model.VARIANTS)


def test_profiles_say_which_pretrained_weights_their_baselines_will_lack():
    def methods(profile, **changed):
        notebooks = {name: values | changed for name, values in parameters.profile(profile).items()}
        return [line.split()[0] for line in parameters.missing_weights(notebooks)[1:-1]]

    networks = ["resnet18", "resnet34", "fitnet", "sp", "at", "sca", "dvasp", "infusenet", "ac4au"]
    assert sorted(methods("paper")) == sorted(networks)
    assert methods("demo") == []
    assert methods("demo-full") == ["sca", "infusenet", "ac4au"]  # the others start as a synthetic teacher's view
    assert methods("demo-full", data="licensed") == networks
    assert methods("demo-full", data="licensed", teacher="folder") == ["sca", "infusenet", "ac4au"]


def test_a_language_model_that_decides_no_claim_is_said_so_before_anything_runs():
    notebooks = {name: values | {"llm": "/data/qwen25"} for name, values in parameters.profile("paper").items()}
    (line,) = parameters.undecided(notebooks)  # the others go by the paper's names
    assert line.startswith("/data/qwen25 is none of the paper's language models") and "qwen2.5-1.5b" in line
    assert not any(parameters.undecided(parameters.profile(name)) for name in ("paper", "demo"))


def test_parameters_of_the_same_name_have_the_same_default():
    """01 builds what 02 reads, so alone each must mean the same release."""
    seen = {}
    for name in parameters.names():
        for key, value in parameters.defaults(name).items():
            assert seen.setdefault(key, value) == value, (name, key)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("all: {subject: 3}", "mine.yaml: no notebook has the parameter 'subject'"),
        ("03_train: {epochs: 3}", "mine.yaml: no notebook '03_train'"),
        ("02_train_loso: {epochs: 3}", "02_train_loso has no parameter 'epochs'; it has profile, data"),
        ("all: {subjects: '3'}", "subjects='3': must be int, not str"),
        ("all: {subjects: true}", "subjects=True: must be int, not bool"),
        ("[1, 2]", "mine.yaml: expected 'all:'"),
        ("all: {", "mine.yaml: not readable as YAML"),
        ("all: {intensity: 1e-4}", "write 1.0e-4"),
        ("all: {releases: casme2}", "releases='casme2': must be list, not str"),
        ("all: {releases: [1]}", r"releases\[0\]=1: must be str, not int"),
    ],
)
def test_a_bad_profile_names_file_key_and_what_is_expected(profiles, text, message):
    profiles(text)
    with pytest.raises(ParameterError, match=message):
        parameters.profile("mine")


def test_a_cell_has_the_few_parameters_that_people_change_and_smoke_the_others():
    for name in parameters.names():
        own, every = parameters.cell(name), parameters.defaults(name)
        assert next(iter(own)) == "profile" and len(own) <= 6, name
        assert list(every)[: len(own)] == list(own) and parameters.checked(name, {}) == every
    assert "seeds" not in parameters.cell("02_train_loso") and batch.plan("smoke", {"seeds": [3]})


def test_a_line_in_the_cell_sets_a_parameter_that_it_does_not_have(home):
    namespace = parameters.cell("02_train_loso") | {"seeds": [1, 2]}  # as in JupyterLab
    _, settings = parameters.start("02_train_loso", namespace)
    assert settings["seeds"] == [1, 2] and settings["subjects"] == parameters.defaults("02_train_loso")["subjects"]
    with pytest.raises(ParameterError, match="seeds=2: must be list, not int"):
        parameters.start("02_train_loso", namespace | {"seeds": 2})


def test_unknown_profiles_and_notebooks_list_the_known_ones(profiles):
    profiles("")
    with pytest.raises(ParameterError, match=r"unknown profile 'smok'; .* holds mine, smoke"):
        parameters.profile("smok")
    with pytest.raises(ParameterError, match="no notebook '99'; there are 00_quickstart"):
        parameters.defaults("99")


def test_whole_numbers_do_for_floats_and_overrides_win(profiles):
    profiles("all: {intensity: 2, subjects: 5}\n02_train_loso: {subjects: 6}")
    plan = parameters.profile("mine")
    assert plan["01_preprocess"]["intensity"] == 2.0
    assert isinstance(plan["01_preprocess"]["intensity"], float)
    assert plan["01_preprocess"]["subjects"] == 5
    assert plan["02_train_loso"]["subjects"] == 6


def test_start_checks_what_papermill_injected(home):
    namespace = dict(parameters.defaults("02_train_loso"))
    work, settings = parameters.start("02_train_loso", namespace)
    assert work.profile == "smoke"
    assert settings == namespace
    with pytest.raises(ParameterError, match="has no parameter 'epoch'"):
        parameters.start("02_train_loso", namespace | {"In": ["", "# Parameters\nepoch = 3\nseeds = [2]"]})
    with pytest.raises(ParameterError, match="seeds=1: must be list, not int"):
        parameters.start("02_train_loso", namespace | {"seeds": 1})
    with pytest.raises(ValueError, match=r"profile is '\.\./x'"):
        parameters.start("02_train_loso", namespace | {"profile": "../x"})
    with pytest.raises(ValueError, match="data is 'real'; choose one of synthetic, licensed"):
        parameters.start("02_train_loso", namespace | {"data": "real"})


def test_licensed_data_need_their_roots(tmp_path):
    settings = {"data": "licensed", "releases": ["casme2", "samm"], "casme2_root": str(tmp_path), "samm_root": ""}
    settings |= {"options": {}, "align": "", "casme2_variant": 0}
    with pytest.raises(ValueError, match=r"samm_root is not set; give the folder .* SAMM_ROOT=/path/to/it"):
        check(settings)
    with pytest.raises(ValueError, match=r"casme2_root: .* is no folder"):
        check(settings | {"casme2_root": str(tmp_path / "x")})
    one = settings | {"releases": ["casme2"]}
    check(one)
    check(settings | {"data": "synthetic"})
    for change, message in [
        ({"releases": ["mmew"]}, "unknown 'mmew'; choose from casme2, samm"),
        ({"releases": ["mmew"], "mmew_root": ""}, r"mmew_root is not set; .*MMEW_ROOT=/path/to/it"),
        ({"one_out": ["mmew"]}, "one_out: unknown 'mmew'; choose from casme2, samm"),
        ({"options": {"casme2": {"errate": False}}}, "casme2 has no option 'errate'; it has variant, images, errata"),
        ({"options": {"smic": {}}}, "unknown 'smic'"),
        ({"more_ablations": {"casme": []}}, "more_ablations: unknown 'casme'; choose from casme2, samm"),
        ({"align": "face"}, "align is 'face'; choose one of none, whole-frame, crop, similarity, or ''"),
    ]:
        with pytest.raises(ValueError, match=message):
            check(one | change)
    check(one | {"releases": ["mmew"], "mmew_root": str(tmp_path)})


def test_options_reach_the_adapter(tmp_path):
    settings = {"options": {"casme2": {"images": "raw"}, "samm": {"count_ref": False}}, "casme2_variant": 255}
    settings |= {"casme2_root": str(tmp_path), "samm_root": str(tmp_path), "mmew_root": str(tmp_path)}
    assert licensed(settings | {"releases": ["casme2", "samm", "mmew"]}) == {
        "casme2": {"root": str(tmp_path), "images": "raw", "variant": 255},
        "samm": {"root": str(tmp_path), "count_ref": False},
        "mmew": {"root": str(tmp_path)},
    }


@pytest.mark.parametrize("parameter", ["baselines", "cross_baselines", "baseline_overrides"])
def test_unknown_baselines_are_named_before_anything_runs(parameter):
    names = ["sca", "svm"]
    check({parameter: {"sca": {}} if parameter == "baseline_overrides" else ["sca"]})
    with pytest.raises(ValueError, match=f"{parameter}: unknown 'svm'; choose from lbp-top, resnet18"):
        check({parameter: {key: {} for key in names} if parameter == "baseline_overrides" else names})


WRONG = [
    ({"recipe": "none"}, "recipe='none': allowed are paper, released, tuned"),
    ({"overrides": {"epoch": 3}}, "no field 'epoch'"),
    ({"overrides": {"epochs": 0}}, "Recipe.epochs=0: must be >= 1"),
    ({"overrides": {"lr": "fast"}}, "Recipe.lr='fast'"),
    ({"size": 8}, "Recipe.size=8"),
    ({"curve_overrides": {"epoch": 1}}, "curve_overrides: Recipe: no field 'epoch'"),
    ({"variants": ["al"]}, "variant='al': allowed are all, high"),
    ({"ablations": ["all", "no-lm"]}, "variant='no-lm'"),
    ({"cross_variants": ["no-lm"]}, "variant='no-lm'"),
    ({"more_ablations": {"casme2": ["no-lm"]}}, "variant='no-lm'"),
    ({"more_ablations": {"casme2": "no-llm"}}, "more_ablations.casme2='no-llm': must be list"),
    ({"baseline_overrides": {"sca": {"epoch": 1}}}, "baseline_overrides of sca: Recipe: no field 'epoch'"),
    ({"baseline_overrides": {"sca": 1}}, "baseline_overrides.sca=1: must be dict"),
    ({"baseline_overrides": {"resnet18": {"weights": "./none"}}}, "weights='./none': no such folder"),
    ({"teacher_overrides": {"epoch": 1}}, "teacher_overrides: .*'epoch'"),
    ({"teacher": "none"}, "teacher='none': no such folder"),
    ({"llm": "./none"}, "llm='./none': no such folder"),
    ({"more_llms": ["/none/x"]}, "llm='/none/x': no such folder"),
    ({"explained_aus": [4, 3]}, "explained_aus: AU3 is none that is scored"),
    ({"explained_clips": -1}, "explained_clips is -1; expected 0 or more"),
    ({"side_by_side": -1}, "side_by_side is -1"),
    ({"seeds": []}, "seeds is empty"),
    ({"seeds": [1, -1]}, "Experiment.seed=-1"),
    ({"curve_seeds": []}, "curve_seeds is empty"),
    ({"policies": ["best"]}, "policies: unknown 'best'; choose from fixed, nested, test-tuned"),
    ({"backend": "slurm"}, "backend: unknown 'slurm'; choose from local, ray"),
    ({"resources": {"num_gpus": "half"}}, "resources.num_gpus='half': must be float"),
    ({"explorer_releases": ["mmew"]}, "explorer_releases: unknown 'mmew'"),
    ({"casme2_variant": 250}, "casme2_variant: unknown 250; choose from 0, 246"),
    ({"publishable": {"samm": [6]}}, r"publishable.samm\[0\]=6: must be str"),
    ({"one_out": ["smic"]}, "one_out: unknown 'smic'; choose from casme2, samm, casme, casme3, 4dme, mmew"),
    ({"one_out_methods": ["svm"]}, "one_out_methods: unknown 'svm'; choose from au-llm, lbp-top"),
    ({"more_data_methods": ["svm"]}, "more_data_methods: unknown 'svm'"),
    ({"more_data": "smic"}, "more_data: unknown 'smic'"),
    ({"count_missing": "no"}, "count_missing: unknown 'no'; choose from unknown, absent"),
    ({"options": {"casme2": "raw"}}, "options.casme2='raw': must be dict"),
    ({"subjects": 1}, "subjects is 1; to leave one out takes 2 or more"),
    ({"subjects": 99}, "subjects=99: must be a whole number from 1 to 26"),
    ({"curve_subjects": 1}, "curve_subjects is 1"),
    ({"clips_per_subject": 0}, "clips_per_subject=0"),
    ({"intensity": 4.0}, "intensity=4.0: must be a number from 0 to 3"),
    ({"curve_intensities": [0.0, 9.0]}, "curve_intensity=9.0"),
    ({"macro_intensity": -1.0}, "macro_intensity=-1.0"),
    ({"data_seed": -1}, "seed=-1"),
    ({"models": "../demo"}, "models: profile is '../demo'"),
]


@pytest.mark.parametrize(("change", "message"), WRONG)
def test_a_wrong_value_is_found_before_any_notebook_starts(change, message):
    with pytest.raises((ParameterError, FileNotFoundError), match=message):
        batch.plan("smoke", change)


def test_every_parameter_is_one_whose_values_are_looked_at():
    """A new parameter of text, list or table takes a check, or is named here with the reason why any value is right."""
    free = {"profile", *parameters.ROOTS.values()}  # which are looked at where they are used
    looked = {key for change, _ in WRONG for key in change} | {"releases", "data", "align", "claims", "baselines"}
    looked |= {"cross_baselines"}  # tests of their own
    for name in parameters.names():
        given = {key for key, value in parameters.defaults(name).items() if isinstance(value, str | list | dict)}
        assert given <= free | looked, name


LAST = ["07_paper", "08_audit"]


@pytest.mark.parametrize(
    ("keys", "notebooks"),
    [
        (["C1"], ["02_train_loso", "03_baselines", "04_ablations", *LAST]),
        (["C6"], ["02_train_loso", "04_ablations", *LAST]),
        (["C7"], ["05_cross_domain", *LAST]),
        (["C8"], ["06_visualize", *LAST]),
        (["C11"], LAST),
        (["C9", "C7"], ["02_train_loso", "04_ablations", "05_cross_domain", "06_visualize", *LAST]),
    ],
)
def test_only_the_notebooks_that_the_claims_need_are_run(keys, notebooks):
    assert list(batch.plan("demo", {"claims": keys})) == notebooks


def test_what_claims_need_takes_the_place_of_the_lists(home):
    plan = batch.plan("demo", {"claims": ["C6", "C3"]})
    variants = ["all", "no-llm", "random-llm", "llm-to-mlp", "blind", "efp-", "efp-small"]
    assert plan["04_ablations"]["ablations"] == variants and plan["04_ablations"]["more_ablations"] == {}
    assert plan["04_ablations"]["releases"] == ["casme2", "samm"]
    namespace = parameters.defaults("04_ablations") | {"claims": ["C3", "C6"], "seeds": [7]}
    _, settings = parameters.start("04_ablations", namespace)  # as in JupyterLab
    assert set(namespace["ablations"]) == set(variants) and namespace["ablations"] == settings["ablations"]
    assert namespace["seeds"] == [7]
    plan = batch.plan("demo", {"claims": ["C2"], "seeds": [1, 2]})
    assert plan["03_baselines"]["releases"] == ["samm"] and plan["03_baselines"]["baselines"] == ["resnet18-led"]
    assert plan["04_ablations"]["ablations"] == ["all"] and plan["04_ablations"]["seeds"] == [1, 2]
    plan = batch.plan("demo", {"claims": ["C7"]})
    assert plan["05_cross_domain"]["seeds"] == [1, 2, 3, 4, 5]
    assert plan["05_cross_domain"]["cross_baselines"] == ["resnet18", "sssnet-led"]


def test_a_claim_that_there_is_not_ends_before_anything_runs(home):
    with pytest.raises(ValueError, match="claims: unknown 'C15'; choose from C1, C2"):
        batch.plan("demo", {"claims": ["C6", "C15"]})
    with pytest.raises(ParameterError, match="the claims C6 need nothing of 03_baselines"):
        batch.plan("demo", {"claims": ["C6"]}, ["03_baselines"])
    with pytest.raises(ValueError, match="03_baselines: the claims C6 need nothing of this notebook"):
        parameters.start("03_baselines", parameters.defaults("03_baselines") | {"claims": ["C6"]})


def test_every_claim_needs_variants_and_baselines_that_there_are():
    needs = claims.needs(claim.key for claim in claims.CLAIMS)
    assert set(needs.variants) <= set(model.VARIANTS) and needs.releases == ("casme2", "samm")
    assert {*needs.baselines, *needs.across} <= set(baselines.METHODS)
    assert needs.seeds == 5 and needs.explained


@pytest.mark.parametrize(
    ("name", "keys"),
    [
        ("demo", ["C3", "C4", "C5", "C6"]),
        ("demo-full", [claim.key for claim in claims.CLAIMS]),
        ("paper", [claim.key for claim in claims.CLAIMS]),
    ],
)
def test_a_profile_runs_what_its_claims_need(name, keys):
    plan, needs = parameters.profile(name), claims.needs(keys)
    parts, cross = plan["04_ablations"], plan["05_cross_domain"]
    assert set(needs.variants) <= {*parts["ablations"], *parts["more_ablations"].get("casme2", [])}
    assert set(needs.baselines) <= set(plan["03_baselines"]["baselines"])
    assert set(needs.across) <= set(cross["cross_baselines"])
    assert len(cross["seeds"]) >= needs.seeds
    assert plan["02_train_loso"]["trace"]
