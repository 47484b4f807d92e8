"""The final score of a seed, on a table made by hand."""

import pyarrow as pa

from bench.records.scores import final_scores


def test_a_final_score_is_the_mean_over_the_last_tenth_by_seed_and_mode():
    rows = [
        {"seed": seed, "step": step, "mode": mode, "return": value}
        for seed in (3, 5)
        for step, mode, value in [
            (90, "stochastic", 100.0),  # not after 90 % of the budget
            (95, "stochastic", 1.0 * seed),
            (100, "stochastic", 3.0 * seed),
            (100, "deterministic", 50.0),
        ]
    ]
    found = final_scores(pa.Table.from_pylist(rows), 100)
    assert found == {
        (3, "stochastic"): 6.0,
        (3, "deterministic"): 50.0,
        (5, "stochastic"): 10.0,
        (5, "deterministic"): 50.0,
    }
