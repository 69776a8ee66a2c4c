"""The Processing provider: training and mapping in the toolbox, in models, in batches and without a screen."""
