"""Dedicated pools and quotas: the calls that tell of them, and the adapter that turns them into the shared model.

The calls belong to the paths of both generations and to neither training API, so they stand by themselves.
"""
