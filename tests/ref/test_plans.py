"""Tests of a model's plans: which ones are kept, and within which memory limit."""

from __future__ import annotations

import os
import pickle
import signal
from threading import Barrier, Event, Thread

import numpy as np
import pytest
from archives import dense, input_layer, layer, sequential
from unsaved import unsaved

from kspike_ref.kernels import compiled, time
from kspike_ref.kernels.memory import frozen
from kspike_ref.layers.registry import create
from kspike_ref.running import plans


def _spikes():
    return layer("SpikingActivation", "s", "kspike_tf", activation="relu", dt=0.01, seed=0)


def _filter():
    return layer("Lowpass", "f", "kspike_tf", dt=0.01)


CHAIN = sequential(
    input_layer(None, 5),
    dense("a", 40),
    _spikes(),
    layer("GRU", "g", units=4, return_sequences=True),
    dense("b", 3),
)
PLAIN = sequential(input_layer(None, 5), dense("a", 40), _filter(), dense("b", 3))


@pytest.mark.parametrize(
    "entry", [layer("Dropout", "d"), layer("Identity", "i"), layer("Activation", "a")]
)
def test_integers_pass_through_a_plan_without_a_call(entry):
    x, made = np.arange(3), create(entry)
    assert made.bind(None, x) is made.call(x) is x


def test_a_run_looks_up_plans_once_for_each_size_of_blocks(monkeypatch):
    sizes, look_up = [], plans.Plans.kind

    def counted(self, inputs, ends, streams):
        sizes.append(len(inputs[0]))
        return look_up(self, inputs, ends, streams)

    model = unsaved(PLAIN)
    model.num_threads = 1
    model.predict(np.ones((1, 3, 5), "f4"))  # the first run also looks for few spikes
    monkeypatch.setattr(plans.Plans, "kind", counted)
    model.predict(np.ones((9, 3, 5), "f4"), batch_size=2)
    assert sizes == [2, 1]


@pytest.fixture
def made(monkeypatch):
    """Record the input shapes for which plans are made."""
    shapes, make_plan = [], plans.make_plan

    def made(tasks, inputs, *others):
        shapes.append(inputs[0].shape)
        return make_plan(tasks, inputs, *others)

    monkeypatch.setattr(plans, "make_plan", made)
    return shapes


def _input(count, steps=6):
    return np.random.default_rng(count).normal(size=(count, steps, 5)).astype(np.float32)


def test_a_plan_serves_all_inputs_of_its_kind(made):
    model = unsaved(PLAIN)
    for seed in range(3):
        model.predict(_input(4) + seed)
    model.predict(_input(4), batch_size=4)
    assert made == [(4, 6, 5)]


@pytest.mark.parametrize("config", [CHAIN, PLAIN], ids=["recorded", "bound"])
def test_single_steps_use_one_plan(made, config):
    model = unsaved(config)
    state = model.initial_state(2)
    for x in _input(6).swapaxes(0, 1)[:, :2]:
        _, state = model.step(x, state)
    assert made == [(2, 1, 5)]


def test_the_kinds_used_last_are_kept(made):
    model = unsaved(PLAIN)
    for count in range(1, plans.MAX_KINDS + 1):
        model.predict(_input(count))
    model.predict(_input(1))  # the oldest is now the most recently used
    model.predict(_input(99))
    made.clear()
    model.predict(_input(1))
    model.predict(_input(99))
    assert made == []
    model.predict(_input(2))
    assert made == [(2, 6, 5)]


def test_all_plans_together_keep_to_the_bound(made, monkeypatch):
    model = unsaved(PLAIN)
    model.predict(_input(8))
    kept = model._engine._plans
    one = kept.nbytes
    assert one > 4 * 8 * 6 * 40
    monkeypatch.setattr(plans, "MAX_BYTES", 4 * one)
    for count in (7, 6, 5, 8, 4, 3, 2):
        model.predict(_input(count))
        assert kept.nbytes <= 4 * one
    made.clear()
    model.predict(_input(8))  # used after 7 and 6, of which one was dropped
    model.predict(_input(7))
    assert made == [(7, 6, 5)]


def test_a_plan_beyond_a_quarter_of_the_bound_is_not_kept(monkeypatch):
    model = unsaved(PLAIN)
    model.predict(_input(1))
    kept = model._engine._plans
    before = kept.nbytes
    monkeypatch.setattr(plans, "MAX_BYTES", 4 * before)
    expected = unsaved(PLAIN).predict(_input(64))
    for _ in range(2):
        np.testing.assert_array_equal(model.predict(_input(64)), expected)
    assert kept.nbytes == before


def test_plans_of_many_threads_keep_to_the_bound(made, monkeypatch):
    model, count = unsaved(PLAIN), 12
    model.predict(_input(3))
    kept, ends = model._engine._plans, model._engine.outputs
    monkeypatch.setattr(plans, "MAX_BYTES", 5 * kept.nbytes)
    meet, x = Barrier(count), [_input(3)]
    kind = kept.kind(x, ends, False)
    threads = [
        Thread(target=kept.run, args=(kind, x, lambda _: meet.wait(60))) for _ in range(count)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == count
    assert 0 < kept.nbytes <= plans.MAX_BYTES


def test_a_plan_that_waits_again_keeps_to_the_bound(monkeypatch):
    model, other = unsaved(PLAIN), _input(7)
    model.predict(_input(8))
    kept, ends = model._engine._plans, model._engine.outputs
    monkeypatch.setattr(plans, "MAX_BYTES", 4 * kept.nbytes)
    repeat, kind = plans.Plan.repeat, kept.kind([other], ends, False)

    def meanwhile(plan, *arguments):
        meet, put = Barrier(5), lambda _: meet.wait(60)
        threads = [Thread(target=kept.run, args=(kind, [other], put)) for _ in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return repeat(plan, *arguments)

    monkeypatch.setattr(plans.Plan, "repeat", meanwhile)
    model.predict(_input(8))
    assert 0 < kept.nbytes <= plans.MAX_BYTES


def test_a_kind_that_was_dropped_is_not_remembered():
    model = unsaved(PLAIN)
    model.predict(_input(1))
    kept, ends, x = model._engine._plans, model._engine.outputs, [_input(1)]
    kind = kept.kind(x, ends, False)
    kept.remember("held", kind)
    for count in range(2, plans.MAX_KINDS + 2):
        kept.kind([_input(count)], ends, False)
    assert "held" not in kept._forms
    kept.run(kind, x, lambda _: None)
    assert kind  # a plan is there that nbytes does not count
    kept.remember("dropped", kind)
    assert "dropped" not in kept._forms


def test_a_kind_without_plans_is_not_remembered():
    """This happens if another thread takes the last plan."""

    class Taken(plans.Kind):
        def __bool__(self):
            return True

    model = unsaved(PLAIN)
    kept = model._engine._plans
    kind = Taken([_input(1)], model._engine.outputs, True)
    kept.remember("step", kind)
    assert kept._forms == {}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals of POSIX")
@pytest.mark.parametrize("count", [3, plans.MAX_KINDS + 3])
def test_a_signal_handler_may_predict_at_any_moment(count):
    model, again = unsaved(PLAIN), unsaved(PLAIN)
    for one in range(1, count):
        model.predict(_input(one))
    expected, found = again.predict(_input(99)), []

    def handler(*_):
        found.append(model.predict(_input(99)))

    before = signal.signal(signal.SIGUSR1, handler)
    try:
        kept = model._engine._plans
        with kept._lock:  # as in the middle of `kind`
            signal.raise_signal(signal.SIGUSR1)
        kept._kinds = Interrupted(kept._kinds)
        model.predict(_input(50))
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(found) == 2
    for y in found:
        np.testing.assert_array_equal(y, expected)


class Interrupted(dict):
    """Dictionary of kinds that raises a signal when a kind is first stored."""

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        if "has_come" not in vars(self):
            self.has_come = True
            signal.raise_signal(signal.SIGUSR1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_process_does_not_wait_for_a_thread_that_it_lacks():
    model = unsaved(PLAIN)
    model.predict(_input(1))
    holds, ends = Event(), Event()

    def hold():
        with model._engine._plans._lock:
            holds.set()
            ends.wait(60)

    thread = Thread(target=hold)
    thread.start()
    holds.wait(60)
    child = os.fork()
    if child == 0:
        signal.alarm(20)  # ends the process
        model.predict(_input(2))
        os._exit(0)
    ends.set()
    thread.join()
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("units", [5, 900], ids=["copied", "read in place"])
def test_one_input_at_all_steps_and_others_of_its_shape(units):
    config = sequential(input_layer(None, units), dense("a", 40), _filter(), dense("b", 3))
    model, plain = unsaved(config), np.random.default_rng(0).normal(size=(2, 7, units))
    plain = plain.astype(np.float32)
    still = np.broadcast_to(plain[:, :1], plain.shape)
    expected = {id(x): unsaved(config).predict(x.copy()) for x in (plain, still)}
    for x in (still, plain, still, still, plain, plain):
        np.testing.assert_allclose(model.predict(x), expected[id(x)], rtol=0, atol=1e-5)


def test_states_count_as_memory_of_a_plan():
    model = unsaved(PLAIN)
    model.predict(_input(1))
    wide = unsaved(sequential(input_layer(None, 5), dense("a", 4000), _filter(), dense("b", 3)))
    wide.step(np.ones((9, 5), np.float32), wide.initial_state(9))
    assert wide._engine._plans.nbytes > 9 * 4000 * (4 + 4 + 8)


@pytest.mark.parametrize("shape", [(2, 5), (40, 400)], ids=["copied", "read in place"])
def test_inputs_of_any_memory_layout_give_the_same(shape):
    config = sequential(input_layer(None, shape[1]), dense("a", 40), _filter(), dense("b", 3))
    model, again = unsaved(config), unsaved(config)
    x = np.random.default_rng(0).normal(size=(2 * shape[0], 2 * shape[1])).astype(np.float32)
    layouts = [x[::2, ::2].copy(), x[::2, ::2], x[::2, ::2].copy(order="F"), x[::2, ::2].copy()]
    layouts[-1].setflags(write=False)
    for given in layouts:
        for _ in range(2):
            expected = again.predict(layouts[0], timesteps=3)
            np.testing.assert_array_equal(model.predict(given, timesteps=3), expected)
            state = model.initial_state(shape[0])
            y, after = model.step(given, state)
            np.testing.assert_array_equal(y, expected[:, 0])
            np.testing.assert_array_equal(model.step(given, after)[0], expected[:, 1])


def test_numbers_without_time_are_presented_again_and_again(made):
    words = layer("Embedding", "e", input_dim=5, output_dim=4)
    config, x = sequential(input_layer(None), words, _filter()), np.arange(3, dtype=np.float32)
    model, expected = unsaved(config), unsaved(config).predict(np.repeat(x[:, None], 2, axis=1))
    made.clear()
    for _ in range(3):
        np.testing.assert_array_equal(model.predict(x, timesteps=2), expected)
    assert made == [(3, 2)]


def test_a_step_neither_changes_nor_keeps_what_it_got_and_gave():
    model = unsaved(PLAIN)
    x, state = _input(2)[:, 0].copy(), model.initial_state(2)
    first, after = model.step(x, state)
    kept = pickle.dumps((x, state, first, after))
    for _ in range(3):
        model.step(x + 1, after)
    assert pickle.dumps((x, state, first, after)) == kept


def test_a_copy_of_a_model_makes_plans_of_its_own():
    model = unsaved(PLAIN)
    expected = model.predict(_input(3))
    copied = pickle.loads(pickle.dumps(model))
    assert copied._engine._plans.nbytes == 0
    np.testing.assert_array_equal(copied.predict(_input(3)), expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_loop_that_was_resolved_once_gives_the_same(dtype):
    x = frozen(np.random.default_rng(0).uniform(0, 300, (2, 5, 7)).astype(dtype))
    found = []
    for resolves in (False, True):
        voltage, out = np.zeros((2, 7)), np.empty_like(x)
        loop, *arguments = time.spike_call(x, 2.0**22, 1024.0, False, (0, 2, 0, 7), voltage, out)
        loop = compiled(loop, *arguments) if resolves else loop
        loop(*arguments)
        found.append((out, voltage))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)
    assert found[0][0].any()


def test_a_function_that_is_no_loop_stays_as_it_is():
    assert compiled(np.maximum, np.ones(3), 0) is np.maximum


@pytest.mark.parametrize(
    ("name", "replaced"),
    [
        ("get_overload", lambda *_: None),
        ("get_overload", lambda _self: None),
        ("get_overload", None),  # with another version's compile
        ("compile", lambda *_: None),
        ("compile", lambda _self: None),
    ],
)
def test_without_numbas_interfaces_loops_are_called_by_the_dispatcher(name, replaced):
    class Other:
        """Dispatcher of another Numba version."""

        def get_overload(self, _types):
            raise KeyError

        def compile(self, _types):
            return None

        def __call__(self, x):
            return x

    if replaced is not None:
        setattr(Other, name, replaced)
    loop = Other()
    assert compiled(loop, np.ones(3)) is loop
