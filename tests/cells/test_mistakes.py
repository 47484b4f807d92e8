"""What a user types where the name of an option is wanted, as one line."""

import pytest

from bench.cells.composition import compose
from bench.cells.mistakes import check
from bench.errors import UserError
from tests.typed import told

BASELINES = "allowed are batch_mean, critic, group, grpo, none, plugin, rloo, time_mean, vine"


@pytest.mark.parametrize("value", ["3", "true", "null", "0.5", "[none,critic]", "{a:1}", "3,4", "none,3", "range(3,5)"])
def test_a_value_that_is_no_name_of_an_option(value: str) -> None:
    with pytest.raises(UserError, match=f"^unknown baseline '.*': {BASELINES}"):
        check([f"baseline={value}"])


@pytest.mark.parametrize("written", ["group=8", "+group=8", "group=8,9", "group=range(8,10)"])
def test_a_value_that_is_meant_for_a_setting(written: str) -> None:
    keys = "groups, size, start, credit, scale, leave_one_out, ddof, eps, alive_only, temperature"
    line = rf"^group=8: group is a section of settings \({keys}\); did you mean group\.size=8\?$"
    with pytest.raises(UserError, match=line):
        check([written])


def test_a_choice_of_hydras() -> None:
    with pytest.raises(UserError, match=r"^hydra/launcher=3: must be the name of an option$"):
        check(["hydra/launcher=3"])


@pytest.mark.parametrize("written", ["baseline=interval(1,2)", "gamma=interval(0.9,1)"])
def test_an_interval(written: str) -> None:
    with pytest.raises(UserError, match=r"name the values, an interval has no end of them$"):
        check([written])


@pytest.mark.parametrize("written", ["baseline=none,critic", "baseline=glob(*)", "~preset", "gamma=3", "group.size=8"])
def test_what_is_right_passes(written: str) -> None:
    check([written])


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("gamma=[1", "cannot read 'gamma=[1': its brackets are not closed"),
        ("gamma={a:1", "cannot read 'gamma={a:1': its braces are not closed"),
        ("name='a", "cannot read 'name='a': its single quotes are not closed"),
        ("name=a=b", """cannot read 'name=a=b': text with other signs needs quotes: 'name="a=b"'"""),
        ("name=ü", """cannot read 'name=ü': text with other signs needs quotes: 'name="ü"'"""),
        ("gamma=range()", "cannot read 'gamma=range()': TypeError while evaluating 'range()': missing a required"),
        ("gamma=choice()", "cannot read 'gamma=choice()': ValueError while evaluating 'choice()': empty choice"),
        ("=3", "cannot read '=3': there is no key before the ="),
        ("", "cannot read '': write KEY=VALUE"),
        ("gamma", "cannot read 'gamma': write KEY=VALUE"),
        ("+gamma=0.5", "+gamma: there is gamma already, so it cannot be added; write gamma=VALUE without a +"),
        ("+baseline=none", "+baseline: there is baseline already, so it cannot be added"),
        ("task@x=cartpole", "task@x=cartpole: where an option is put cannot be chosen; write task=cartpole"),
        (
            "~baseline",
            "~baseline: every cell needs baseline, so it cannot be left out; choose another: baseline=",
        ),
        ("~critic", "~critic: every cell needs critic, so it cannot be left out"),
        ("~gamma", "missing key 'gamma': it has no default, give gamma=VALUE"),
        ("preset=null", "preset=null: nothing is chosen without it; leave it out"),
        ("update.options.note=1", "update.options: conf does not set it; add it with a plus sign, +update.options"),
        ("learning_rate=fast", "learning_rate=fast: must be a number"),
        ("gae_lambda=2", "gae_lambda=2.0: must lie in [0, 1]"),
        ("task.budget=0", "task.budget=0: must be greater than 0"),
        ("batch.epochs=many", "batch.epochs=many: must be a whole number"),
        ("critic.learning_rate=fast", "critic.learning_rate=fast: must be a number"),
        ("budget=1e30", "budget=a number of more than 30 digits: must be at most 9223372036854775807"),
        ("budget=1e400", "budget=inf: must be finite"),
        ("budget=1.5", "budget=1.5: must be a whole number"),
        ("hidden=[]", "hidden=[]: must have at least one width"),
        ("seeds=100000000", "seeds=100000000: at most 10000 seeds"),
        ("seeds=[3000000000]", "seeds: seed 3e+09 is too large; the largest is 2147483647"),
        ("seeds=[]", "seeds=[]: give a count such as 10"),
        ("seeds=[-1]", "seeds=[-1]: seed -1 is not a whole number of at least 0"),
        ("plugins=../x", "plugins=../x: '../x' is not the name of a module"),
        ("plugins=[3]", "plugins=[3]: name modules, such as plugins=my_envs"),
        ("plugins=no_such_module", "plugins=no_such_module: cannot be imported (ModuleNotFoundError"),
        ("illegal=no", "unknown illegal 'no': allowed are refuse, skip"),
        ("gamma=range(0,1,0.0001)", "gamma=range(0,1,0.0001): more than 1000 values are too many for one key"),
        (
            "critic.learning_rate=range(1,100001)",
            "critic.learning_rate=range(1,100001): more than 1000 values are too many",
        ),
        ("seeds=range(0,1e300)", "seeds=range(0,1e300): more than 1000 values are too many for one key"),
        (
            "gamma=shuffle(range(0,1000000000000))",  # of which Hydra would make a list
            "gamma=shuffle(range(0,1000000000000)): more than 1000 values are too many for one key",
        ),
        (
            f"gamma={','.join(f'0.{number}' for number in range(1001))}",
            "gamma=0.0,0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9,",
        ),
    ],
)
def test_a_mistake_is_one_line(word: str, line: str) -> None:
    assert told([word]).startswith(line)


KEYS_OF_HYDRA = [
    "run.dir=x",
    "sweep.dir=x",
    "verbose=true",
    "job.chdir=true",
    "output_subdir=x",
    "callbacks={}",
    "x.y=3",
]


@pytest.mark.parametrize("word", [*(f"hydra.{key}" for key in KEYS_OF_HYDRA), "hydra/sweeper=basic", "hydra=3"])
def test_a_key_of_hydras_without_effect(word: str) -> None:
    assert told([word]).startswith(f"{word}: has no effect here; of Hydra's own keys hydra.launcher, ")


def test_a_key_that_is_given_twice_is_warned_of() -> None:
    assert check(["gamma=0.9", "gamma=0.8"]) == ["gamma is given several times: only the last counts, gamma=0.8"]
    assert check(["gamma=0.9", "gamma=0.9", "~name", "+name=x"]) == []


def test_whole_numbers_may_be_written_as_others() -> None:
    config = compose(["budget=1e5", "seeds=2.0", "hidden=[64.0,32]", "evaluation.points=5.0"])
    assert (config.budget, config.seeds, config.hidden, config.evaluation.points) == (100_000, (0, 1), (64, 32), 5)
    assert all(type(number) is int for number in (config.budget, *config.hidden, config.evaluation.points))


def test_compose_checks_too() -> None:
    with pytest.raises(UserError, match=r"^unknown advantage '0\.95'"):
        compose(["advantage=0.95"])
