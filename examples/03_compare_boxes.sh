# The same model, trace and budget on three machines, with the price where a profile has one.
simmoe compare --hw jetson_orin --hw rtx_4090 --hw m4_max --trace switch --budget 25% --tokens 512
