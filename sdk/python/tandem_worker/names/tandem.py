"""What handlers import: from tandem import Retry, Permanent. Any other module called tandem goes first, see start.Names; then
`from tandem_worker import Retry, Permanent` is the same."""
from tandem_worker import Permanent, Retry

__all__ = ["Permanent", "Retry"]
