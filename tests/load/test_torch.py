"""Tests of PyTorch tensors as inputs: the bits of the same NumPy numbers, or a clear error.

`hatch run torch:test` runs them for kspike_ref, and for kspike_tf if it is installed.
"""

from __future__ import annotations

import numpy as np
import pytest
from archives import dense, input_layer, layer, sequential
from hostile import same
from unsaved import unsaved

import kspike_ref

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore::kspike_ref.FewSpikesWarning")

FUNCTIONS = {
    "spiking_activation": lambda x: kspike_ref.spiking_activation(x, seed=1)[0],
    "lowpass": lambda x: kspike_ref.lowpass(x, 0.02)[0],
    "alpha": lambda x: kspike_ref.alpha(x, 0.02)[0],
    "predict": lambda x: network().predict(x),
}


def kspike_tf():
    """Return kspike_tf, or skip the test."""
    return pytest.importorskip("kspike_tf")


LAYERS = {
    "SpikingActivation": lambda x: kspike_tf().SpikingActivation("relu", seed=1)(x),
    "Lowpass": lambda x: kspike_tf().Lowpass(0.02)(x),
    "Alpha": lambda x: kspike_tf().Alpha(0.02)(x),
}
EVERYWHERE = FUNCTIONS | LAYERS

LAYOUTS = {
    "contiguous": lambda x: x,
    "transposed": lambda x: x.transpose(0, 2).contiguous().transpose(0, 2),
    "strided": lambda x: torch.repeat_interleave(x, 3, dim=2)[..., ::3],
    "slice": lambda x: torch.nn.functional.pad(x.double(), (1, 2, 3, 0)).to(x.dtype)[:, 3:, 1:-2],
    "expanded": lambda x: x[:, :1].expand(-1, x.shape[1], -1),
    "channels_last": lambda x: x.permute(0, 2, 1).contiguous().permute(0, 2, 1),
    "detached": lambda x: x.double().requires_grad_().detach().to(x.dtype),
    "parameter": lambda x: torch.nn.Parameter(x, requires_grad=False),
    "empty": lambda x: x[:0],
}
TYPES = ["float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64", "bool"]


def network():
    items = [
        dense("a", 5),
        layer("SpikingActivation", "b", "kspike_tf", activation="relu", seed=1),
        layer("Lowpass", "c", "kspike_tf"),
    ]
    return unsaved(sequential(input_layer(None, 4), *items))


def tensor(kind, seed=0):
    """Return rates of 2 examples, 6 steps and 4 units."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.uniform(0, 120, (2, 6, 4))).to(getattr(torch, kind))


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_bits_of_the_same_numbers(name, kind):
    for label, layout in LAYOUTS.items():
        x = layout(tensor(kind))
        before = x.numpy().tobytes()
        assert same(FUNCTIONS[name](x), FUNCTIONS[name](np.array(x.numpy()))), label
        assert x.numpy().tobytes() == before, label
    if kind != "bool":
        assert np.any(FUNCTIONS[name](tensor(kind)))


@pytest.mark.parametrize("kind", ["float32", "float64"])
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_kspike_tf_take_the_same_numbers(name, kind):
    for label, layout in LAYOUTS.items():
        x = layout(tensor(kind))
        assert same(LAYERS[name](x), LAYERS[name](np.array(x.numpy()))), label


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_tensor_in_a_gradient_is_refused(name):
    x = tensor("float32").requires_grad_()
    with pytest.raises(TypeError, match=r"must be an array.*Received: Tensor; .*detach\(\)"):
        FUNCTIONS[name](x)
    with pytest.raises(TypeError, match=r"must be an array.*Received: Tensor; .*detach\(\)"):
        FUNCTIONS[name](2 * x)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_bfloat16_is_refused(name):
    """PyTorch makes no NumPy array of bfloat16; ``x.float()`` is exact."""
    with pytest.raises(TypeError, match=r"must be an array.*Received: Tensor; .*BFloat16"):
        FUNCTIONS[name](tensor("bfloat16"))
    exact = tensor("bfloat16").float()
    assert same(FUNCTIONS[name](exact), FUNCTIONS[name](exact.numpy()))


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("kind", ["gradient", "bfloat16"])
def test_layers_of_kspike_tf_refuse_them_too(name, kind):
    x = tensor("float32").requires_grad_() if kind == "gradient" else tensor("bfloat16")
    with pytest.raises((TypeError, ValueError, RuntimeError), match=r"(?i)detach|bfloat16"):
        LAYERS[name](x)


@pytest.mark.parametrize("name", EVERYWHERE)
def test_a_number_has_no_time(name):
    with pytest.raises((TypeError, ValueError), match=r"(?i)shape|axes|axis|dim|rank"):
        EVERYWHERE[name](torch.tensor(1.0))


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("strange", ["complex", "conjugate", "sparse", "meta"])
def test_what_numpy_cannot_read_is_refused(name, strange):
    x = tensor("float32")
    odd = {
        "complex": lambda: x.to(torch.complex64),
        "conjugate": lambda: x.to(torch.complex64).conj(),
        "sparse": lambda: x.to_sparse(),
        "meta": lambda: x.to("meta"),
    }
    with pytest.raises((TypeError, ValueError), match="must"):
        FUNCTIONS[name](odd[strange]())


def test_numbers_as_arguments():
    """Tensors with no axis, or with one for the units, as time steps, constants and states."""
    x = tensor("float32")
    plain = x.numpy()
    y, level = kspike_ref.lowpass(x, torch.tensor(0.02), dt=torch.tensor(0.002))
    wanted, end = kspike_ref.lowpass(plain, np.float32(0.02), dt=np.float32(0.002))
    assert same(y, wanted)
    assert same(level, end)
    on, _ = kspike_ref.lowpass(x, torch.full((4,), 0.02), initial_level=torch.from_numpy(level))
    again, _ = kspike_ref.lowpass(plain, np.full(4, 0.02, "f4"), initial_level=level)
    assert same(on, again)
    voltage = torch.linspace(0, 0.9, 4)
    spikes, _ = kspike_ref.spiking_activation(x, initial_voltage=voltage)
    assert same(spikes, kspike_ref.spiking_activation(plain, initial_voltage=voltage.numpy())[0])


def test_every_way_into_a_model():
    model, x = network(), tensor("float32")
    wanted = model.predict(x.numpy())
    assert same(model.predict([x]), wanted)
    assert same(model.predict({"input": x}), wanted)
    assert same(np.concatenate(list(model.predict(iter([x[:1], x[1:]])))), wanted)
    still = x[:, 0]
    assert same(model.predict(still, timesteps=3), model.predict(still.numpy(), timesteps=3))
    state = model.initial_state(len(x))
    for t in range(x.shape[1]):
        y, state = model.step(x[:, t], state)
        assert same(y, wanted[:, t])
    for one, other in zip(
        model.activity(x).values(), model.activity(x.numpy()).values(), strict=True
    ):
        assert same(one, other)
    out = np.empty_like(wanted)
    assert model.predict(x, out=out) is out
    assert same(out, wanted)
    with pytest.raises(TypeError, match="out must be"):
        model.predict(x, out=torch.empty(wanted.shape))
