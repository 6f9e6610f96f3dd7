"""Constructor calls that a type checker accepts or rejects; `hatch run types:check` reads them."""
# mypy: warn-unused-ignores

import kspike_tf

kspike_tf.SpikingActivation("relu", return_sequences=False, name="spikes", trainable=False)
kspike_tf.Lowpass(0.1, return_sequences=False, dtype="float32")
kspike_tf.Alpha([0.1, 0.2], return_state=True, stateful=True)
kspike_tf.SpikingActivationCell((2, 3), "relu", seed=0)
kspike_tf.LowpassCell(3, 0.1, apply_during_training=False)
kspike_tf.AlphaCell(3, "ones", name="cell")

kspike_tf.SpikingActivation("relu", retrun_sequences=False)  # type: ignore[call-arg]
kspike_tf.Lowpass(0.1, retrun_sequences=False)  # type: ignore[call-arg]
kspike_tf.Alpha(0.1, statefull=True)  # type: ignore[call-arg]
kspike_tf.SpikingActivationCell(3, "relu", sed=0)  # type: ignore[call-arg]
kspike_tf.LowpassCell(3, tau=0.1)  # type: ignore[call-arg]
kspike_tf.AlphaCell(3, 0.1, trainabel=False)  # type: ignore[call-arg]
kspike_tf.Lowpass(0.1, return_sequences="yes")  # type: ignore[arg-type]
kspike_tf.SpikingActivation("relu", seed=0.5)  # type: ignore[arg-type]
