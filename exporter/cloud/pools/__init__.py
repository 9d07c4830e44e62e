"""Dedicated pools and quotas: endpoints, and the adapter from them to the domain model.

Their paths belong to both API generations, so they have a folder of their own.
"""
