"""Round again: train a candidate on the window that the alarms call for, and hold it against the live release.

`window` chooses the rows, `data` lays original data and labelled log together, `script` calls the user's training function, and
`retrain` does it all. The newest fifth of the window is withheld: it is the candidate's reference, and the rows on which
candidate and live release are compared. Neither was fitted on it.
"""

from __future__ import annotations

from holdfast.retrain.candidate import Outcome, Parts, retrain
from holdfast.retrain.script import load_train
from holdfast.retrain.window import TrainingWindow, choose_window

__all__ = ["Outcome", "Parts", "TrainingWindow", "choose_window", "load_train", "retrain"]
