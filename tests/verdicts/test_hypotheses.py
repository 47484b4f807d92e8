"""Claims files: every shipped one can be read, and a mistake is one line."""

import pytest

from bench.errors import UserError
from bench.verdicts import hypotheses
from tests.analysis.claims.test_verdicts import FILE


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("sesoi: 0.05", "sesoi: -1", "sesoi=-1.0"),
        ("sesoi: 0.05", "sesoi: 0", "sesoi=0.0: must be greater than 0"),
        ("higher", "hihger", "did you mean 'higher'"),
        ("metric: final", "metrc: final", "did you mean 'metric'"),
        ("{k: 0}", "{k: 1}", "select the same runs"),
        ("{k: 0}", "0", "must be factors"),
        ("metric: final", "metric: final, range: [1, 0]", r"range=\[1.0, 0.0\]: must be two rising numbers"),
        ("metric: final", "metric: final, range: [0, 1], logarithm: true", "must lie above 0"),
        ("metric: final", "metric: final, range: 1", "must be a list"),
        ("metric: final", "metric: final, withdrawn: ' '", "must say why"),
        ("metric: final", "metric: final, group: head", "unknown claims.it.group 'head'"),
        ("claims:", "weights: {head: 0.04}\nclaims:", "group: must be one of the file's weights, head"),
        ("claims:", "weights: {head: -1}\nclaims:", "positive parts"),
        ("seeds: 10", "seeds: 0", "seeds=0: must be at least 1"),
        ("seeds: 10", "seeds: 10, seeds_by_task: {cartpole: 0}", "seeds_by_task.cartpole=0: must be at least 1"),
        (
            "seeds: 10",
            "seeds: 10, seeds_by_task: {cartpole: 5.5}",
            "seeds_by_task.cartpole=5.5: must be a whole number",
        ),
        ("seeds: 10", "seeds: 10, seeds_by_task: {cartpol: 5}", "cartpol'.*did you mean 'cartpole'"),
        ("seeds: 10", "seeds: 10, seeds_by_task: 5", "seeds_by_task=5: must be names and their values"),
        ("{k: 0}", "{constant: zero}", "must be a number"),
        ("claims:", "clams:", "title, defaults and claims"),
        ("title: T", "title: [", "cannot read"),
    ],
)
def test_a_mistake_in_a_claims_file_is_one_line(tmp_path, old, new, message):
    path = tmp_path / "claims.yaml"
    path.write_text(FILE.replace(old, new))
    with pytest.raises(UserError, match=message) as error:
        hypotheses.read(path)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("path", sorted(hypotheses.FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_claims_file_can_be_read(path):
    file = hypotheses.read(path)
    assert file.title
    assert file.claims
    assert all(claim.statement and claim.source for claim in file.claims.values())
