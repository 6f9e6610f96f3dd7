"""User program that is never run; comments mark its five mistakes.

`test_user_program.py` compares them with what type checkers report.
"""

import numpy as np

import kspike_ref
import kspike_tf
from kspike_energy import ModelEnergy

layer = kspike_tf.SpikingActivation("relu", dt=0.005, seed=0, return_sequences=True)
model = kspike_ref.load_model("digits.keras", dt=0.005)
images = np.zeros((10, 64), np.float32)
scores = model.predict(images, timesteps=20)
print(scores.argmax(axis=-1), model(images[:, None]).shape)
for batch in model.predict(iter([images, images]), timesteps=20):
    print(batch.mean())
two = model.predict({"left": images, "right": [images]}, out=[scores, scores])
rates = {name: values.mean() for name, values in model.activity(images, timesteps=20).items()}
state = model.initial_state(10)
scores, state = model.step(images, state)
print(model.cost((10, 20, 64)).bytes + model.cost([(1, 2), (3, 4)]).bytes, rates["spikes"])
spikes, voltage = kspike_ref.spiking_activation(images[:, None], dt=0.005, seed=0)
filtered, level = kspike_ref.lowpass(spikes, tau=[0.1] * 64, dt=0.005)
energy = ModelEnergy(model, images, events="exact", time_axis=None)
print(energy.total_energy("loihi", timesteps_per_inference=20) * 1e6, filtered.shape)

model.predict(images, timestep=20)  # mistake: timesteps
model.predict(images, timesteps=20).argmx()  # mistake: argmax
kspike_ref.lowpass(spikes, tau=0.1).mean()  # mistake: a pair
kspike_tf.Lowpass(0.1, return_sequences="no")  # mistake: False
ModelEnergy(model, images, events="exactly")  # mistake: "exact"
