"""What people type who know other libraries, answered with the name it has here."""

import pytest

import bench
from bench.config import options
from bench.config.aliases import ABSENT, KEYS, VALUES, keys, meant_flag, meant_word
from bench.errors import UserError
from tests.typed import told


def test_every_alias_leads_to_a_key_there_is_and_is_none_itself() -> None:
    for alias, text in KEYS.items():
        for key in text.partition(" (")[0].split(", "):
            assert key in keys() or key.startswith("hydra.launcher."), alias
        assert alias not in [key for key in keys() if "." not in key], alias
    assert not {*ABSENT} & {*KEYS, *keys()}


def test_every_value_that_is_recommended_is_taken() -> None:
    for key, aliases in VALUES.items():
        for alias, meant in aliases.items():
            for word in meant.split(" or "):
                if word.startswith("algorithm=library "):
                    task = "cartpole" if word.endswith("DQN") else "pendulum"
                    assert bench.compose([*word.split(), f"task={task}"]).is_peer
                    continue
                name, _, option = word.partition("=")
                if name in options.groups():
                    assert option in options.options(name), (key, alias)
                else:
                    with pytest.raises(UserError, match=rf"^unknown {name} '#': allowed are .*\b{option}\b"):
                        bench.compose([f"{name}='#'"])


@pytest.mark.parametrize(
    ("word", "hint"),
    [
        ("env=CartPole-v1", "did you mean task=cartpole?"),
        ("env=CartPole-v0", "did you mean task=cartpole?"),
        ("env=LunarLander-v3", "did you mean task=gym task.id=LunarLander-v3?"),
        ("env_id=MountainCarContinuous-v0", "did you mean task=mountain_car_continuous?"),
        ("algo=ppo", "did you mean preset=ppo?"),
        ("algo=PPO", "did you mean preset=ppo?"),
        ("algo=trpo", "did you mean algorithm=contrib_trpo?"),
        ("seed=3", "did you mean 'seeds' (a count of seeds, or a list such as [3])?"),
        ("lr=3e-4", "did you mean 'learning_rate'?"),
        ("total_timesteps=1e6", "did you mean 'budget'?"),
        ("timesteps=1e6", "did you mean 'budget'?"),
        ("gae-lambda=0.9", "did you mean 'gae_lambda'?"),
        ("GAMMA=0.9", "did you mean 'gamma'?"),
        ("gama=0.9", "did you mean 'gamma'?"),
        ("n_epochs=4", "did you mean 'batch.epochs'?"),
        ("batch_size=64", "did you mean 'batch.minibatches' (the number of parts a batch is cut into)?"),
        ("minibatch_size=64", "did you mean 'batch.minibatches' (the number of parts a batch is cut into)?"),
        ("entropy=0.1", "did you mean 'ent_coef'?"),
        ("clip=0.1", "did you mean 'clip_range'?"),
        ("epsilon=0.1", "did you mean 'clip_range'?"),
        ("kl=0.1", "did you mean 'kl_target' or 'reference.coef' (update=kl_penalty, or a reference policy)?"),
        ("num_envs=4", "did you mean 'collect.n_envs' (of collect=segments)?"),
        ("n_steps=4", "did you mean 'collect.n_steps' (of collect=segments)?"),
        ("hidden_size=4", "did you mean 'hidden'?"),
        ("net_arch=[64,64]", "did you mean 'hidden'?"),
        ("wandb.project=x", "did you mean 'wandb_project'?"),
        ("size=8", "did you mean 'group.size'?"),
        ("ppo.clip_range=0.1", "did you mean 'clip_range'?"),
        ("update=ppo", "did you mean update=clip or preset=ppo?"),
        ("update=reinforce", "did you mean update=vanilla or preset=reinforce?"),
        ("update=a2c", "did you mean update=vanilla or preset=a2c?"),
        ("update=trpo", "did you mean update=kl_penalty or algorithm=contrib_trpo?"),
        ("update=clp", "did you mean 'clip'?"),
        ("advantage=GAE", "did you mean 'gae'?"),
        ("advantage=mc", "did you mean advantage=monte_carlo?"),
        ("advantage=MC", "did you mean advantage=monte_carlo?"),
        ("advantage=Monte-Carlo", "did you mean 'monte_carlo'?"),
        ("advantage=n_step", "did you mean 'nstep'?"),
        ("advantage=critic", "did you mean baseline=critic?"),
        ("baseline=value", "did you mean baseline=critic?"),
        ("baseline=ppo", "did you mean preset=ppo?"),
        ("task=CartPole-v1", "did you mean 'cartpole'?"),
        ("task=quick", "did you mean study=quick?"),
        ("policy=MlpPolicy", "did you mean policy=mlp?"),
        ("device=gpu", "did you mean device=cuda?"),
        ("device='cuda:0'", "did you mean device=cuda?"),
        ("wandb=false", "did you mean wandb=disabled?"),
        ("truncation=true", "did you mean truncation=bootstrap?"),
        ("vf_share_layers=true", "did you mean 'critic.network' (shared, with grad_clip=joint)?"),
        ("critic.network=joint", "did you mean critic.network=shared?"),
        ("group.scale=comparator", "did you mean group.scale=rank?"),
        ("critic=true", "did you mean baseline=critic?"),
        ("group=8", "did you mean group.size=8?"),
        ("group=shared", "did you mean group.start=shared?"),
        ("critic=0.5", "did you mean critic.gae_lambda=0.5 or critic.learning_rate=0.5 or critic.vf_coef=0.5"),
        ("evaluation=5", "did you mean evaluation.episodes=5?"),
        ("batch=5", "did you mean batch.n_envs=5 or batch.n_steps=5 or batch.epochs=5 or batch.minibatches=5?"),
    ],
)
def test_what_was_meant(word: str, hint: str) -> None:
    assert hint in told([word])


@pytest.mark.parametrize("word", ["xyzzy=3", "baseline=7", "task=null", "study=[]", "gamma=wwwww"])
def test_where_nothing_is_near_nothing_is_meant(word: str) -> None:
    assert "did you mean" not in told([word])


def test_flags_and_words_without_a_value() -> None:
    assert meant_flag("--algo", "ppo") == "; did you mean preset=ppo?"
    assert meant_flag("--total-timesteps", "1e5") == "; did you mean 'budget'?"
    assert meant_flag("--xyzzy", None) == ""
    assert meant_word("quick") == "; did you mean study=quick?"
    assert meant_word("PPO") == "; did you mean preset=ppo?"
    assert meant_word("critic") == "; did you mean baseline=critic?"
    assert meant_word("lr") == "; did you mean learning_rate=…?"
    assert meant_word("xyzzy") == ""
