"""What is composed without OmegaConf is what OmegaConf composes."""

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from bench.cells import plain
from bench.cells.composition import RESOLVERS, Composed, Composition
from bench.errors import UserError
from bench.paths import CONF


@pytest.fixture(scope="module")
def composed():
    """What Hydra composes of some overrides."""
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield lambda *overrides: compose("config", list(overrides), return_hydra_config=True)


WITH_REFERENCES = [
    f"{group}={file.stem}"
    for group in ("task", "update", "collect", "algorithm", "study")
    for file in sorted((CONF / group).glob("*.yaml"))
    if "${" in file.read_text()
]


@pytest.mark.parametrize("override", WITH_REFERENCES)
def test_every_option_of_conf_is_resolved_as_omegaconf_does(composed, override):
    config = Composed(composed(override)).config
    mapping = OmegaConf.to_container(config, resolve=False)
    try:
        found = plain.resolved(mapping, RESOLVERS)
    except plain.NotPlain:
        assert "-${" in str(mapping)  # a name made of several settings
        return
    assert found == OmegaConf.to_container(config, resolve=True)


VALUES = {
    "learning_rate": 0.5,  # the critic's, too
    "batch.epochs": 3,  # the critic's and the update's
    "gamma": 1,
    "critic.learning_rate": 2e-4,
    "max_grad_norm": None,
    "hidden": [3, 5],
    "seeds": [4, 2],
    "norm_obs": True,
    "name": "a-name",
    "task.time_limit": 7,
    "study.grids": [],
}


@pytest.mark.parametrize("keys", [*zip(*[iter(VALUES)] * 3, strict=False), tuple(VALUES)])
def test_settings_are_those_that_hydra_composes(composed, keys):
    values = {key: VALUES[key] for key in keys}
    words = [f"{key}={'null' if value is None else value}" for key, value in values.items()]
    quick = Composition(composed("task=cartpole")).with_values(values)
    whole = Composition(composed("task=cartpole", *words))
    assert quick._plain is not None
    assert quick._resolved() == whole._resolved()
    assert {key: quick.value(key) for key in ("critic", "update.epochs", *keys)} == {
        key: whole.value(key) for key in ("critic", "update.epochs", *keys)
    }
    assert quick.parse() == whole.parse()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("critic", {"epochs": 2}),  # merged with what is there
        ("critic.epochs", "${batch.minibatches}"),
        ("name", "${task.name}-${gamma}"),
        ("study.grids", [{"gamma": [0.9, 1]}]),
    ],
)
def test_what_is_not_plain_is_left_to_omegaconf(composed, key, value):
    base = composed("task=cartpole")
    quick = Composition(base).with_values({key: value, "gamma": 0.5})
    config = Composed(composed("task=cartpole")).config
    OmegaConf.update(config, key, value)
    OmegaConf.update(config, "gamma", 0.5)
    assert quick._resolved() == OmegaConf.to_container(config, resolve=True)


def test_a_later_value_of_a_key_counts_and_a_copy_leaves_the_first_as_it_is(composed):
    base = Composition(composed("task=cartpole"))
    first = base.with_values({"gamma": 0.5})
    second = first.with_values({"gamma": 0.25, "learning_rate": 3.0})
    assert [each.value("gamma") for each in (base, first, second)] == [0.99, 0.5, 0.25]
    assert [each.value("critic.learning_rate") for each in (base, first, second)] == [0.001, 0.001, 3.0]


@pytest.mark.parametrize("key", ["gama", "critic.rate", "gamma.rate", "no.such"])
def test_a_key_that_there_is_not_is_refused(composed, key):
    with pytest.raises(UserError, match=key.partition(".")[0]):
        Composition(composed("task=cartpole")).with_values({key: 1}).parse()


@pytest.mark.parametrize("text", ["${gama}", "${gamma}x", r"\${gamma}", "${oc.env:HOME}", "${a}", "${b}", "${c.d}"])
def test_no_other_text_is_taken_for_a_reference(text):
    mapping = {"gamma": 0.5, "name": text, "a": "${b}", "b": "${a}", "c": {"d": "???"}}
    with pytest.raises(plain.NotPlain):
        plain.resolved(mapping, RESOLVERS)
