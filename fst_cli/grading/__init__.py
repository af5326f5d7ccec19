"""Answer extraction and comparison; every grader that can hang runs where it can be killed."""
