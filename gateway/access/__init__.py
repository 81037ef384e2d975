"""Who may talk to the assistants. Pure: the rules of `[access]`, and the form of pairing codes.

The store keeps who is paired (gateway/store/pairings.py); the door puts both together (gateway/door.py).
"""

from gateway.access.codes import CODE_LIFE_S, code_in, fingerprint, new_code
from gateway.access.rules import Rules, check_admin, check_entry

__all__ = ["CODE_LIFE_S", "Rules", "check_admin", "check_entry", "code_in", "fingerprint", "new_code"]
