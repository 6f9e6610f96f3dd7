"""Tests of inputs that are the same at every step: sizes of blocks, memory and bits."""

import tracemalloc

import numpy as np
import pytest
from archives import applied, dense, functional, input_layer, layer, sequential, tensor
from unsaved import unsaved

pytestmark = pytest.mark.filterwarnings("ignore::kspike_ref.FewSpikesWarning")


def _spikes(name="spikes", **options):
    return layer("SpikingActivation", name, "kspike_tf", dt=0.01, seed=0, **options)


def _conv(name, filters):
    inner = layer(
        "Conv2D", name, filters=filters, kernel_size=[3, 3], strides=[2, 2], padding="valid"
    )
    return layer("TimeDistributed", f"each {name}", layer=inner)


def _flat():
    return layer("TimeDistributed", "flat", layer=layer("Flatten", "flatten"))


def _last(kind, name):
    """Return a filter that gives its last step only."""
    return layer(kind, name, "kspike_tf", return_sequences=False)


MODELS = {
    "chain": (
        sequential(
            input_layer(None, 300), dense("a", 64), _spikes(), layer("Lowpass", "low", "kspike_tf"),
            dense("b", 10, "softmax"),
        ),
        (300,),
    ),
    "reshaped": (
        sequential(
            input_layer(None, 20, 15), layer("Reshape", "flat", target_shape=[-1, 300]),
            dense("a", 64), layer("BatchNormalization", "b", axis=-1), _spikes(activation="tanh"),
        ),
        (20, 15),
    ),
    "branches": (
        functional(
            [
                applied(input_layer(None, 300)),
                applied(dense("a", 40), [tensor("input")]),
                applied(_spikes("s"), [tensor("a")]),
                applied(dense("b", 40), [tensor("s")]),
                applied(layer("Add", "add"), [[tensor("a"), tensor("b")]]),
                applied(layer("Alpha", "low", "kspike_tf"), [tensor("add")]),
            ],
            ["input", 0, 0],
            ["low", 0, 0],
        ),
        (300,),
    ),
    "convolutions": (
        sequential(
            input_layer(None, 28, 28, 1), _conv("a", 8), _spikes("s"), _conv("b", 8), _flat(),
            dense("c", 10),
        ),
        (28, 28, 1),
    ),
    "recurrent": (
        sequential(input_layer(None, 300), dense("a", 40), layer("GRU", "g", units=8)), (300,)
    ),
    "filtered": (
        sequential(input_layer(None, 300), dense("a", 9, "gelu"), layer("Alpha", "f", "kspike_tf")),
        (300,),
    ),
    "last spikes": (
        sequential(input_layer(None, 300), dense("a", 64), _spikes(return_sequences=False)),
        (300,),
    ),
    "last levels": (
        functional(
            [
                applied(input_layer(None, 300)),
                applied(dense("a", 64), [tensor("input")]),
                applied(_last("Lowpass", "low"), [tensor("a")]),
                applied(dense("b", 96), [tensor("input")]),
                applied(_last("Alpha", "alpha"), [tensor("b")]),
                applied(layer("Concatenate", "both"), [[tensor("low"), tensor("alpha")]]),
            ],
            ["input", 0, 0],
            ["both", 0, 0],
        ),
        (300,),
    ),
}  # fmt: skip
STEPS = 40


def _images(name, count):
    return np.random.default_rng(0).random((count, *MODELS[name][1]), np.float32)


def _sizes(model, name, count, threads):
    """Return the sizes of a block whose steps are the same, and of one whose steps differ."""
    shapes = ((count, STEPS, *MODELS[name][1]),)
    size = model._engine.budget.block_size
    return size(shapes, threads, (STEPS,)), size(shapes, threads)


@pytest.mark.parametrize("name", MODELS)
def test_a_still_input_has_the_bits_of_a_repeated_one(name):
    model, x = unsaved(MODELS[name][0]), _images(name, 37)
    y = model.predict(x, timesteps=STEPS)
    np.testing.assert_array_equal(y, model.predict(np.repeat(x[:, None], STEPS, axis=1)))
    for batch_size in (1, 5):
        np.testing.assert_array_equal(y, model.predict(x, timesteps=STEPS, batch_size=batch_size))


def _peak(call):
    """Return the most memory that a call took at a time, in bytes."""
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("threads", [1, 2])
def test_memory_of_still_inputs_stays_below_the_bound(name, threads):
    count = 40 if name == "convolutions" else 600
    model, x = unsaved(MODELS[name][0]), _images(name, count)
    unsaved(MODELS[name][0]).predict(x, timesteps=STEPS)  # compiles
    model.num_threads = threads
    for steps in (STEPS, 10 * STEPS):
        peak = _peak(lambda: model.predict(x, timesteps=steps))  # noqa: B023 (called at once)
        assert peak <= model.cost((count, steps, *MODELS[name][1])).bytes, steps


def test_more_still_examples_fit_a_block():
    """What runs once for all steps takes the memory of one step."""
    least = {"chain": 2, "reshaped": 4, "branches": 3, "filtered": 4, "last spikes": 3}
    for name, times in least.items():
        still, varying = _sizes(unsaved(MODELS[name][0]), name, 5000, 1)
        assert still >= times * varying, name


def test_a_layer_that_needs_repeated_steps_keeps_its_blocks():
    states = functional(
        [
            applied(input_layer(None, 300)),
            applied(dense("a", 64), [tensor("input")]),
            applied(_spikes(return_sequences=False, return_state=True), [tensor("a")]),
        ],
        ["input", 0, 0],
        ["spikes", 0, 0],
    )
    for config in (MODELS["recurrent"][0], states):
        still, varying = _sizes(unsaved(config), "recurrent", 5000, 1)
        assert still == varying


def test_every_thread_gets_several_blocks():
    model = unsaved(MODELS["chain"][0])
    for count, threads in [(600, 2), (2000, 8), (5000, 4)]:
        still, varying = _sizes(model, "chain", count, threads)
        assert varying < still
        assert count / still > 4 * threads - 1
    still, varying = _sizes(model, "chain", varying, 1)
    assert still == varying  # one block


def test_memory_of_the_activity_within_a_model_at_every_step_stays_below_the_bound():
    """Tensors within the model have time in their batch: `activity` returns copies of them."""
    inner = sequential(input_layer(300), dense("a", 64), dense("b", 64), dense("c", 64))
    each = layer("TimeDistributed", "each", layer=inner)
    model = unsaved(sequential(input_layer(None, 300), each, _spikes()))
    model.num_threads, x = 1, np.zeros((600, 300), np.float32)
    model.activity(x[:2], timesteps=STEPS)  # compiles
    keep = tuple(range(len(model.nodes)))
    cost = model._engine.budget.cost(((600, STEPS, 300),), 600, None, 1, keep)
    assert _peak(lambda: model.activity(x, timesteps=STEPS)) <= cost.bytes
