"""`quell doctor`: whether streams and stops get through whatever stands in front of the proxy.

`front` calls through it, `stream` is one streaming call, `seen` is the proxy's own view of the same call, `checks` and
`leaving` judge, `advice` says what to change, `report` shows it, `examine` has the order of it all.
"""
