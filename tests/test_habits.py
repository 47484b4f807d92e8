"""What fingers type that know other libraries: thirty command lines, and the one line that answers each."""

import shlex

import pytest

from bench.commands.main import main

FLAGS = "('python -m bench --help' shows them)"
KEYS = "('python -m bench list' shows them)"
SEEDS = "'seeds' (a count of seeds, or a list such as [3])"
SEGMENTS = "(of collect=segments)"
SB3 = "algorithm=library algorithm._target_=stable_baselines3"
TYPED = [  # what is typed behind `python -m bench`, and the end of the line that answers it
    ("env=CartPole-v1", f"unknown key 'env' {KEYS}; did you mean task=cartpole?"),
    ("env=HalfCheetah-v5", f"unknown key 'env' {KEYS}; did you mean task=gym task.id=HalfCheetah-v5?"),
    ("task=LunarLander-v3", "; did you mean task=gym task.id=LunarLander-v3?"),
    ("--env CartPole-v1", f"unknown flag '--env' {FLAGS}; did you mean task=cartpole?"),
    ("algo=ppo", f"unknown key 'algo' {KEYS}; did you mean preset=ppo?"),
    ("algo=SAC", f"unknown key 'algo' {KEYS}; did you mean {SB3}:SAC?"),
    ("--algo ppo --env CartPole-v1", f"unknown flag '--algo' {FLAGS}; did you mean preset=ppo?"),
    ("total_timesteps=1e5", f"unknown key 'total_timesteps' {KEYS}; did you mean 'budget'?"),
    ("--total-timesteps 100000", f"unknown flag '--total-timesteps' {FLAGS}; did you mean 'budget'?"),
    ("budget=100k", "budget=100k: must be a whole number; did you mean budget=100000?"),
    ("budget=1.5M", "budget=1.5M: must be a whole number; did you mean budget=1500000?"),
    ("n_envs=4", f"unknown key 'n_envs' {KEYS}; did you mean 'collect.n_envs' {SEGMENTS}?"),
    ("n_steps=2048", f"unknown key 'n_steps' {KEYS}; did you mean 'collect.n_steps' {SEGMENTS}?"),
    ("batch_size=64", "; did you mean 'batch.minibatches' (the number of parts a batch is cut into)?"),
    ("gamma=1.5", "gamma=1.5: must lie in [0, 1]"),
    ("gamma 0.9", "; did you mean gamma=…?"),
    ("gae_lambda=95%", "gae_lambda=95%: must be a number; did you mean gae_lambda=0.95?"),
    ("lr=3e-4", f"unknown key 'lr' {KEYS}; did you mean 'learning_rate'?"),
    ("seed=3", f"unknown key 'seed' {KEYS}; did you mean {SEEDS}?"),
    ("--seed 3", f"unknown flag '--seed' {FLAGS}; did you mean {SEEDS}?"),
    ("seeds=3,5", "seeds=3,5: seeds are no factor; write seeds=[3,5] for these"),
    ("net_arch=[64,64]", f"unknown key 'net_arch' {KEYS}; did you mean 'hidden'?"),
    ("activation_fn=relu", f"unknown key 'activation_fn' {KEYS}; hidden layers are tanh"),
    ("advantage=gae,td(0)", "'td(0)' is no value; did you mean advantage=td0?"),
    ("baseline=value", "; did you mean baseline=critic?"),
    ("tensorboard_log=runs", f"unknown key 'tensorboard_log' {KEYS}; did you mean 'tensorboard' (tensorboard=true)?"),
    ("--track", f"unknown flag '--track' {FLAGS}; did you mean 'wandb'?"),
    ("wandb=true", "; did you mean wandb=online?"),
    ("device=cuda:0", "; did you mean device=cuda?"),
    ("--dry-run", f"unknown flag '--dry-run' {FLAGS}; did you mean dry_run=true?"),
    ("capture_video=true", f"{KEYS}; 'python -m bench enjoy RUN_DIR' makes one"),
    ("verbose=1", f"unknown key 'verbose' {KEYS}; progress is always shown"),
    ("study=mine", "; study.name=mine puts what you run into a study of your own"),
    ("study=quik", "; did you mean 'quick'?"),
    ("quick", "; did you mean study=quick?"),
    ("train study=quick", "; did you mean 'python -m bench KEY=VALUE'?"),
    ("results quick", "; did you mean 'study=quick'?"),
    ("--config-path=conf", f"unknown flag '--config-path' {FLAGS}; did you mean '--config-dir'?"),
]


@pytest.mark.parametrize(("typed", "line"), TYPED, ids=[typed for typed, _ in TYPED])
def test_a_habit_is_answered_in_one_line(typed, line, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(typed)) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert said.err.endswith(f"{line}\n")
    assert said.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("typed", "first"),
    [
        ("--help", "Trains arms of policy-gradient methods"),
        ("-h", "Trains arms of policy-gradient methods"),
        ("study=quick --help", "Trains arms of policy-gradient methods"),
        ("results --help", "python -m bench results study=NAME"),
        ("--version", "policy-gradient-bench "),
        ("--cfg job preset=ppo", "task:"),
        ("-m gamma=0.9,0.99 seeds=2 dry_run=true", "2 cells in results/adhoc"),
        ("gamma=0.9 seeds=2 dry_run=true", "1 cell in results/adhoc"),
    ],
)
def test_what_hydras_users_type_works(typed, first, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(typed)) == 0
    assert capsys.readouterr().out.startswith(first)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("typed", ["", "-m", "--multirun"])
def test_nothing_that_is_asked_for_trains_nothing(typed, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(typed)) == 2
    assert capsys.readouterr().out.startswith("Trains arms of policy-gradient methods")
    assert list(tmp_path.iterdir()) == []
