"""What holds a policy to a reference: the right file, the right numbers, the right optimum."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import bench
from bench.config.identity import cell_hash
from bench.errors import UserError
from bench.learner.actor import Actor
from bench.learner.policy_gradient import PolicyGradient
from bench.learner.train import train
from bench.tasks.base import Array
from bench.tasks.exam_question import ExamQuestion
from bench.tasks.registry import make
from tests.learner.probes import Matching, Notes, learner, settings

SEEDS = (3, 8)
SMALL = ("hidden=[32,32]", "update.epochs=2", "evaluation.points=1", "evaluation.episodes=1")


def saved(path: Path, *overrides: str, seeds: tuple[int, ...] = SEEDS) -> Path:
    config = bench.compose(["task=weekly_exam", "budget=600", *SMALL, *overrides])
    train(config, seeds, Notes()).save_policy(path)
    return path


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("block") / "policy.zip")


def composed(policy: Path, *overrides: str) -> object:
    return bench.compose(
        ["task=weekly_exam", "seeds=[3,8]", "reference=checkpoint", f"reference.path={policy}", *overrides]
    )


def test_a_folder_names_the_one_policy_in_it(policy: Path) -> None:
    assert cell_hash(composed(policy)) == cell_hash(composed(policy.parent))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["task=cartpole"], "its policy was trained on weekly_exam, this is cartpole; use one of cartpole"),
        (["seeds=[3,9]"], "it has no seed 9, only [3, 8]; set reference.seed to one of them"),
        (["reference.seed=4"], "it has no reference.seed 4, only [3, 8]"),
    ],
)
def test_a_policy_that_does_not_fit_is_refused(policy: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        composed(policy, *overrides)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_damaged_policy_is_refused(policy: Path, tmp_path: Path) -> None:
    broken = tmp_path / "policy.zip"
    broken.write_bytes(policy.read_bytes()[:2000])
    with pytest.raises(UserError, match="is not a saved model"):
        composed(broken)


def test_a_policy_of_another_shape_is_refused(policy: Path) -> None:
    with pytest.raises(UserError, match=r"its observation space is Box\(.*, this task's is Box\("):
        composed(policy, "task.observe_last_score=true")


def test_two_policies_below_a_folder_are_one_too_many(policy: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "policy.zip").write_bytes(policy.read_bytes())
    with pytest.raises(UserError, match=r"2 policies below it, must be 1 \(.*a, .*b\)"):
        composed(tmp_path)


def test_the_cell_is_the_policy_and_not_its_place(policy: Path, tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere.zip"
    copy.write_bytes(policy.read_bytes())
    assert cell_hash(composed(copy)) == cell_hash(composed(policy))  # type: ignore[attr-defined]
    other = saved(tmp_path / "other.zip", "learning_rate=0.002")
    assert cell_hash(composed(other)) != cell_hash(composed(policy))  # type: ignore[attr-defined]


def rows(*overrides: str, seeds: tuple[int, ...] = SEEDS) -> list[dict[str, float]]:
    config = bench.compose(["task=weekly_exam", "budget=1600", *SMALL, *overrides])
    notes = Notes()
    train(config, seeds, notes)
    return notes.updates


def test_a_weight_of_zero_only_watches() -> None:
    plain, watched = rows(), rows("reference=initial", "reference.coef=0")
    assert all(row["train/reference_kl"] == 0 for row in watched if row["update"] == 1)
    assert all(row["train/reference_kl"] > 0 for row in watched if row["update"] > 1)
    for before, after in zip(plain, watched, strict=True):
        assert before.items() <= after.items()


@pytest.mark.parametrize(("placement", "kind"), [("reward", "k1"), ("loss", "k2"), ("loss", "k3")])
def test_a_reference_holds_the_policy(placement: str, kind: str) -> None:
    held = ("reference=initial", f"reference.placement={placement}", f"reference.kind={kind}", "learning_rate=0.003")
    free = rows(*held, "reference.coef=0")[-1]["train/reference_kl"]
    near = rows(*held, "reference.coef=2")[-1]["train/reference_kl"]
    assert 0 < near < 0.5 * free


def test_each_seed_is_held_to_its_own_policy_or_all_to_one(policy: Path) -> None:
    theirs = PolicyGradient.load(policy).policy.acting().stack.flat
    own = learner_of(policy).reference_actor()
    assert own is not None
    assert torch.equal(own.stack.flat, theirs)
    one = learner_of(policy, "reference.seed=8").reference_actor()
    assert one is not None
    assert torch.equal(one.stack.flat, theirs[[1, 1]])


def test_a_model_is_loaded_where_its_reference_is_gone(policy: Path, tmp_path: Path) -> None:
    reference = tmp_path / "reference.zip"
    reference.write_bytes(policy.read_bytes())
    learner_of(reference).save(tmp_path / "held.zip")
    reference.unlink()
    assert PolicyGradient.load(tmp_path / "held.zip").seeds == SEEDS


def learner_of(policy: Path, *overrides: str) -> PolicyGradient:
    config = composed(policy, *SMALL, *overrides)
    return learner(make(config.task), config, SEEDS)  # type: ignore[attr-defined, arg-type]


def test_a_reference_keeps_its_own_scale_of_observations(tmp_path: Path) -> None:
    path = saved(tmp_path / "policy.zip", "norm_obs=true")
    held_to = learner_of(path).reference_actor()
    assert held_to is not None
    assert held_to.obs_rms is not None
    assert bool((held_to.obs_rms.count > 0).all())


def test_the_weight_follows_the_divergence() -> None:
    loose = rows("reference=initial", "reference.coef=0.1", "reference.target=100")
    tight = rows("reference=initial", "reference.coef=0.1", "reference.target=1e-9")
    assert [row["train/reference_coef"] for row in loose if row["seed"] == 3][:3] == pytest.approx(
        [0.1, 0.098, 0.09604]
    )
    # the first batch is the reference's own: no divergence, so the weight is lowered once
    assert [row["train/reference_coef"] for row in tight if row["seed"] == 3][:3] == pytest.approx(
        [0.1, 0.098, 0.09996]
    )


def probabilities(actor: Actor, replica: int) -> Callable[[Array], Array]:
    """One replica's policy as the exact worlds take it: observations (O, n) → (n, action)."""
    chosen = actor.select([replica])

    def policy(observations: Array) -> Array:
        table: Array = chosen.policy(torch.from_numpy(observations).unsqueeze(0)).log_probs[0].exp().T.numpy()  # type: ignore[attr-defined]
        return table.astype(np.float64) / table.sum(1, keepdims=True)

    return policy


@pytest.mark.slow
@pytest.mark.parametrize("kl_coef", [0.02, 0.1])
def test_k1_as_a_reward_finds_the_optimum_of_soft_dynamic_programming(kl_coef: float) -> None:
    """One step, one answer: the optimum is π ∝ π_ref exp(Q / β), and J the soft objective."""
    config = bench.compose(
        [
            "task=exam_question", "budget=40000", "reference=initial", f"reference.coef={kl_coef}", "hidden=[32,32]",
            "advantage=monte_carlo", "group.groups=64", "group.size=2", "update.epochs=4", "update.minibatches=2",
            "critic.epochs=4", "critic.minibatches=2", "learning_rate_schedule=linear", "evaluation.points=1",
        ]
    )  # fmt: skip
    task = make(config.task)
    assert isinstance(task, ExamQuestion)
    model = train(config, SEEDS, Notes()).model
    for replica in range(len(SEEDS)):
        learned, held_to = (probabilities(actor, replica) for actor in (model.policy.acting(), model.policy.initial()))
        start, reached, best = (
            task.solve(policy, reference=held_to, kl_coef=kl_coef).objective for policy in (held_to, learned, "optimal")
        )
        assert reached <= best + 1e-9
        assert (reached - start) / (best - start) > 0.97


def test_waiting_steps_are_not_charged() -> None:
    model = learner(Matching(steps=2), settings("reference=initial", "reference.coef=1", *SMALL), (0,))
    model.learn(8)
    assert np.isfinite(model.latest[0]["train/advantage_rms"])


def test_a_veto_that_nobody_meets_is_none_and_one_of_0_pays_nobody_after_the_first_update() -> None:
    held = ("reference=initial", "reference.coef=0.1")
    plain, never, always = rows(*held), rows(*held, "reference.veto=1e9"), rows(*held, "reference.veto=0")
    for before, after in zip(plain, never, strict=True):
        assert before | {"train/vetoed": 0.0} == after
    assert all(row["train/vetoed"] == (row["update"] > 1) for row in always)


def test_a_veto_of_0_leaves_nothing_to_learn() -> None:
    """The first batch is the reference's own and is paid, in later ones every reward is above 0 and is withheld."""
    vetoed = rows("reference=initial", "reference.coef=0", "reference.veto=0", "task.luck=0", "baseline=none",
                  "advantage=monte_carlo")  # fmt: skip
    assert all((row["train/advantage_rms"] > 0) == (row["update"] == 1) for row in vetoed)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["reference.placement=loss", "reference.kind=k2"], "reference.veto=0.5 with reference.placement=loss: a veto"),
        (["collect=segments"], "reference.veto=0.5 with collect=segments: how far an episode was is known at its end"),
        (["reference.veto=-1"], "reference.veto=-1.0: must be at least 0"),
        (["reference.veto=nan"], "reference.veto=nan: must be finite"),
    ],
)
def test_where_a_veto_makes_no_sense_it_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError) as refused:
        bench.compose(["task=weekly_exam", "reference=initial", "reference.veto=0.5", *overrides])
    assert str(refused.value).startswith(message)


def test_a_veto_is_another_cell_and_none_the_one_it_was() -> None:
    plain, null, vetoed = (
        cell_hash(bench.compose(["task=weekly_exam", "reference=initial", *more]))
        for more in ([], ["reference.veto=null"], ["reference.veto=0.5"])
    )
    assert plain == null != vetoed
