# A policy of your own beside a bundled one, at a budget so small that LRU forgets each expert before its layer comes again.
simmoe compare --hw jetson_orin --trace oracle --eviction lru --eviction ./04_newest_first.py --budget 3% --tokens 512
