"""An object that counts how often a process receives it."""


class Parcel:
    received = 0

    def __setstate__(self, state):
        Parcel.received += 1

    def __getstate__(self):
        return {"empty": False}


def received():
    return Parcel.received
