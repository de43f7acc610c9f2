import collections
import re


def count(text):
    """The text of one PDF in, its most frequent long words out."""
    words = re.findall(r"\w{5,}", text.lower())
    return {"words": len(words), "top": collections.Counter(words).most_common(5)}
