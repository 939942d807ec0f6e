"""Seeded schedules of faults against a running pipeline: schedule.py draws them, world.py plays them."""
