import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conceptprobe.concepts.scoring.scores import score_features
from conceptprobe.concepts.sets.concept_set import ConceptSet
from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.report import ReportError
from conceptprobe.report.collect.models import make_models, numbered, plain_name
from conceptprobe.report.data.commands import (
    build_command,
    feature_cli,
    feature_python,
    label_command,
    report_options,
    run_commands,
    score_command,
)
from conceptprobe.report.settings import ReportSettings

RANDOM = np.random.default_rng(2).normal(size=(18, 8))


@pytest.fixture(scope="module")
def indices(make_index, make_source):
    source = make_source()
    return [make_index(RANDOM, spec="one:a", source=source), make_index(-RANDOM, spec="two:a", source=source)]


@pytest.fixture(scope="module")
def scores(indices):
    return [score_features(index, k=4, draws=100, visual=None) for index in indices]


def test_scores_find_their_index_in_any_order(indices, scores):
    models = make_models(indices, scores[::-1])
    assert [model.scores for model in models] == scores
    assert [model.table_k for model in models] == [4, 4]
    assert [model.scores for model in make_models(indices, scores[1:])] == [None, scores[1]]


def test_scores_of_another_index_are_refused_by_name(indices, scores):
    name = indices[0].path.name
    with pytest.raises(
        ReportError, match=f"the scores of two:a on .* match none of the indices \\({name}: of another model"
    ):
        make_models(indices[:1], scores)
    with pytest.raises(ReportError, match=f"several scores match the index {name} \\(one:a\\)"):
        make_models(indices, [scores[0], scores[0]])
    for change, words in (
        ({"layers": ["blocks.9.resid"]}, "it has no layer blocks.9.resid"),
        ({"pooling": "max"}, "it has no pooling max"),
        ({"fingerprints": {**scores[0].settings["fingerprints"], "source": "x"}}, "of other images"),
    ):
        other = replace(scores[0], settings=scores[0].settings | change)
        with pytest.raises(ReportError, match=words):
            make_models(indices[:1], [other])


def test_features_are_numbered_through_the_models(make_index):
    models = make_models([make_index(RANDOM, layers=("a", "b")), make_index(RANDOM[:, :3])])
    assert [dict(model.starts) for model in models] == [{"a": 0, "b": 8}, {"blocks.0.mlp.hidden": 16}]
    assert [model.features for model in models] == [16, 3]
    assert list(models[0].chunks("b")) == [("0-1-0", slice(0, 8))]


@pytest.mark.parametrize("text", ["ViT-B-32@openai", "a/../b", "..", "<img src=x>", "層" * 200, "a b?#%"])
def test_keys_are_plain(text):
    key = plain_name(text)
    assert not set(key) & set("/\\:<>?#% ")
    assert 0 < len(key) <= 60


def test_names_that_occur_twice_are_numbered():
    assert numbered(["a", "a", "a-2", "b", "a"], "{}-{}") == ["a", "a-2", "a-2-2", "b", "a-3"]


def test_the_commands_quote_what_a_shell_would_split(make_index):
    index = make_index(RANDOM, spec="timm:vit@my file.pt", layers=("blocks.0.attn.out", "blocks.1.attn.out"))
    words = shlex.split(build_command(index))
    assert words[:5] == ["conceptprobe", "index", "build", "--model", "timm:vit@my file.pt"]
    assert words[words.index("--layers") :][:4] == ["--layers", "blocks.0.attn.out", "--layers", "blocks.1.attn.out"]


def test_the_commands_of_a_run_pass_results_on(indices, scores):
    commands = run_commands(make_models(indices, scores), [])
    assert [command.split()[1] for command in commands] == [
        "score",
        "score",
        "report",
    ]  # activations came from elsewhere
    assert "--scores scores-a --scores scores-a-2" in commands[-1]
    assert "-k 4" in commands[0]


def test_the_command_of_a_report_says_what_else_it_shows(make_index):
    models = make_models([make_index(RANDOM)])
    assert report_options([], ReportSettings()) == []
    options = report_options([Path("/made/here/twins"), None], ReportSettings(maps=True, images="link"))
    assert run_commands(models, [], [("conceptprobe probe shuffle", "shuffle")], options)[-1].endswith(
        "--probes shuffle --visualizations twins --visualizations visualizations --maps --images link --out report"
    )


def test_the_lines_of_python_give_the_features_page(indices, scores, monkeypatch):
    (model, _) = make_models(indices, scores)
    monkeypatch.chdir(model.index.path.parent)
    text = "\n".join(feature_python(model))
    text = text.replace("{feature}", "blocks.0.mlp.hidden:3").replace("{layer}", "blocks.0.mlp.hidden")
    text = text.replace("{index}", "3").replace("seed=0)", "seed=0, draws=100, visual=None)")
    known = {}
    exec(text.rpartition("\n")[0], known)
    assert eval(text.rpartition("\n")[2], known)[3]["feature"] == 3
    assert all("{feature}" in line or line.startswith("conceptprobe score") for line in feature_cli(model))


def test_the_commands_say_what_concepts_and_words_were(make_index, make_source):
    source = make_source()
    own = make_index(RANDOM, source=source)
    ids = own.images["id"].tolist()
    families = {
        "": concepts_of(own),
        "--taxonomy columns:style": concepts_of(own, "columns:style"),
        "--concepts CONCEPTS": ConceptSet.from_sets({"some": ids[:4], "others": ids[4:9]}, ids),
    }
    for options, family in families.items():
        scores = score_features(own, family, k=3, draws=100, visual=None)
        model = make_models([own], [scores])[0]
        line = score_command(own, scores.settings, "out")
        assert options in line
        assert ("--taxonomy" in line or "--concepts" in line) == bool(options)
        assert options in run_commands([model], [])[-1]
        (python,) = [text for text in feature_python(model) if text.startswith("concepts = ")]
        assert options.partition(" ")[2] in python
        assert "score_features(index, concepts," in "\n".join(feature_python(model))
    names = {"scorer": "mini:clip", "layers": list(own.layers), "k": 5, "q": 0.05, "templates": ["{}"], "seed": 0}
    for given, said in (("mini", "mini"), ("/home/me/birds.txt", "birds.txt"), (None, "WORDS")):
        assert f"--words {said} " in label_command(own, names | {"word_list": given}, "out")
