"""The verbs: a module for each, imported when its verb is run."""
