"""A handler whose module imports about as much as NumPy does: 0.2 s of the standard library."""
import asyncio
import concurrent.futures
import ctypes
import decimal
import doctest
import email.mime.multipart
import http.server
import json
import logging.config
import multiprocessing.pool
import os
import pydoc
import socket
import sqlite3
import ssl
import statistics
import tarfile
import unittest.mock
import urllib.request
import xml.dom.minidom
import xml.etree.ElementTree
import xmlrpc.client
import zipfile

held = []


mine = None


def born(x):
    """Another for each worker, also for those that are forked from one that has loaded this."""
    global mine
    mine = mine or os.urandom(8)
    return mine


def hold(x):
    """Keeps as many bytes as the item says behind the address of a socket, and the connection to it open."""
    size, path = x.decode().split(" ", 1)
    held.append(b"\1" * int(size))
    s = socket.socket(socket.AF_UNIX)
    s.connect(path)
    held.append(s)
    return b""
