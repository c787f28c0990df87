"""What each verb does: a module each, imported when its verb is run."""
