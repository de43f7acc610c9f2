def factors(n):
    """One number in, its prime factors out. Put your own function here."""
    if n < 1:
        from tandem import Permanent

        raise Permanent("no such number")  # no other attempt can help
    found, p = [], 2
    while p * p <= n:
        while n % p == 0:
            found.append(p)
            n //= p
        p += 1
    return found + [n] if n > 1 or not found else found
