"""The targets, held against results made by hand."""

from bench.speed.targets import targets
from tests.speed.conftest import result, took


def met(*results) -> dict[str, tuple[str, bool | None]]:
    """What was measured of each target, and whether it is met."""
    return {target.target: (target.measured, target.met) for target in targets(results)}


def test_against_peers():
    """Ten seeds at 12 times the speed of one after another; 4 of 8 seconds of updates are products."""
    found = met(
        result("lockstep", took(10, 10_000, rollout_seconds=2, update_seconds=8), seeds=10),
        result("matrix_products", took(4, 10_000)),
        result("sb3_ppo", took(12)),
        result("sb3_ppo_64", took(25)),
        result("rejax_ppo", took(1.125)),
    )
    assert found == {
        "10 seeds, times the speed of SB3's PPO: at least 13": ("12.00", False),
        "10 seeds, times the speed of SB3's PPO: at least 11": ("12.00", True),
        "the same against its default minibatch of 64: at least 25": ("25.00", True),
        "times the speed of rejax in its steady state, after compiling: at least 1.15": ("1.12", False),
        "times the speed of rejax in its steady state, after compiling: at least 1": ("1.12", True),
        "share of an update that its matrix products alone would take: at least 0.5": ("0.50", True),
        "rollouts, share of a run: at most 0.15": ("0.20", False),
    }


def test_of_the_number_of_seeds():
    """1, 2, 5 and 10 seeds on 1000 steps each in 4, 4, 10 and 25 s: the last step is worse than linear."""
    lockstep = [(1, 4.0), (2, 4.0), (5, 10.0), (10, 25.0), (20, 50.0), (64, 184.0), (320, 1000.0)]
    found = met(
        *(
            result("lockstep", took(seconds, 1000 * n, peak_memory=n * 2**26), part="seeds", seeds=n)
            for n, seconds in lockstep
        ),
        result("sb3_ppo", took(15), part="seeds"),
    )
    assert found == {
        "one seed, times the speed of SB3's PPO: at least 4": ("3.75", False),
        "one seed, times the speed of SB3's PPO: at least 3.5": ("3.75", True),
        "2 seeds, times the time of 1 (2 would be linear): less than 2": ("1.00", True),
        "5 seeds, times the time of 2 (2.5 would be linear): less than 2.5": ("2.50", False),
        "10 seeds, times the time of 5 (2 would be linear): less than 2": ("2.50", False),
        "20 seeds, memory in GiB: at most 0.4": ("1.25", False),
        "64 seeds, time per step, times that of 10: at most 1.15": ("1.15", True),
        "320 seeds, time per step, times that of 10: at most 1.15": ("1.25", False),
    }


def test_of_what_time_depends_on():
    seconds = (2.0, 2.1, 9.0, 2.0, 3.2, 1.6)  # for 1000 steps of each of the cells of `plan.costs`
    both = result("two_blocks", took(2.1, 2000), part="costs")
    assert met(result("lockstep", *map(took, seconds), part="costs"), both) == {
        "two blocks side by side on two cores, times the speed of one: at least 1.9": ("1.90", True),
        "time per step of four times as many steps (1 is linear): at most 1.1": ("1.05", True),
        "time per step of a cell after two others (1 is linear in arms and tasks): at most 1.1": ("1.00", True),
        "complete episodes, times the time of segments for as many live steps: at most 1.1": ("1.60", False),
        "an arm without a critic, times the time of the same with one: at most 0.6": ("0.50", True),
    }


def test_of_a_recorded_run():
    """1 + 2 + 3 of the 60 s that are left without evaluations."""
    spent = {"startup": 3.5, "diagnostics": 1.0, "evaluation": 40.0, "records": 2.0, "wandb": 3.0}
    assert met(result("recorded", took(100, spent=spent), part="costs")) == {
        "diagnostics, records and W&B, share of a run: at most 0.05": ("0.10", False),
        "seconds from the command line to the first rollout: at most 4": ("3.50", True),
    }


def test_of_a_study():
    ours = result("lockstep", took(1), part="study", seeds=10, process=100)
    rejax = result("rejax_ppo", took(1), part="study", seeds=10, process=250)
    assert met(ours, rejax) == {
        "the study with start-up and compiling, times as fast as rejax: at least 3": ("2.50", False)
    }
