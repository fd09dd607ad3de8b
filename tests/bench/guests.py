"""The rows that need machines to outlive the agent, or real ones."""


def run_guests(rig, report, wanted):
    del rig, report, wanted
