"""What one would build instead, each as small as it can be and tuned as well as we can.

`ways.py` has the ways to sell a unit while the buyer waits, `tasks.py` the one with a Celery task for every purchase,
`app.py` serves them all, and `shop.py` makes their tables and counts what they sold. None of them asks who the buyer
is, and none has limits: all of that is in favour of the baselines.
"""
