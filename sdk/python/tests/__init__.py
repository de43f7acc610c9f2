"""Tests of the Python worker: python3 -m unittest discover -s sdk/python"""
