import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, hypergeom

from conceptprobe.concepts.sets.from_index import concepts_of
from conceptprobe.concepts.statistics.enrichment import Enrichment, log_likelihood_ratio
from conceptprobe.report.collect.concept_tables import adjust, tabulate_concepts


def test_concept_tables_agree_with_sets(make_index):
    index = make_index(np.random.default_rng(0).normal(size=(18, 40)))
    concepts = concepts_of(index)
    rows_fk = index.lists(index.layers[0]).rows[:, :5].copy()
    live = np.ones(40, bool)
    live[3] = False
    rows_fk[4, 4] = -1
    table = tabulate_concepts(concepts, rows_fk, live)
    assert (table.concept_ft[[3, 4]] == -1).all()
    best = Enrichment(concepts, 5).best(rows_fk)
    members = [set(concepts.rows(name).tolist()) for name in concepts.names]
    for feature in (0, 1, 2, 17, 39):
        hits = [len(own & set(rows_fk[feature].tolist())) for own in members]
        llr = log_likelihood_ratio(hits, 5, concepts.sizes, 18)
        p = hypergeom.sf(np.array(hits) - 1, 18, concepts.sizes, 5)
        q = false_discovery_control(p)
        shown = table.concept_ft[feature][table.concept_ft[feature] >= 0]
        assert len(shown) == min(8, (llr > 0).sum())
        assert len(shown) == 0 or shown[0] == best.concept_f[feature]
        assert table.llr_ft[feature, : len(shown)] == pytest.approx(np.sort(llr)[::-1][: len(shown)])
        for rank, concept in enumerate(shown):
            assert table.hits_ft[feature, rank] == hits[concept]
            assert table.p_ft[feature, rank] == pytest.approx(p[concept], rel=1e-9)
            assert table.q_ft[feature, rank] == pytest.approx(q[concept], rel=1e-9)
            assert table.enrichment_ft[feature, rank] == pytest.approx(
                hits[concept] / 5 / (concepts.sizes[concept] / 18)
            )


@given(st.lists(st.lists(st.floats(0, 1), max_size=6), min_size=1, max_size=5), st.integers(6, 9))
def test_q_values_are_benjamini_and_hochbergs_where_other_tests_have_p_of_1(lists, tests):
    p = np.array([value for own in lists for value in own])
    feature = np.repeat(np.arange(len(lists)), [len(own) for own in lists])
    found = adjust(p, feature, len(lists), tests)
    expected = [false_discovery_control([*own, *[1.0] * (tests - len(own))])[: len(own)] for own in lists]
    assert found == pytest.approx(np.concatenate(expected))
