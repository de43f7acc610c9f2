"""What is in a document: extract gives its text and how many words it has. Only the standard library is needed."""
import email
import email.policy

from tandem import Permanent


def extract(path):
    with open(path, "rb") as f:
        raw = f.read()
    if raw.startswith(b"%BROKEN"):
        raise Permanent("this is no document", reason="broken")
    if path.endswith(".eml"):
        message = email.message_from_bytes(raw, policy=email.policy.default)
        body = message.get_body(("plain",))
        text = "From: %s\nDate: %s\n%s" % (message["from"], message["date"], body.get_content() if body else "")
    else:
        text = raw.decode("utf-8")
    lines = [" ".join(line.split()) for line in text.splitlines()]
    text = "\n".join(line for line in lines if line)
    return {"text": text, "words": len(text.split())}
