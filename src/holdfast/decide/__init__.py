"""What happens to a deployment: who may go live, on what evidence, and how the workers learn of it.

`actions` are the steps that people and automation take; `publish` writes the traffic plan that workers follow; `gates` judges a
candidate against the live release.
"""
